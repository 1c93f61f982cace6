/** What runs by itself, and when: one file in dom0's state, which `schedule run` obeys and `status` looks at. */

import { join, resolve } from 'node:path';
import * as z from 'zod';
import { isVmName } from '../../shared/ids.ts';
import { readChecked, writeChecked } from '../state/checked-file.ts';
import { removeFile } from '../state/files.ts';
import { calendar, nextTime } from './calendar.ts';

const vmName = z.string().refine(isVmName);

const schedule = z.strictObject({
  when: calendar,
  /** Only while the machine is not on battery. */
  onAc: z.boolean(),
  /** VMs to back up; null for all that are included in backups. */
  vms: z.array(vmName).min(1).nullable(),
  /** Forget what no rule of the configuration keeps. */
  forget: z.boolean(),
  /** Percent of the data that is read and verified; null for no check. */
  check: z.number().min(0).max(100).nullable(),
  /** VMs that are drilled in each run. */
  drill: z.int().min(0).max(1000),
});

export type Schedule = z.output<typeof schedule>;

const fileIn = (stateFolder: string) => join(stateFolder, 'schedule.json');

/** Undefined if nothing is scheduled. Throws `io` if that cannot be told. */
export function readSchedule(stateFolder: string): Schedule | undefined {
  return readChecked(fileIn(stateFolder), schedule, 'give "qubes-backup schedule enable" again');
}

export function writeSchedule(stateFolder: string, what: Schedule): void {
  writeChecked(fileIn(stateFolder), what);
}

export function removeSchedule(stateFolder: string): void {
  removeFile(fileIn(stateFolder));
  removeFile(dueFile(stateFolder));
}

/** The file that is there while a run of a schedule that heeds the battery is due: see units.ts. */
export function dueFile(stateFolder: string): string {
  return resolve(stateFolder, 'schedule-due');
}

/** When the next scheduled run begins, or a little later; milliseconds since 1970. Undefined if none does. Throws `io`. */
export function nextRun(stateFolder: string, now: number): number | undefined {
  const found = readSchedule(stateFolder);
  return found === undefined ? undefined : nextTime(found.when, now);
}
