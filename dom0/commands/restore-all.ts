/**
 * `restore --all`: on a clean system, the newest snapshot of every VM that is not there, each after those that it refers to. One that
 * fails does not stop the others.
 */

import { BackupError, isBackupError } from '../../shared/errors.ts';
import { formatBytes, formatTable, formatTime } from '../../shared/format.ts';
import type { VmName } from '../../shared/ids.ts';
import type { App } from '../app.ts';
import { confirm } from '../confirm.ts';
import { readCaptured } from '../domains/captured.ts';
import type { Captured } from '../domains/captured.ts';
import { DOM0 } from '../domains/dom0-files.ts';
import type { Vm } from '../domains/domains.ts';
import { historyNamed } from '../repository/find-vm.ts';
import { totalsOf } from '../repository/records.ts';
import type { Snapshot } from '../repository/records.ts';
import type { Repository } from '../repository/repository.ts';
import { endWaiting } from '../restored.ts';
import { asBackupError } from '../storage/store.ts';
import { chooseOf } from './chosen.ts';
import { NO_VM } from './restore.ts';
import { restoreOrder } from './restore-order.ts';
import { restoreVm, tellNotApplied } from './restore-vm.ts';

export interface RestoreAllOptions {
  /** With VMs whose names begin with `sys-`. */
  readonly includeSys?: boolean;
  /** Ask nothing. */
  readonly yes?: boolean;
}

/** A VM that is to be restored. */
interface Wanted {
  readonly name: VmName;
  readonly snapshot: Snapshot;
  readonly captured: Captured;
  /** What it will not have as it was, as far as that is known before; for a person. */
  readonly remarks: readonly string[];
}

/** What became of a VM, for the table at the end. */
interface Outcome {
  readonly vm: VmName;
  readonly result: 'restored' | 'failed' | 'skipped';
  /** Why, or what to look at; empty if there is nothing to say. */
  readonly remark: string;
}

/** Throws the first failure at the end. */
export async function restoreAll(app: App, options: RestoreAllOptions = {}): Promise<void> {
  await app.lock();
  app.defer(() => app.storage.abort());
  const repository = await app.open();
  const survey = new Survey(app, repository, options);
  const wanted = await survey.run();
  await app.storage.abort(); // A person may take longer than a session may.
  tellPlan(app, wanted, survey.outcomes);
  const question = `Restore ${wanted.length} VMs? [yes/no] `;
  const given = options.yes === true || wanted.length === 0;
  await confirm({ question, answer: 'yes', option: '--yes', given });
  const outcomes = [...survey.outcomes, ...(await restoreEach(app, repository, wanted, survey.failures))];
  tellOutcomes(app, outcomes);
  await app.closeStorage();
  const [first] = survey.failures;
  if (first === undefined) return;
  const tried = outcomes.filter(({ result }) => result !== 'skipped').length;
  throw new BackupError(first.code, `${survey.failures.length} of ${tried} VMs not restored`, {
    cause: first,
  });
}

/** Which VMs are to be restored, in which order, and why the others are not. */
class Survey {
  /** Of those that are not to be restored. */
  readonly outcomes: Outcome[] = [];
  readonly failures: BackupError[] = [];
  readonly #app: App;
  readonly #repository: Repository;
  readonly #includeSys: boolean;

  constructor(app: App, repository: Repository, { includeSys = false }: RestoreAllOptions) {
    this.#app = app;
    this.#repository = repository;
    this.#includeSys = includeSys;
  }

  async run(): Promise<readonly Wanted[]> {
    const present = await this.#app.domains.list();
    const found: (Omit<Wanted, 'remarks'> & { readonly config: Uint8Array })[] = [];
    const all = this.#repository.vms.map((entry) => entry.name);
    for (const name of [...new Set(all)].sort()) {
      const count = all.filter((other) => other === name).length;
      if (count > 1)
        this.#app.output.note(
          `${count} VMs had the name ${name}, one after the other: the last is looked at`,
        );
      const one = await failing(this.#app, name, this.failures, this.outcomes, () =>
        this.#find(name, present),
      );
      if (typeof one === 'string') this.outcomes.push({ vm: name, result: 'skipped', remark: one });
      else if (one !== undefined) found.push(one);
    }
    const { order, circles } = restoreOrder(found);
    for (const circle of circles)
      this.#app.output.note(
        `${circle.join(', ')} refer to each other: what is not there when a VM is restored is set when all are`,
      );
    const names = new Set<string>(order.map(({ name }) => name));
    const wanted: Wanted[] = [];
    for (const { name, snapshot, captured, config } of order) {
      const remarks = await failing(this.#app, name, this.failures, this.outcomes, () =>
        this.#remarks(name, config, names),
      );
      if (remarks !== undefined) wanted.push({ name, snapshot, captured, remarks });
    }
    return wanted;
  }

  /** Of a VM that is skipped, why. */
  async #find(name: VmName, present: readonly Vm[]) {
    if (name === DOM0) return NO_VM;
    if (present.some((vm) => vm.name === name)) return 'a VM of this name is there';
    if (name.startsWith('sys-') && !this.#includeSys)
      return 'a VM of the system: give --include-sys to restore it';
    const named = await historyNamed(this.#repository, this.#app.domains, name);
    const chosen = await chooseOf(this.#repository, named, 'latest').catch(undefinedIfPartial);
    if (chosen === undefined) return 'it has no complete snapshot';
    const { history, snapshot } = chosen;
    const other = present.find((vm) => history.record.uuids.includes(vm.uuid));
    if (other !== undefined) return `it is there as ${other.name}`;
    const config = await history.config(snapshot);
    const captured = readCaptured(name, config);
    return { name, snapshot, captured, config };
  }

  async #remarks(name: VmName, config: Uint8Array, wanted: ReadonlySet<string>): Promise<readonly string[]> {
    const { template, netvm } = await this.#app.domains.missing(name, config);
    return [
      ...(template === null || wanted.has(template.wanted)
        ? []
        : [`no template ${template.wanted}: takes ${template.nearest ?? 'none, so it will fail'}`]),
      ...(netvm === null || wanted.has(netvm.wanted) ? [] : [`no network VM ${netvm.wanted}: takes none`]),
    ];
  }
}

