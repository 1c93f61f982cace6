/** `status`: whether all is well with the backups, at a glance, and for monitoring. What needs a person makes exit status 3 (R55). */

import { resolve } from 'node:path';
import { utf8 } from '../../shared/bytes.ts';
import { formatBytes, formatCount, formatTable, formatTime } from '../../shared/format.ts';
import type { App } from '../app.ts';
import type { Repository } from '../repository/repository.ts';
import { nextRun } from '../schedule/schedule.ts';
import { replaceFile } from '../state/files.ts';
import { lackingStores } from '../storage/quorum.ts';
import { fingerprint } from '../words.ts';
import { prometheusText } from './prometheus.ts';
import { listingOf, stateOf } from './storage.ts';
import { problemsOf, survey } from './survey.ts';
import type { VmState } from './survey.ts';

/** How a store stands. */
export interface StoreState {
  readonly name: string;
  /** Null if that is not known. */
  readonly objects: number | null;
  readonly bytes: number | null;
  readonly inStep: boolean;
  readonly state: string;
}

/** All that `status` tells. Times are milliseconds since 1970. */
export interface Overview {
  readonly now: number;
  readonly counter: number;
  readonly fingerprint: string;
  readonly vms: readonly VmState[];
  readonly stores: readonly StoreState[];
  /** Undefined if nothing is scheduled. */
  readonly next: number | undefined;
  /** What needs a person. */
  readonly problems: readonly string[];
}

/** `prometheus`: a file that is written for node_exporter's textfile collector. */
export async function status(app: App, prometheus?: string): Promise<void> {
  app.defer(() => app.storage.abort());
  const overview = await look(app, await app.open(), Date.now());
  await app.closeStorage();
  if (prometheus !== undefined)
    replaceFile(resolve(prometheus), utf8(prometheusText(overview)), { mode: 0o644, durably: false });
  tell(app, overview);
  for (const problem of overview.problems) app.warn(problem);
}

/** Asks all stores what they hold. */
export async function look(app: App, repository: Repository, now: number): Promise<Overview> {
  const vms = await survey(app, repository, now);
  const stores: StoreState[] = [];
  for (const store of app.storage.all) {
    const held = store.root === undefined ? undefined : await listingOf(app, store);
    const { name, inStep } = store;
    stores.push({
      name,
      objects: held?.size ?? null,
      bytes: held?.bytes ?? null,
      inStep,
      state: stateOf(store),
    });
  }
  const lacking = lackingStores(app.storage.all, app.config.quorum);
  const waiting = app.storage.all.filter(({ waits }) => waits);
  return {
    now,
    counter: repository.root.body.counter,
    fingerprint: fingerprint(repository.root.hash),
    vms,
    stores,
    next: nextRun(app.config.stateFolder, now),
    problems: [
      ...vms.flatMap(problemsOf),
      ...(lacking === undefined ? [] : [lacking]),
      ...waiting.map(({ name }) => `store ${name}: what was forgotten waits for the word of its owner`),
    ],
  };
}

function tell(
  { output }: App,
  { now, counter, fingerprint: words, vms, stores, next, problems }: Overview,
): void {
  const rows = [['VM', 'LAST BACKUP', 'AGE', 'SIZE', 'SNAPSHOTS', 'LAST CHECK', 'LAST DRILL', '']];
  for (const vm of vms) {
    const { newest, diary, snapshots } = vm;
    const { check, drill } = diary;
    rows.push([
      vm.name,
      newest === undefined ? 'never' : formatTime(newest.takenAt),
      newest === undefined ? '' : formatAge(now - newest.takenAt),
      newest === undefined ? '' : formatBytes(newest.bytes),
      formatCount(snapshots),
      check === undefined ? 'never' : formatTime(check.at),
      drill === undefined ? 'never' : `${formatTime(drill.at)}, ${drill.result}`,
      remarksOf(vm).join(', '),
    ]);
    output.event('vm-status', {
      vm: vm.name,
      id: vm.id ?? null,
      included: vm.included,
      orphaned: vm.orphaned,
      snapshots,
      lastBackup:
        newest === undefined ? null : { ...newest, takenAt: new Date(newest.takenAt).toISOString() },
      lastCheck: check === undefined ? null : { ...check, at: new Date(check.at).toISOString() },
      lastDrill: drill === undefined ? null : { ...drill, at: new Date(drill.at).toISOString() },
      problems: problemsOf(vm),
    });
  }
  for (const [index, line] of formatTable(rows, [2, 3, 4]).entries()) {
    const vm = vms[index - 1]; // After the heading.
    output.line(vm !== undefined && problemsOf(vm).length > 0 ? output.paint('warning', line) : line);
  }
  for (const { name, state, inStep, bytes, objects } of stores)
    output.line(
      `Store ${name}: ${output.paint(inStep ? 'good' : 'warning', state)}${bytes === null ? '' : `, ${formatBytes(bytes)} in ${formatCount(objects ?? 0)} objects`}.`,
    );
  output.line(`Root ${formatCount(counter)}: ${words}`);
  output.line(next === undefined ? 'Nothing is scheduled.' : `Next run: ${formatTime(next)}`);
  output.line(
    problems.length === 0
      ? output.paint('good', 'All is well.')
      : output.paint('warning', `${formatCount(problems.length)} things need you.`),
  );
  output.event('status', {
    root: counter,
    fingerprint: words,
    stores,
    nextRun: next === undefined ? null : new Date(next).toISOString(),
    problems,
  });
}

function remarksOf({ orphaned, included, newest, alarms }: VmState): string[] {
  return [
    ...(orphaned ? ['orphaned: its VM is not here'] : included ? [] : ['not included in backups']),
    ...(newest === undefined || newest.warnings === 0 ? [] : [`${formatCount(newest.warnings)} warnings`]),
    ...(alarms.length === 0 ? [] : ['MUCH DELETED OR REWRITTEN']),
  ];
}

/** In its largest unit: `3 d`. */
export function formatAge(milliseconds: number): string {
  const minutes = Math.max(Math.floor(milliseconds / 60_000), 0);
  if (minutes < 60) return `${minutes} min`;
  return minutes < 48 * 60 ? `${Math.floor(minutes / 60)} h` : `${formatCount(Math.floor(minutes / 1440))} d`;
}
