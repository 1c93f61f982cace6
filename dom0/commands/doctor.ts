/** `doctor`: looks at all that a backup needs, and says of each thing whether it is well and what to do. */

import { messageOf } from '../../shared/errors.ts';
import type { App } from '../app.ts';
import { examineClock, examineSchedule, examineState, examineStores } from '../doctor/machine.ts';
import { fail } from '../domains/finding.ts';
import type { Finding } from '../domains/finding.ts';

const TONES = { ok: 'good', warn: 'warning', fail: 'bad' } as const;

/** What needs attention counts as a warning of the run. */
export async function doctor(app: App): Promise<void> {
  await app.lock();
  app.defer(() => app.storage.abort());
  const { config, domains, storage } = app;
  const counts = { ok: 0, warn: 0, fail: 0 };
  const tell = (findings: readonly Finding[]) => {
    for (const { level, about, text } of findings) {
      counts[level] += 1;
      app.output.line(`${app.output.paint(TONES[level], level.padEnd(4))}  ${about}: ${text}`);
      app.output.event('finding', { level, about, text });
    }
  };
  const examine = async (about: string, look: () => Promise<readonly Finding[]>) =>
    tell(await look().catch((error: unknown) => [fail(about, messageOf(error))]));
  await examine('state', () => examineState(config.stateFolder));
  await examine('stores', () => examineStores(app));
  tell([examineClock(storage.all, Date.now())]);
  await examine('schedule', async () => [await examineSchedule(app)]);
  await examine('system', async () => {
    const vms = (await domains.list()).filter(
      ({ includeInBackups, klass }) => includeInBackups && klass !== 'DispVM' && klass !== 'AdminVM',
    );
    const storageVms = config.stores.flatMap(({ name, folder }) => (folder === undefined ? [name] : []));
    return domains.examine(vms, storageVms);
  });
  const wrong = counts.warn + counts.fail;
  app.warnings += wrong;
  app.output.line(
    wrong === 0
      ? app.output.paint('good', 'All is well.')
      : app.output.paint('warning', `${wrong} of ${wrong + counts.ok} need attention.`),
  );
  app.output.event('examined', counts);
}
