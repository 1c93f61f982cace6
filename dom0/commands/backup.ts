/** `backup`: one incremental snapshot of each chosen VM. */

import { BackupError, isBackupError } from '../../shared/errors.ts';
import { parseVmName } from '../../shared/ids.ts';
import type { VmId } from '../../shared/ids.ts';
import { requireUsage } from '../app.ts';
import type { App } from '../app.ts';
import type { VolumePlan } from '../config.ts';
import { DOM0 } from '../domains/dom0-files.ts';
import { isIncluded } from '../domains/domains.ts';
import type { Vm, VolumeSnapshot } from '../domains/domains.ts';
import { formatBytes, formatCount } from '../../shared/format.ts';
import { nearest } from '../nearest.ts';
import { historyOf } from '../repository/find-vm.ts';
import { totalsOf, volumeEvents } from '../repository/records.ts';
import type { Anomaly, Snapshot } from '../repository/records.ts';
import type { Repository } from '../repository/repository.ts';
import { SpotCheck } from '../repository/spot-check.ts';
import type { SpotChecked } from '../repository/spot-check.ts';
import type { Tally } from '../repository/tally.ts';
import { VmWriter } from '../repository/vm-writer.ts';
import type { Tone } from '../output.ts';
import { FrozenVm } from '../session/frozen-vm.ts';
import { recheckStart } from '../session/recheck-start.ts';
import { ScanSession, UploadShare } from '../session/scan-session.ts';
import type { Scanned } from '../session/scan-session.ts';
import { Semaphore } from '../semaphore.ts';
import { asBackupError } from '../storage/store.ts';
import { describeAlarm } from '../retention/anomaly.ts';
import { auditVolume } from './audit.ts';
import { summaryOf } from './backup-summary.ts';
import type { Outcome } from './backup-summary.ts';
import { parseTags } from './marks.ts';
import { catchUp } from './sync-stores.ts';

export interface BackupOptions {
  /** Every VM that is included in backups. */
  readonly all?: boolean;
  /** Have a second disposable read each volume as well, and take no snapshot on which they disagree. */
  readonly audit?: boolean;
  /** Read every file and store it again, trusting nothing of earlier backups. */
  readonly reread?: boolean;
  /** VMs that are backed up at the same time; default: as configured. */
  readonly jobs?: number;
  /** What the snapshots are marked with. */
  readonly tags?: readonly string[];
  /** A VM asked for them, not the owner of this machine. */
  readonly requested?: boolean;
}

/** What the backups of one run have in common. */
interface Run extends BackupOptions {
  readonly app: App;
  readonly repository: Repository;
  /** The first VM: its volumes were frozen while the repository was opened. */
  readonly ahead: Ahead | undefined;
  readonly share: UploadShare;
  /** Of the VMs that are done. */
  readonly outcomes: Outcome[];
}

/** A VM that is being frozen. */
interface Ahead {
  readonly vm: Vm;
  readonly frozen: Promise<FrozenVm>;
}

/** Backs up each VM, some at a time; one that fails does not disturb the others. Throws the first failure at the end. */
export async function backup(app: App, names: readonly string[], options: BackupOptions = {}): Promise<void> {
  const { all = false } = options;
  requireUsage(all !== names.length > 0, CHOOSE);
  parseTags(options.tags ?? []);
  await app.lockToPublish();
  const vms = chooseVms(await app.domains.list(), names, all);
  if (vms.length === 0) app.warn('no VM is included in backups: nothing was backed up');
  app.defer(() => app.storage.abort());
  const ahead = await freezeAhead(app, vms[0]);
  const repository = await app.open();
  const { jobs = app.config.jobs } = options;
  const share = new UploadShare(Math.min(jobs, vms.length));
  const run: Run = { ...options, app, repository, ahead, share, outcomes: [] };
  const failures: BackupError[] = [];
  const turns = new Semaphore(jobs);
  let done = 0;
  app.output.overall({ done, of: vms.length });
  await Promise.all(
    vms.map((vm) =>
      turns.run(async () => {
        const failure = await attempt(run, vm);
        if (failure !== undefined) failures.push(failure);
        done += 1;
        app.output.finishProgress(vm.name);
        app.output.overall({ done, of: vms.length });
      }),
    ),
  );
  const paint = (tone: Tone, text: string) => app.output.paint(tone, text);
  for (const line of summaryOf(run.outcomes, paint)) app.output.line(line);
  if (!app.interrupted) await catchUp(app, repository);
  await app.closeStorage();
  const [first] = failures;
  if (first !== undefined) {
    throw new BackupError(first.code, `${failures.length} of ${vms.length} VMs not backed up`, {
      cause: first,
    });
  }
}

