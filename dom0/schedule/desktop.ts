/**
 * Tells who is logged in on this machine how a run ended that nobody watched: by notify-send(1), where it is installed. A run never
 * fails because of it, and nothing that a VM or a store said is in it.
 */

import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { runProgram } from '../domains/run-program.ts';
import { STATUS } from '../exit-status.ts';
import type { Status } from '../exit-status.ts';

/** When somebody is told. */
export const NOTIFY = ['always', 'problems', 'never'] as const;
export type Notify = (typeof NOTIFY)[number];

/** Where systemd-logind keeps a folder for each user who is logged in, named by the number of the user (pam_systemd(8)). */
const RUNTIME_FOLDERS = '/run/user';
/** Milliseconds: a desktop that does not answer is left alone. */
const TIMEOUT = 10_000;

/** Who runs it, to be told apart in a test: the number of the user, and the folders of those who are logged in. */
export interface Machine {
  readonly uid: number;
  readonly folders: string;
  readonly program: string;
}

const HERE: Machine = {
  uid: process.getuid?.() ?? 0,
  folders: RUNTIME_FOLDERS,
  program: 'notify-send',
};

/** Root tells everybody with a desktop, a user that one's own. Resolves when all were told; never rejects. */
export async function notifyDesktops(notify: Notify, status: Status, machine = HERE): Promise<void> {
  if (notify === 'never' || status === STATUS.busy) return; // That one is tried again.
  if (notify === 'problems' && status === STATUS.complete) return;
  const { urgency, summary, body } = TEXTS[status];
  const message = ['--app-name=qubes-backup', `--urgency=${urgency}`, '--', summary, body];
  await Promise.all(
    desktopsOf(machine).map(({ command, bus }) =>
      runProgram([...command, ...message], {
        timeout: TIMEOUT,
        maxOutput: 0,
        environment: { DBUS_SESSION_BUS_ADDRESS: `unix:path=${bus}` },
      }),
    ),
  );
}

const TEXTS: Readonly<
  Record<Status, { urgency: 'low' | 'normal' | 'critical'; summary: string; body: string }>
> = {
  [STATUS.complete]: { urgency: 'low', summary: 'Backup complete', body: 'All went well.' },
  [STATUS.warnings]: {
    urgency: 'normal',
    summary: 'Backup with warnings',
    body: 'Something needs attention: see "qubes-backup status".',
  },
  [STATUS.differs]: failed('What was read again differs'),
  [STATUS.usage]: failed('The run could not begin'),
  [STATUS.failed]: failed('Not everything was backed up'),
  [STATUS.busy]: failed('Another run is under way'),
};

function failed(what: string) {
  return {
    urgency: 'critical',
    summary: 'Backup failed',
    body: `${what}: see "qubes-backup logs".`,
  } as const;
}

interface Desktop {
  /** What shows a message there, as its user. */
  readonly command: [string, ...string[]];
  readonly bus: string;
}

function desktopsOf({ uid, folders, program }: Machine): readonly Desktop[] {
  return ownersIn(folders)
    .filter((owner) => uid === 0 || uid === owner) // Nobody else may look into another one's.
    .flatMap((owner) => {
      const folder = join(folders, String(owner));
      const bus = join(folder, 'bus');
      const found = statSync(folder, { throwIfNoEntry: false });
      // The folder of another one's making is nobody's desktop.
      if (found?.uid !== owner || statSync(bus, { throwIfNoEntry: false })?.isSocket() !== true) return [];
      const become = [`--reuid=${owner}`, `--regid=${found.gid}`, '--clear-groups', '--inh-caps=-all', '--'];
      return [{ bus, command: uid === owner ? [program] : ['setpriv', ...become, program] }];
    });
}

function ownersIn(folder: string): readonly number[] {
  try {
    return readdirSync(folder)
      .filter((name) => /^\d{1,10}$/.test(name))
      .map(Number);
  } catch {
    return []; // No systemd here: nobody can be told.
  }
}
