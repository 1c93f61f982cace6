/** `schedule enable|disable|show`: runs by themselves, begun by timers of systemd (R51). */

import { existsSync, realpathSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { formatTime } from '../../shared/format.ts';
import { requireUsage } from '../app.ts';
import type { App } from '../app.ts';
import { opensUnattended } from '../keys/unattended.ts';
import { PROGRAM } from '../program.ts';
import type { GlobalOptions } from '../run.ts';
import { describe } from '../schedule/calendar.ts';
import { dueFile, nextRun, readSchedule, removeSchedule, writeSchedule } from '../schedule/schedule.ts';
import type { Schedule } from '../schedule/schedule.ts';
import {
  installUnits,
  ownManager,
  removeUnits,
  startTimers,
  stopTimers,
  timersOf,
  unitFolder,
  unitsIn,
} from '../schedule/systemd.ts';
import { TIMER, units } from '../schedule/units.ts';

/** Writes the units, into the folder `into` if it is given, else where systemd finds them, and starts the timer there. */
export async function enableSchedule(
  app: App,
  options: GlobalOptions,
  what: Schedule,
  into: string | undefined,
): Promise<void> {
  await app.lock();
  await requireVms(app, what);
  const { driver, stateFolder } = app.config;
  const manager = ownManager();
  const folder = into ?? unitFolder(manager);
  // Not by a link that what a checkout has bundled goes by: that is made anew with its packages.
  const launcher = realpathSync(join(PROGRAM, 'bin', 'qubes-backup'));
  const command = [launcher, ...ofConfiguration(options), 'schedule', 'run'];
  const made = units(what, { command, manager, driver: driver.kind, dueFile: dueFile(stateFolder) });
  const before = unitsIn(folder).filter((name) => !made.has(name));
  if (into === undefined) await stopTimers(manager, before); // What is not there any more need not be told to start, either.
  installUnits(folder, made);
  writeSchedule(stateFolder, what);
  app.output.line(`Wrote ${TIMER} and the service that it starts into ${folder}.`);
  if (into !== undefined)
    app.output.note(
      `they are not enabled: "systemctl enable --now ${timersOf(made.keys()).join(' ')}" where they are to run`,
    );
  else {
    const left = await startTimers(manager, made.keys());
    if (left !== undefined) app.warn(left);
    if (manager === 'user')
      app.output.note('so that they run while you are not logged in: "loginctl enable-linger"');
  }
  await noteLocked(app);
  showSchedule(app);
}

export async function disableSchedule(app: App, from: string | undefined): Promise<void> {
  await app.lock();
  const manager = ownManager();
  const folder = from ?? unitFolder(manager);
  const left = from === undefined ? await stopTimers(manager, unitsIn(folder)) : undefined;
  const was = removeUnits(folder);
  if (was && left !== undefined) app.warn(left);
  removeSchedule(app.config.stateFolder);
  app.output.line(was ? 'Nothing runs by itself any more.' : 'Nothing was scheduled.');
  app.output.event('schedule', { enabled: false });
}

export function showSchedule(app: App): void {
  const { stateFolder } = app.config;
  const found = readSchedule(stateFolder);
  const next = nextRun(stateFolder, Date.now());
  if (found === undefined || next === undefined) {
    app.output.line('Nothing is scheduled: "qubes-backup schedule enable --daily 02:00" begins.');
    app.output.event('schedule', { enabled: false });
    return;
  }
  app.output.line(
    `Runs ${describe(found.when)}${found.onAc ? ', on mains power only' : ''}: ${stepsText(found)}.`,
  );
  const waits = found.onAc && existsSync(dueFile(stateFolder));
  if (waits) app.output.line('A run is due, and waits for mains power, or is under way.');
  app.output.line(`Next run: ${formatTime(next)}, or up to a quarter of an hour later.`);
  app.output.event('schedule', { enabled: true, ...found, due: waits, next: new Date(next).toISOString() });
}

function stepsText({ vms, forget, check, drill }: Schedule): string {
  return [
    `backup of ${vms === null ? 'all VMs' : vms.join(', ')}`,
    ...(forget ? ['forget by the rules of the configuration'] : []),
    ...(check === null ? [] : [`check of ${check}% of the data`]),
    ...(drill === 0 ? [] : [`drill of ${drill} VMs`]),
  ].join('; ');
}

/** Throws `usage` for a VM that is not there: a run at night is too late to say so. */
async function requireVms(app: App, { vms }: Schedule): Promise<void> {
  const known = new Set<string>((await app.domains.list()).map(({ name }) => name));
  const missing = (vms ?? []).filter((name) => !known.has(name));
  requireUsage(missing.length === 0, `there is no VM named ${missing.join(', ')}`);
}

/** Which configuration and driver a run is to have, wherever it is started. */
function ofConfiguration({ config, local, sandbox }: GlobalOptions): string[] {
  return [
    ...(config === undefined ? [] : ['--config', resolve(config)]),
    ...(local === undefined ? [] : ['--local', resolve(local)]),
    ...(sandbox === undefined ? [] : ['--sandbox', sandbox]),
  ];
}

async function noteLocked(app: App): Promise<void> {
  if (await opensUnattended(app.config)) return;
  app.output.note(
    'a run has nobody to ask: give "qubes-backup unlock" after each boot, or set key_file or passphrase_command in the configuration',
  );
}
