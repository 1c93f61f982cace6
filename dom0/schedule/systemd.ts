/** The units in the folder where systemd finds them, and systemctl told so. */

import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { utf8 } from '../../shared/bytes.ts';
import { BackupError, messageOf } from '../../shared/errors.ts';
import { passedOn } from '../domains/child.ts';
import { runProgram } from '../domains/run-program.ts';
import { removeFile, replaceFile } from '../state/files.ts';
import { SERVICE, TIMER } from './units.ts';

/** systemd of the machine for root, else that of the user. */
export type Manager = 'system' | 'user';

export function ownManager(): Manager {
  return process.getuid?.() === 0 ? 'system' : 'user';
}

/** systemd.unit(5), "Unit File Load Path". */
export function unitFolder(manager: Manager): string {
  if (manager === 'system') return '/etc/systemd/system';
  const { HOME: home = '/', XDG_CONFIG_HOME: config = join(home, '.config') } = process.env;
  return join(config, 'systemd', 'user');
}

/** Writes the units into `folder`. Throws `io`. */
export function installUnits(folder: string, units: ReadonlyMap<string, string>): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (cause) {
    throw new BackupError('io', `cannot create the folder ${folder}: ${messageOf(cause)}`, { cause });
  }
  for (const [name, text] of units) replaceFile(join(folder, name), utf8(text));
}

/** Removes them; answers whether there were any. */
export function removeUnits(folder: string): boolean {
  const there = [TIMER, SERVICE].map((name) => join(folder, name)).filter((file) => existsSync(file));
  for (const file of there) removeFile(file);
  return there.length > 0;
}

/** Has systemd start the timer now and at each boot. Undefined if that is done, else what a person has to do. */
export async function startTimer(manager: Manager): Promise<string | undefined> {
  return systemctl(manager, [['daemon-reload'], ['enable', '--now', TIMER]]);
}

/** The opposite, before the units are removed. */
export async function stopTimer(manager: Manager): Promise<string | undefined> {
  return systemctl(manager, [['disable', '--now', TIMER]]);
}

const TIMEOUT = 60_000;

async function systemctl(
  manager: Manager,
  commands: readonly (readonly string[])[],
): Promise<string | undefined> {
  const scope = manager === 'user' ? ['--user'] : [];
  const text = commands.map((command) => ['systemctl', ...scope, ...command].join(' ')).join(' && ');
  for (const command of commands) {
    const { end, stderr } = await runProgram(['systemctl', ...scope, ...command], {
      timeout: TIMEOUT,
      maxOutput: 64 * 1024,
      environment: passedOn(),
    });
    if (end.kind === 'exited' && end.code === 0) continue;
    const why =
      end.kind === 'not-started' ? 'there is no systemctl here' : `systemctl ${command[0] ?? ''}: ${stderr}`;
    return `${why}: when systemd runs, give "${text}"`;
  }
  return undefined;
}
