/** How each VM stands: those that are to be backed up, and those that have snapshots. For `status`, and for the findings of `check`. */

import type { VmId, VmName } from '../../shared/ids.ts';
import { formatCount, formatTime } from '../../shared/format.ts';
import type { App } from '../app.ts';
import { isIncluded } from '../domains/domains.ts';
import type { Vm } from '../domains/domains.ts';
import { totalsOf } from '../repository/records.ts';
import type { Snapshot, SnapshotEntry } from '../repository/records.ts';
import type { Repository } from '../repository/repository.ts';
import { VmHistory } from '../repository/vm-history.ts';
import { alarming, describeAlarm } from '../retention/anomaly.ts';
import type { VmDiary } from '../state/diary.ts';

/** Of the newest complete snapshot. */
interface Newest {
  readonly number: number;
  /** Milliseconds since 1970. */
  readonly takenAt: number;
  readonly files: number;
  readonly bytes: number;
  readonly warnings: number;
}

export interface VmState {
  readonly name: VmName;
  /** Undefined if it was never backed up. */
  readonly id: VmId | undefined;
  /** It is to be backed up. */
  readonly included: boolean;
  /** It has snapshots, and no VM here continues them. */
  readonly orphaned: boolean;
  /** Complete ones. */
  readonly snapshots: number;
  readonly newest: Newest | undefined;
  /** What this machine remembers of it. */
  readonly diary: VmDiary;
  /** Too long without a backup: what a person is told. */
  readonly stale: string | undefined;
  /** Snapshots whose warnings of much that was deleted or rewritten nobody has acknowledged. */
  readonly alarms: readonly SnapshotEntry[];
}

const DAY = 86_400_000;
const HOUR = 3_600_000;

/** Sorted by name. `now`: milliseconds since 1970. */
export async function survey(app: App, repository: Repository, now: number): Promise<VmState[]> {
  const vms = await app.domains.list();
  const states: VmState[] = [];
  const continued = new Set<string>();
  for (const entry of repository.vms) {
    const history = await VmHistory.read(repository, entry);
    const vm = vms.find(({ uuid }) => history.record.uuids.includes(uuid));
    if (vm !== undefined) continued.add(vm.uuid);
    const entries = await history.entries();
    const snapshot = await history.newestComplete();
    const newest = snapshot && newestOf(snapshot);
    const included = vm !== undefined && isIncluded(vm);
    states.push({
      name: vm?.name ?? entry.name,
      id: entry.id,
      included,
      orphaned: vm === undefined,
      snapshots: entries.filter(({ partial }) => !partial).length,
      newest,
      diary: app.diary.of(entry.id),
      stale: included ? staleness(app, vm, newest?.takenAt, now) : undefined,
      alarms: alarming(entries),
    });
  }
  for (const vm of vms.filter((each) => isIncluded(each) && !continued.has(each.uuid)))
    states.push({
      name: vm.name,
      id: undefined,
      included: true,
      orphaned: false,
      snapshots: 0,
      newest: undefined,
      diary: {},
      stale: staleness(app, vm, undefined, now),
      alarms: [],
    });
  return states.sort((a, b) => a.name.localeCompare(b.name));
}

function newestOf(snapshot: Snapshot): Newest {
  const { counts, warnings } = totalsOf(snapshot);
  const { number, takenAt } = snapshot;
  return { number, takenAt, files: counts.files, bytes: counts.bytes, warnings };
}

/** What needs a person, of one VM. */
export function problemsOf({ name, stale, alarms, diary: { check, drill } }: VmState): string[] {
  return [
    ...(stale === undefined ? [] : [stale]),
    ...alarms.map(
      (alarm) =>
        `until you have acknowledged this, nothing of it is forgotten: ${describeAlarm(name, alarm)}`,
    ),
    ...(check === undefined || check.faults === 0
      ? []
      : [`the last check found ${formatCount(check.faults)} faults: run "qubes-backup check --repair"`]),
    ...(drill?.result === 'failed'
      ? [`the drill of snapshot ${drill.snapshot} failed: ${drill.detail}`]
      : []),
  ].map((text) => `${name}: ${text}`);
}

function staleness(app: App, vm: Vm, takenAt: number | undefined, now: number): string | undefined {
  if (takenAt === undefined) return `it was never backed up: run "qubes-backup backup ${vm.name}"`;
  const age = now - takenAt;
  if (age < -HOUR)
    return `its newest backup is of ${formatTime(takenAt)}, which is yet to come: set the clock, and run "qubes-backup backup ${vm.name}"`;
  if (age <= app.config.backup(vm).staleAfter) return undefined;
  return `its newest backup is ${formatCount(Math.floor(age / DAY))} days old: run "qubes-backup backup ${vm.name}"`;
}
