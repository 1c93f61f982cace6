/** What `doctor` looks at on every machine: dom0's state, the clock, the stores, and who opens the repository at night. */

import { statSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { formatTime } from '../../shared/format.ts';
import type { App } from '../app.ts';
import { fail, ok, warn } from '../domains/finding.ts';
import type { Finding } from '../domains/finding.ts';
import { opensUnattended } from '../keys/unattended.ts';
import { readSchedule } from '../schedule/schedule.ts';
import type { Store } from '../storage/store.ts';
import { asBackupError } from '../storage/store.ts';
import { spaceFinding } from './space.ts';

const HOUR = 3_600_000;

export async function examineState(folder: string): Promise<readonly Finding[]> {
  const about = 'state';
  const { mode, uid } = statSync(folder);
  const own = uid === process.getuid?.() && (mode & 0o077) === 0;
  const { blocks, bavail, bsize } = await statfs(folder);
  return [
    own
      ? ok(about, `${folder} is for its owner alone`)
      : fail(about, `${folder} is not for its owner alone: chown it to this user, and chmod 0700 it`),
    spaceFinding(about, blocks * bsize, bavail * bsize, `make room on the disk of ${folder}`),
  ];
}

/** Against the newest roots that stores have: a clock that is behind makes every new snapshot look old. */
export function examineClock(stores: readonly Store[], now: number): Finding {
  const newest = Math.max(0, ...stores.map(({ root }) => root?.body.time ?? 0));
  const text = `this machine says ${formatTime(now)}`;
  if (newest > now + HOUR)
    return fail('clock', `${text}, and a backup was made at ${formatTime(newest)}: set the clock`);
  return ok('clock', text);
}

/** Asks each for its root, and tries whether it would take something. */
export async function examineStores(app: App): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  await app.storage.survey();
  for (const store of app.storage.all) {
    findings.push(await examineStore(store));
    if (store.waits)
      findings.push(
        warn(`store ${store.name}`, 'something waits for its owner: qubes-backup-storage status there'),
      );
  }
  for (const { name, folder } of app.config.stores) {
    if (folder === undefined) continue;
    const room = await statfs(folder).catch(() => undefined); // That it is absent was said.
    if (room === undefined) continue;
    const { blocks, bavail, bsize } = room;
    findings.push(spaceFinding(`store ${name}`, blocks * bsize, bavail * bsize, `make room at ${folder}`));
  }
  return findings;
}

async function examineStore(store: Store): Promise<Finding> {
  const about = `store ${store.name}`;
  const { standing, root } = store;
  if (store.isAway) return ok(about, 'is away, as a removable one may be');
  if ('error' in standing) return fail(about, store.describe());
  if (standing.is === 'empty') {
    const known = store.pin.read() !== undefined;
    return known
      ? fail(about, 'is empty, and was not: see "qubes-backup storage list"')
      : warn(about, 'is empty: "qubes-backup init" creates a repository, "storage sync" fills another copy');
  }
  try {
    await store.client.tryWriting();
  } catch (error) {
    return fail(about, `can be read, but takes nothing: ${asBackupError(error).message}`);
  }
  return ok(
    about,
    `answers, and takes objects; root ${root?.body.counter ?? 0}. Its quota is known there: qubes-backup-storage status`,
  );
}

/** Whether scheduled runs have what opens the repository. */
export async function examineSchedule(app: App): Promise<Finding> {
  const about = 'schedule';
  const { config } = app;
  if (readSchedule(config.stateFolder) === undefined)
    return ok(about, 'nothing runs by itself ("qubes-backup schedule enable")');
  return (await opensUnattended(config))
    ? ok(about, 'what opens the repository is there')
    : warn(about, 'nothing opens the repository when it runs: give "qubes-backup unlock"');
}
