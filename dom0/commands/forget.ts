/**
 * `forget`: drops snapshots that no rule keeps, and tells storage what is still needed. What is dropped lies in the store's trash
 * until its owner's grace period is over.
 */

import { BackupError } from '../../shared/errors.ts';
import { formatCount, formatTable, formatTime } from '../../shared/format.ts';
import { parseVmName } from '../../shared/ids.ts';
import { requireUsage } from '../app.ts';
import type { App } from '../app.ts';
import { confirm } from '../confirm.ts';
import { nearest } from '../nearest.ts';
import { forgetSnapshots } from '../repository/forget-snapshots.ts';
import { publishLiveList } from '../repository/live-objects.ts';
import type { SnapshotEntry } from '../repository/records.ts';
import type { Repository } from '../repository/repository.ts';
import { VmHistory } from '../repository/vm-history.ts';
import { alarming, describeAlarm } from '../retention/anomaly.ts';
import { decide } from '../retention/policy.ts';
import type { Decision, KeepRules } from '../retention/policy.ts';
import { catchUp } from './sync-stores.ts';

export interface ForgetOptions {
  /** Instead of those of the configuration; undefined: of the configuration. */
  readonly rules?: KeepRules | undefined;
  /** Say what would be dropped, and drop nothing. */
  readonly dryRun?: boolean;
  /** Ask nothing. */
  readonly yes?: boolean;
}

/** A VM's snapshots, each with what becomes of it. */
interface Plan {
  readonly history: VmHistory;
  readonly decisions: readonly Decision<SnapshotEntry>[];
}

/** Of the VMs named, or of all in the store. */
export async function forget(
  app: App,
  names: readonly string[],
  { rules, dryRun = false, yes = false }: ForgetOptions,
): Promise<void> {
  for (const name of names) parseVmName(name);
  if (dryRun) await app.lock();
  else await app.lockToPublish();
  app.defer(() => app.storage.abort());
  const repository = await app.open();
  const plans = await planAll(app, repository, names, rules);
  const dropped = plans.reduce((sum, { decisions }) => sum + droppedOf(decisions).length, 0);
  tell(app, plans);
  if (dropped === 0) app.output.line('Nothing to forget.');
  if (dropped === 0 || dryRun) {
    await app.closeStorage();
    return;
  }
  await app.storage.abort(); // A person may take longer than a session may.
  const question = `Forget ${formatCount(dropped)} snapshots? [yes/no] `;
  await confirm({ question, answer: 'yes', option: '--yes', given: yes });
  for (const { history, decisions } of plans) {
    const numbers = new Set(droppedOf(decisions));
    if (numbers.size > 0) await forgetSnapshots(repository, history, numbers, Date.now);
  }
  await publishLiveList(repository, Date.now());
  await catchUp(app, repository);
  await app.closeStorage();
  app.output.line(
    `Forgot ${formatCount(dropped)} snapshots. The storage VM removes what they alone needed after its grace period.`,
  );
}

async function planAll(
  app: App,
  repository: Repository,
  names: readonly string[],
  rules: KeepRules | undefined,
): Promise<Plan[]> {
  const { vms } = repository;
  const known = vms.map(({ name }) => name);
  for (const name of names)
    if (!known.some((other) => other === name))
      throw new BackupError(
        'unknown-vm',
        `no backup of a VM named ${name} is in the store${nearest(name, known)}`,
      );
  const templates = new Map((await app.domains.list()).map((vm) => [vm.name, vm.template]));
  const plans: Plan[] = [];
  for (const entry of [...vms].sort((a, b) => a.name.localeCompare(b.name))) {
    if (names.length > 0 && !names.includes(entry.name)) continue;
    const template = templates.get(entry.name) ?? null;
    const own = rules ?? app.config.keep({ name: entry.name, template });
    if (own === undefined) {
      app.output.note(`${entry.name}: no rule says what to keep: nothing of it is forgotten`);
      continue;
    }
    const history = await VmHistory.read(repository, entry);
    const entries = await history.entries();
    const alarms = alarming(entries);
    const decisions = alarms.length > 0 ? freeze(entries) : decide(entries, own, Date.now());
    for (const alarm of alarms)
      app.warn(`${entry.name}: nothing is forgotten: ${describeAlarm(entry.name, alarm)}`);
    plans.push({ history, decisions });
  }
  requireUsage(
    plans.length > 0 || vms.length === 0,
    'no rule says what to keep: give --keep-last, --keep-daily, …, or a table [backup.keep] in the configuration',
  );
  return plans;
}

function freeze(entries: readonly SnapshotEntry[]): Decision<SnapshotEntry>[] {
  return entries.map((snapshot) => ({ snapshot, reasons: ['frozen'] }));
}

function droppedOf(decisions: readonly Decision[]): number[] {
  return decisions.filter(({ reasons }) => reasons.length === 0).map(({ snapshot }) => snapshot.number);
}

function tell(app: App, plans: readonly Plan[]): void {
  const rows = [['VM', 'SNAPSHOT', 'TAKEN', '', 'WHY']];
  for (const { history, decisions } of plans)
    for (const { snapshot, reasons } of decisions) {
      const { number, takenAt } = snapshot;
      const kept = reasons.length > 0;
      rows.push([
        history.name,
        String(number),
        formatTime(takenAt),
        kept ? 'keep' : 'forget',
        reasons.join(', '),
      ]);
      app.output.event('retention', { vm: history.name, snapshot: number, kept, reasons });
    }
  if (rows.length > 1) for (const line of formatTable(rows, [1])) app.output.line(line);
}