/**
 * Freezes `vm`, and starts what will read it, while the repository is opened: starting disposables takes longest of what comes
 * before reading. Not where that waits for a person: what is backed up should not be as old as their answer.
 */
async function freezeAhead(app: App, vm: Vm | undefined): Promise<Ahead | undefined> {
  if (vm === undefined || (await app.asks())) return undefined;
  const frozen = freeze(app, vm);
  frozen.catch(ignored);
  app.defer(() => frozen.then((each) => each.release(), ignored));
  return { vm, frozen };
}

async function freeze(app: App, vm: Vm): Promise<FrozenVm> {
  return FrozenVm.freeze(app, vm, planOf(app, vm));
}

/** The backup of the VM tells of it. */
const ignored = () => undefined;

/** Backs up a VM; answers how that failed, which was told then. */
async function attempt(run: Run, vm: Vm): Promise<BackupError | undefined> {
  const { app } = run;
  try {
    if (app.interrupted) throw new BackupError('service-died', 'the run was stopped before');
    await backUpOne(run, vm);
    return undefined;
  } catch (error) {
    const failure = app.interrupted ? stopped(error) : asBackupError(error);
    app.output.error(`${vm.name}: not backed up: ${failure.message}`);
    run.outcomes.push({ vm: vm.name, taken: undefined });
    app.output.event('failed', { vm: vm.name, code: failure.code, message: failure.message });
    await app.storage.recover(); // Sessions may have failed; the next VM gets fresh ones.
    return failure;
  }
}

/** Of a run that was told to end: what was given up for that says nothing of its own. */
function stopped(error: unknown): BackupError {
  const cause = asBackupError(error);
  if (!isBackupError(cause, 'internal', 'service-died')) return cause;
  const text = 'the run was stopped; the next one goes on from what was committed of it';
  return new BackupError('service-died', text, { cause });
}

const CHOOSE = 'name the VMs to back up, or give --all';

/** The VMs that a backup of these names, or of all, would be of. */
export async function chosenVms(app: App, names: readonly string[], all: boolean): Promise<readonly Vm[]> {
  requireUsage(all !== names.length > 0, CHOOSE);
  return chooseVms(await app.domains.list(), names, all);
}

function chooseVms(vms: readonly Vm[], names: readonly string[], all: boolean): Vm[] {
  if (all) return vms.filter(isIncluded);
  return [...new Set(names)].map((name) => {
    parseVmName(name);
    const vm = vms.find((candidate) => candidate.name === name);
    requireUsage(
      name !== DOM0 || (vm !== undefined && vm.volumes.length > 0),
      'nothing of dom0 is backed up: the configuration says what of it is ([dom0] paths)',
    );
    if (vm !== undefined) return vm;
    throw new BackupError(
      'unknown-vm',
      `there is no VM named ${name}${nearest(
        name,
        vms.map((candidate) => candidate.name),
      )}`,
    );
  });
}

