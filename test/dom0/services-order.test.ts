/** When services start: what a run needs at its end is ready by then. */

import { expect, it } from 'vitest';
import { scan, verify } from '../../shared/protocol/disposable.ts';
import { setRoot } from '../../shared/protocol/storage.ts';
import { WrappedDomains } from '../support/wrapped-domains.ts';
import { BackupBench } from './backup-bench.ts';

it('the root’s service starts while the reader ends, after an audit if there is one', async () => {
  const bench = await BackupBench.make();
  const order = async (audit: boolean) => {
    const events: string[] = [];
    const domains = new WrappedDomains(bench.domains, (call, service) => {
      events.push(service);
      void call.exited.then(() => events.push(`end of ${service}`));
      return call;
    });
    await bench.backUp({ audit }, domains);
    const watched = [scan.service, verify.service, setRoot.service];
    return events.filter((event) => watched.some((service) => event.endsWith(service)));
  };
  const end = (service: string) => `end of ${service}`;
  expect(await order(false)).toEqual([
    scan.service,
    setRoot.service,
    end(scan.service),
    end(setRoot.service),
  ]);
  expect((await order(true)).slice(0, 5)).toEqual([
    ...[scan.service, end(scan.service), verify.service, end(verify.service)],
    setRoot.service,
  ]);
});
