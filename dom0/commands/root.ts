/** `root fingerprint`: what to note, to recognise the newest root on another machine (R06). */

import type { App } from '../app.ts';
import { formatTime } from '../../shared/format.ts';
import { fingerprint } from '../words.ts';

export async function rootFingerprint(app: App): Promise<void> {
  app.defer(() => app.storage.abort());
  const { root } = await app.open();
  await app.closeStorage();
  const { counter, time, repository } = root.body;
  const words = fingerprint(root.hash);
  app.output.line(`Root ${counter} of ${formatTime(time)}:`);
  app.output.line(`  ${words}`);
  app.output.line(
    'Note it with its number. On another machine, --expect-root with these words refuses anything older.',
  );
  app.output.event('root', {
    counter,
    time: new Date(time).toISOString(),
    repository,
    fingerprint: words,
  });
}