function undefinedIfPartial(error: unknown): undefined {
  if (!isBackupError(error, 'unknown-snapshot')) throw error;
}

/** Runs `work` for one VM; keeps and tells what it throws. */
async function failing<T>(
  app: App,
  vm: VmName,
  failures: BackupError[],
  outcomes: Outcome[],
  work: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    const failure = asBackupError(error);
    app.output.error(`${vm}: not restored: ${failure.message}`);
    app.output.event('failed', { vm, code: failure.code, message: failure.message });
    failures.push(failure);
    outcomes.push({ vm, result: 'failed', remark: failure.message });
    await app.storage.abort(); // Sessions may be half-way; the next VM gets fresh ones.
    return undefined;
  }
}

async function restoreEach(
  app: App,
  repository: Repository,
  wanted: readonly Wanted[],
  failures: BackupError[],
): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = [];
  const restored = new Map<VmName, { told: number }>();
  for (const [index, { name, snapshot }] of wanted.entries()) {
    app.output.line(`${index + 1} of ${wanted.length}: ${name}`);
    app.output.event('restoring', { vm: name, index: index + 1, of: wanted.length });
    await failing(app, name, failures, outcomes, async () => {
      if (app.interrupted) throw new BackupError('service-died', 'this run was told to end before');
      const history = await historyNamed(repository, app.domains, name);
      const chosen = await chooseOf(repository, history, String(snapshot.number));
      const awaited = wanted.slice(index + 1).map((later) => later.name);
      const notApplied = await restoreVm(app, { chosen, name, awaited });
      tellNotApplied(app, name, notApplied);
      restored.set(name, { told: notApplied.length });
    });
  }
  // Also of earlier runs that died.
  for (const promoted of await app.domains.promoted()) {
    const left = await endWaiting(app, repository, promoted);
    tellNotApplied(app, promoted.name, left);
    const one = restored.get(promoted.name);
    if (one !== undefined) one.told += left.length;
  }
  for (const [vm, { told }] of restored) {
    const remark = told === 0 ? '' : `${told} settings are not as they were: see the warnings`;
    outcomes.push({ vm, result: 'restored', remark });
  }
  return outcomes;
}

function tellPlan(app: App, wanted: readonly Wanted[], outcomes: readonly Outcome[]): void {
  const rows = wanted.map(({ name, snapshot, captured, remarks }, index) => [
    ...[String(index + 1), name, captured.klass, String(snapshot.number), formatTime(snapshot.takenAt)],
    ...[formatBytes(totalsOf(snapshot).counts.bytes), remarks.join('; ')],
  ]);
  const head = ['', 'VM', 'CLASS', 'SNAPSHOT', 'TAKEN', 'SIZE', ''];
  const skipped = outcomes.filter(({ result }) => result === 'skipped');
  if (rows.length > 0) for (const line of formatTable([head, ...rows], [0, 3, 5])) app.output.line(line);
  else app.output.line('There is no VM to restore.');
  for (const { vm, remark } of skipped) app.output.line(`Skipped: ${vm}: ${remark}`);
  app.output.event('plan', {
    vms: wanted.map(({ name, snapshot, remarks }) => ({ vm: name, snapshot: snapshot.number, remarks })),
    skipped: skipped.map(({ vm, remark }) => ({ vm, why: remark })),
  });
}

function tellOutcomes(app: App, outcomes: readonly Outcome[]): void {
  const rows = outcomes.map(({ vm, result, remark }) => [vm, result, remark]);
  for (const line of formatTable([['VM', 'RESULT', ''], ...rows])) app.output.line(line);
  const named = (wanted: Outcome['result']) =>
    outcomes.filter(({ result }) => result === wanted).map(({ vm }) => vm);
  app.output.event('restored-all', {
    ...{ restored: named('restored'), failed: named('failed'), skipped: named('skipped') },
  });
}
