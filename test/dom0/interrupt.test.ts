/** R50: a run that a person ends finishes the checkpoint that it has begun, and begins nothing else. */

import { expect, it } from 'vitest';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { Home } from '../support/home.ts';
import { InProcessDomains } from '../support/in-process-domains.ts';
import { runOver } from '../support/in-process.ts';

it('an interrupt stops what runs in other VMs only when an open checkpoint is committed', async () => {
  const home = new Home();
  createKeyFile(home.keyFile);
  const domains = new InProcessDomains(home.folder);
  const steps: string[] = [];
  domains.stopAll = () => Promise.resolve(void steps.push('stopped'));
  await runOver(domains, home, async (app) => {
    const checkpoint = Promise.withResolvers<undefined>();
    app.listener('work', 'reading').committing?.(checkpoint.promise);
    const interrupted = app.interrupt();
    expect(app.interrupted).toBe(true);
    await new Promise(setImmediate);
    steps.push('committed');
    checkpoint.resolve(undefined);
    await interrupted;
    await app.interrupt(); // Nothing is open any more.
  });
  expect(steps).toEqual(['committed', 'stopped', 'stopped']);
});