async function backUpOne(run: Run, vm: Vm): Promise<void> {
  const { app } = run;
  const started = performance.now();
  const { id, snapshot, anomaly, results, spotCheck, stored } = await scanVm(run, vm);
  const { counts, warnings } = totalsOf(snapshot);
  const seconds = (performance.now() - started) / 1000;
  app.diary.record('backup', [[id, { at: Date.now(), snapshot: snapshot.number, warnings, seconds }]]);
  for (const { done } of results) warnOf(app, vm, done);
  warnOfFaults(app, vm, spotCheck);
  if (anomaly !== null) {
    const what = describeAlarm(vm.name, { number: snapshot.number, anomaly });
    app.warn(`${vm.name}: until you have acknowledged this, nothing of it is forgotten: ${what}`);
  }
  app.output.line(
    `${vm.name}: snapshot ${snapshot.number}: ${formatCount(counts.files)} files, ${formatBytes(counts.bytes)}; ` +
      `${formatCount(counts.changedFiles)} new or changed, stored ${formatBytes(stored.bytes)} in ${formatCount(stored.objects)} objects, ${seconds.toFixed(1)} s` +
      (run.audit === true ? '; read twice, the same content' : '') +
      (counts.skipped > 0 ? `; ${formatCount(counts.skipped)} paths excluded` : '') +
      (warnings > 0 ? `; ${formatCount(warnings)} WARNINGS` : ''),
  );
  const { number } = snapshot;
  const taken = { snapshot: number, counts, storedBytes: stored.bytes, seconds, warnings };
  run.outcomes.push({ vm: vm.name, taken });
  app.output.event('backup', {
    vm: vm.name,
    snapshot: snapshot.number,
    volumes: volumeEvents(snapshot),
    ...counts,
    storedBytes: stored.bytes,
    storedObjects: stored.objects,
    storedContentObjects: stored.contentObjects,
    warnings,
    audited: run.audit === true,
    anomaly,
    spotCheckedObjects: spotCheck.objects,
    spotCheckedBytes: spotCheck.bytes,
    spotCheckFaults: spotCheck.faults.length,
    seconds,
  });
}

function warnOf(app: App, vm: Vm, done: Scanned['done']): void {
  const { recheckMismatches } = done.counts;
  if (recheckMismatches > 0) {
    app.warn(
      `${vm.name}: ${recheckMismatches} unchanged files had other contents than the last backup says: check the disk, and run "qubes-backup backup --reread --audit ${vm.name}"`,
    );
  }
  if (done.ownersUnknown)
    app.warn(`${vm.name}: owners that this user cannot see were recorded as unknown: run as root`);
}

function warnOfFaults(app: App, vm: Vm, { faults }: SpotChecked): void {
  for (const fault of faults) app.warn(`${vm.name}: spot check: ${fault}`);
  if (faults.length > 0)
    app.warn(`${vm.name}: its backups are not all there: run "qubes-backup check --read-data 100"`);
}

/** The volumes to back up. Throws `usage` where the configuration names one that the VM has not, or none at all. */
export function planOf(app: App, vm: Vm): VolumePlan[] {
  const wanted = app.config.volumes(vm);
  for (const { name, explicit } of wanted) {
    if (explicit && !vm.volumes.includes(name))
      throw new BackupError(
        'usage',
        `VM ${vm.name} has no ${name} volume of its own: take it out of its table`,
      );
  }
  const plan = wanted.filter(({ name }) => vm.volumes.includes(name));
  if (plan.length === 0)
    throw new BackupError('usage', `VM ${vm.name}: the configuration leaves out all of its volumes`);
  return plan;
}

/** What a backup of one VM came to. */
interface Taken {
  readonly id: VmId;
  readonly snapshot: Snapshot;
  readonly anomaly: Anomaly | null;
  /** One of each volume. */
  readonly results: readonly Scanned[];
  readonly spotCheck: SpotChecked;
  readonly stored: Tally;
}

