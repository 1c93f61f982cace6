/** `backup`: one incremental snapshot of each chosen VM. */

import { randomInt } from 'node:crypto';
import { BackupError, isBackupError, messageOf } from '../../shared/errors.ts';
import { parseVmName } from '../../shared/ids.ts';
import { scan } from '../../shared/protocol/disposable.ts';
import { requireUsage } from '../app.ts';
import type { App } from '../app.ts';
import type { Vm } from '../domains/domains.ts';
import { nearest } from '../nearest.ts';
import { formatBytes, formatCount } from '../format.ts';
import { historyOf } from '../repository/find-vm.ts';
import type { Repository } from '../repository/repository.ts';
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
  const result = await scanVm(app, repository, vm);
  const { counts, number, warnings } = result.snapshot;
  const objects = repository.store.stored.objects - stored.objects;
  const seconds = (performance.now() - started) / 1000;
  if (result.done.counts.recheckMismatches > 0) {
    app.warn(
      `${vm.name}: ${result.done.counts.recheckMismatches} unchanged files had other contents than the last backup: check the disk`,
    );
  }
  if (result.done.ownersUnknown)
    app.warn(`${vm.name}: owners that this user cannot see were recorded as unknown: run as root`);
  const storedBytes = repository.store.stored.bytes - stored.bytes;
  app.output.line(
    `${vm.name}: snapshot ${number}: ${formatCount(counts.files)} files, ${formatBytes(counts.bytes)}; ` +
      `${formatCount(counts.changedFiles)} new or changed, stored ${formatBytes(storedBytes)} in ${formatCount(objects)} objects, ${seconds.toFixed(1)} s` +
      (counts.skipped > 0 ? `; ${formatCount(counts.skipped)} paths excluded` : '') +
      (warnings > 0 ? `; ${formatCount(warnings)} WARNINGS` : ''),
  );
  app.output.event('backup', {
    vm: vm.name,
    snapshot: number,
    ...counts,
    storedBytes,
    storedObjects: objects,
    storedContentObjects: repository.store.stored.contentObjects - stored.contentObjects,
    warnings,
    seconds,
  });
}

async function scanVm(app: App, repository: Repository, vm: Vm): Promise<ScanResult> {
  const volume = await app.domains.snapshotVolume(vm.name);
  const { takenAt, capacity } = volume;
  try {
    const config = await app.domains.readConfig(vm.name);
    return await app.withDisposable(
      vm.name,
      { kind: 'snapshot', snapshot: volume },
      scan.service,
      async (call, folder) => {
        const writer = await VmWriter.open(repository, await historyOf(repository, vm), config, Date.now);
        const job = {
          folder,
          takenAt,
          capacity,
          ...app.config.backup(vm),
          recheckFrom: randomInt(2 ** 32),
        };
        return new ScanSession(call, repository.store, writer, job, app.listener(vm.name)).run();
      },
    );
  } finally {
    await volume.release();
  }
}
