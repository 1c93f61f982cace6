/**
 * The local driver without processes: its VMs as they are, but every service is served in this process. For tests
 * that run the main job hundreds of times. Folders only; no sandbox, no policy.
 */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type {
  Attachment,
  Disposable,
  ServiceCall,
  VolumeMode,
  VolumeName,
  VolumeSnapshot,
} from '../../dom0/domains/domains.ts';
import { LocalDomains } from '../../dom0/domains/local/local.ts';
import { BackupError } from '../../shared/errors.ts';
import type { VmName } from '../../shared/ids.ts';
import type { Store } from '../../storagevm/store.ts';
import type { Service } from '../attack/peer/storage-services.ts';
import { callStorageHere } from './here.ts';
import { callDisposableHere } from './in-process-services.ts';

export class InProcessDomains extends LocalDomains {
  readonly #home: string;
  readonly #now: () => number;
  /** Where the storage VM keeps its data, if not in its folder. */
  store: Store | undefined;
  /** Disposables that serve something else than their own, by service. */
  readonly instead = new Map<string, Service>();

  /** `now`: when a snapshot counts as taken, in milliseconds since 1970. */
  constructor(home: string, now: () => number = Date.now) {
    super({ home, sandbox: 'none' });
    this.#home = home;
    this.#now = now;
  }

  override async snapshotVolume(vm: VmName, volume: VolumeName, mode: VolumeMode): Promise<VolumeSnapshot> {
    const { name, size, capacity, frozen } = await super.snapshotVolume(vm, volume, mode);
    return { vm, name, mode, size, capacity, frozen, takenAt: this.#now(), release: () => Promise.resolve() };
  }

  override startDisposable(vm: VmName, attachment: Attachment): Promise<Disposable> {
    const path = this.#folderOf(attachment);
    return Promise.resolve({
      name: `disposable of ${vm}`,
      attached: path === undefined ? undefined : { kind: 'folder', path },
      call: (service: string) => Promise.resolve(callDisposableHere(service, this.instead.get(service))),
      destroy: () => Promise.resolve(),
    });
  }

  #folderOf(attachment: Attachment): string | undefined {
    switch (attachment.kind) {
      case 'snapshot':
        return join(this.#home, 'vms', attachment.snapshot.vm, attachment.snapshot.name);
      case 'volume':
        return join(this.#home, 'vms', attachment.vm, attachment.volume);
      case 'folder':
        return attachment.folder;
      case 'nothing':
        return undefined;
    }
  }

  override callStorage(storageVm: string, service: string): Promise<ServiceCall> {
    const { store } = this;
    if (store !== undefined) return Promise.resolve(callStorageHere(service, store));
    return this.callFolder(storageVm, join(this.#home, 'storage', storageVm), service);
  }

  override callFolder(name: string, folder: string, service: string): Promise<ServiceCall> {
    if (existsSync(folder)) return Promise.resolve(callStorageHere(service, join(folder, 'qubes-backup')));
    return Promise.reject(new BackupError('store-missing', `${name}: the folder ${folder} is missing`));
  }
}