/** All volumes are frozen first, as close together as can be, then read one by one. */
async function scanVm(run: Run, vm: Vm): Promise<Taken> {
  const { app, repository, ahead } = run;
  repository.store.storage.warmUpWriting(); // While the disposable starts, and reads.
  const frozen = await (ahead?.vm === vm ? ahead.frozen : freeze(app, vm));
  const { volumes } = frozen;
  try {
    const writer = await VmWriter.open(repository, await historyOf(repository, vm), {
      config: await app.domains.readConfig(vm.name),
      takenAt: Math.min(...volumes.map(({ takenAt }) => takenAt)),
      volumes,
      marks: { requested: run.requested ?? false, tags: parseTags(run.tags ?? []) },
      anomalyLimit: app.config.backup(vm).anomalyLimit,
      now: Date.now,
    });
    const scan = async () => {
      const results: Scanned[] = [];
      for (const volume of volumes) results.push(await readVolume(run, vm, writer, frozen, volume));
      const snapshot = await writer.commit();
      return { results, snapshot, anomaly: writer.anomaly };
    };
    const { id } = writer.history.record;
    const stored = repository.store.tally(id);
    return { id, ...(await withSpotCheck(run, vm, writer, scan)), stored };
  } finally {
    await frozen.release();
  }
}

/**
 * Spot-checks the store around `work`: while it runs, what earlier runs stored, with half the budget; after it, what this
 * run stored, with the other half. What is found makes warnings, never a failure: by then the snapshot is taken.
 */
async function withSpotCheck<T>(
  { app, repository: { store } }: Run,
  vm: Vm,
  writer: VmWriter,
  work: () => Promise<T>,
): Promise<T & { spotCheck: SpotChecked }> {
  const share = app.config.backup(vm).spotCheckBytes / 2;
  const check = new SpotCheck(store);
  const earlier = check.earlier(writer.history, writer.baseLive, share);
  earlier.catch(() => undefined); // Awaited below, unless the work fails.
  try {
    const result = await work();
    try {
      await earlier;
      await check.stored(store.tally(writer.history.record.id).takeSample(), share);
    } catch (error) {
      if (!isBackupError(error)) throw error;
      app.warn(`${vm.name}: the spot check of the store could not be finished: ${error.message}`);
    }
    return { ...result, spotCheck: check.result };
  } catch (error) {
    check.stop();
    throw error;
  }
}

/** Reads one volume, has it audited if that was asked for, and hands it to the writer. */
async function readVolume(
  run: Run,
  vm: Vm,
  writer: VmWriter,
  frozen: FrozenVm,
  snapshot: VolumeSnapshot,
): Promise<Scanned> {
  const { app, repository, share, audit = false, reread = false } = run;
  const { name, mode, size, takenAt, capacity } = snapshot;
  const settings = app.config.backup(vm);
  // How long it takes is guessed by what there was the last time.
  const before = writer.baseOf(snapshot)?.counts;
  const expected = before && { files: before.entries, bytes: before.bytes };
  // What publishes the snapshot is ready by then.
  const ending =
    writer.isAtLastVolume && !audit ? () => repository.store.storage.warmUpPublishing() : undefined;
  const scanVolume = (withBase: boolean) =>
    frozen.read(snapshot, (call, attached) => {
      const job = {
        attached,
        volume: { name, mode, size, takenAt },
        capacity,
        ...settings,
        recheckFrom: recheckStart(writer.history.record.nextSnapshot),
        reread,
        withBase,
        ending,
      };
      return new ScanSession(
        call,
        repository.store,
        writer,
        job,
        app.listener(vm.name, `reading ${name}`, expected),
        share,
      ).run();
    });
  const scanned = await scanVolume(true).catch((error: unknown) => {
    // What makes a reader fail may be the base that it compares with, and that is what a reread is to get rid of.
    const mayBeBase = reread && writer.baseOf(snapshot) !== undefined;
    if (!mayBeBase || !isBackupError(error, 'service-failed', 'store-missing', 'store-damaged')) throw error;
    app.warn(`${vm.name}: read again without comparing with the last backup, which failed: ${error.message}`);
    return scanVolume(false);
  });
  if (audit) {
    const grant = { numbers: scanned.live, treesOnly: false };
    const access = { history: writer.history, grant };
    await auditVolume(app, snapshot, scanned, access, settings.excludes);
  }
  await writer.finishVolume(scanned.volume, scanned.live);
  return scanned;
}
