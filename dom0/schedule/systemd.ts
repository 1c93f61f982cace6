/** The units in the folder where systemd finds them, and systemctl told so. */

import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { utf8 } from '../../shared/bytes.ts';
import { BackupError, messageOf } from '../../shared/errors.ts';
import { passedOn } from '../domains/child.ts';
import { runProgram } from '../domains/run-program.ts';
import { removeFile, replaceFile } from '../state/files.ts';
import { ALL_UNITS } from './units.ts';

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

/** Those of our units that are in `folder`. */
export function unitsIn(folder: string): readonly string[] {
  return ALL_UNITS.filter((name) => existsSync(join(folder, name)));
}

/** Writes the units into `folder`, in place of all that were there. Throws `io`. */
export function installUnits(folder: string, units: ReadonlyMap<string, string>): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (cause) {
    throw new BackupError('io', `cannot create the folder ${folder}: ${messageOf(cause)}`, { cause });
  }
  for (const name of unitsIn(folder)) if (!units.has(name)) removeFile(join(folder, name));
  for (const [name, text] of units) replaceFile(join(folder, name), utf8(text));
}

/** Removes them; answers whether there were any. */
export function removeUnits(folder: string): boolean {
  const there = unitsIn(folder);
  for (const name of there) removeFile(join(folder, name));
  return there.length > 0;
}

/** Has systemd start the timers among `names` now and at each boot. Undefined if that is done, else what a person has to do. */
export async function startTimers(manager: Manager, names: Iterable<string>): Promise<string | undefined> {
  return systemctl(manager, [['daemon-reload'], ['enable', '--now', ...timersOf(names)]]);
}

/** The opposite, before the units are removed. */
export async function stopTimers(manager: Manager, names: Iterable<string>): Promise<string | undefined> {
  const timers = timersOf(names);
  return timers.length === 0 ? undefined : systemctl(manager, [['disable', '--now', ...timers]]);
}

export function timersOf(names: Iterable<string>): readonly string[] {
  return [...names].filter((name) => name.endsWith('.timer'));
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
