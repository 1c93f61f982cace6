/** `backup`: one incremental snapshot of each chosen VM. */

import { randomInt } from 'node:crypto';
import { BackupError, isBackupError, messageOf } from '../../shared/errors.ts';
import { parseVmName } from '../../shared/ids.ts';
import { scan } from '../../shared/protocol/disposable.ts';
import { requireUsage } from '../app.ts';
import type { App } from '../app.ts';
import type { VolumePlan } from '../config.ts';
import type { Vm, VolumeSnapshot } from '../domains/domains.ts';
import { nearest } from '../nearest.ts';
import { formatBytes, formatCount } from '../format.ts';
import { historyOf } from '../repository/find-vm.ts';
import type { Repository } from '../repository/repository.ts';
import { totalsOf, volumeEvents } from '../repository/records.ts';
import type { Snapshot } from '../repository/records.ts';
import { VmWriter } from '../repository/vm-writer.ts';
import { ScanSession } from '../session/scan-session.ts';
import type { ScanResult } from '../session/scan-session.ts';

/** Backs up each VM in turn; one that fails does not stop the others. Throws the first failure at the end. */
export async function backup(app: App, names: readonly string[], all: boolean): Promise<void> {
  requireUsage(all !== names.length > 0, 'name the VMs to back up, or give --all');
  await app.lock();
  const vms = chooseVms(await app.domains.list(), names, all);
  if (vms.length === 0) app.warn('no VM is included in backups: nothing was backed up');
  app.defer(() => app.storage.abort());
  const repository = await app.open();
  const failures: BackupError[] = [];
  for (const vm of vms) {
    try {
      await backUpOne(app, repository, vm);
    } catch (error) {
      const failure = isBackupError(error)
        ? error
        : new BackupError('internal', messageOf(error), { cause: error });
      app.output.error(`${vm.name}: not backed up: ${failure.message}`);
      app.output.event('failed', { vm: vm.name, code: failure.code, message: failure.message });
      failures.push(failure);
      await app.storage.abort(); // Sessions may be half-way; the next VM gets fresh ones.
    }
  }
  await app.closeStorage();
  const [first] = failures;
  if (first !== undefined) {
    throw new BackupError(first.code, `${failures.length} of ${vms.length} VMs not backed up`, {
      cause: first,
    });
  }
}

function chooseVms(vms: readonly Vm[], names: readonly string[], all: boolean): Vm[] {
  if (all) return vms.filter((vm) => vm.includeInBackups && vm.klass !== 'DispVM' && vm.klass !== 'AdminVM');
  return [...new Set(names)].map((name) => {
    parseVmName(name);
    const vm = vms.find((candidate) => candidate.name === name);
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

async function backUpOne(app: App, repository: Repository, vm: Vm): Promise<void> {
  const started = performance.now();
  const stored = { ...repository.store.stored };
  const { snapshot, results } = await scanVm(app, repository, vm);
  const { counts, warnings } = totalsOf(snapshot);
  const objects = repository.store.stored.objects - stored.objects;
  const seconds = (performance.now() - started) / 1000;
  for (const { done } of results) warnOf(app, vm, done);
  const storedBytes = repository.store.stored.bytes - stored.bytes;
  app.output.line(
    `${vm.name}: snapshot ${snapshot.number}: ${formatCount(counts.files)} files, ${formatBytes(counts.bytes)}; ` +
      `${formatCount(counts.changedFiles)} new or changed, stored ${formatBytes(storedBytes)} in ${formatCount(objects)} objects, ${seconds.toFixed(1)} s` +
      (counts.skipped > 0 ? `; ${formatCount(counts.skipped)} paths excluded` : '') +
      (warnings > 0 ? `; ${formatCount(warnings)} WARNINGS` : ''),
  );
  app.output.event('backup', {
    vm: vm.name,
    snapshot: snapshot.number,
    volumes: volumeEvents(snapshot),
    ...counts,
    storedBytes,
    storedObjects: objects,
    storedContentObjects: repository.store.stored.contentObjects - stored.contentObjects,
    warnings,
    seconds,
  });
}

function warnOf(app: App, vm: Vm, done: ScanResult['done']): void {
  const { recheckMismatches } = done.counts;
  if (recheckMismatches > 0) {
    app.warn(
      `${vm.name}: ${recheckMismatches} unchanged files had other contents than the last backup: check the disk`,
    );
  }
  if (done.ownersUnknown)
    app.warn(`${vm.name}: owners that this user cannot see were recorded as unknown: run as root`);
}

/** The volumes to back up. Throws `usage` where the configuration names one that the VM has not, or none at all. */
function planOf(app: App, vm: Vm): VolumePlan[] {
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

/** All volumes are frozen first, as close together as can be, then read one by one. */
async function scanVm(
  app: App,
  repository: Repository,
  vm: Vm,
): Promise<{ snapshot: Snapshot; results: readonly ScanResult[] }> {
  const plan = planOf(app, vm);
  const frozen: VolumeSnapshot[] = [];
  try {
    for (const { name, mode } of plan) frozen.push(await app.domains.snapshotVolume(vm.name, name, mode));
    const writer = await VmWriter.open(repository, await historyOf(repository, vm), {
      config: await app.domains.readConfig(vm.name),
      takenAt: Math.min(...frozen.map(({ takenAt }) => takenAt)),
      volumes: plan,
      now: Date.now,
    });
    const results: ScanResult[] = [];
    for (const volume of frozen) results.push(await scanVolume(app, repository, vm, writer, volume));
    return { snapshot: await writer.commit(), results };
  } finally {
    for (const volume of frozen) await volume.release();
  }
}

function scanVolume(
  app: App,
  repository: Repository,
  vm: Vm,
  writer: VmWriter,
  snapshot: VolumeSnapshot,
): Promise<ScanResult> {
  const { name, mode, size, takenAt, capacity } = snapshot;
  return app.withVolume(vm.name, { kind: 'snapshot', snapshot }, scan.service, (call, attached) => {
    const job = {
      attached,
      volume: { name, mode, size, takenAt },
      capacity,
      ...app.config.backup(vm),
      recheckFrom: randomInt(2 ** 32),
    };
    return new ScanSession(call, repository.store, writer, job, app.listener(vm.name)).run();
  });
}
