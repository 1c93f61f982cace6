/**
 * VMs as the local driver has them, but what runs in one runs in a guest with a kernel of its own: a disposable for each job, the
 * storage VM, which another process may have started (served-guest.ts), and a user's VM while it is called. Volumes are images,
 * which this machine neither mounts nor makes a file system on: the guest does, as on Qubes OS.
 */

import { randomBytes, randomInt } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, realpath, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BackupError } from '../../shared/errors.ts';
import type { VmName } from '../../shared/ids.ts';
import { checkCallName } from '../../dom0/domains/call-name.ts';
import { TEMPORARY_TAG } from '../../dom0/domains/domains.ts';
import type {
  Attachment,
  Disposable,
  ServiceCall,
  Substitutes,
  VolumeMode,
  VolumeName,
  VolumeShape,
  VolumeSnapshot,
} from '../../dom0/domains/domains.ts';
import { DOM0 } from '../../dom0/domains/dom0-files.ts';
import { LocalDisposable } from '../../dom0/domains/local/disposable.ts';
import { LocalDomains } from '../../dom0/domains/local/local.ts';
import type { LocalOptions } from '../../dom0/domains/local/local.ts';
import { requireAllowed } from '../../dom0/domains/local/qrexec.ts';
import { Sandboxes } from '../../dom0/domains/local/sandbox.ts';
import { readVm, volumeOf } from '../../dom0/domains/local/vms.ts';
import { LocalSnapshot } from '../../dom0/domains/local/volumes.ts';
import type { PolicyVm } from '../../dom0/domains/policy.ts';
import { PROJECT } from '../support/processes.ts';
import { Guest } from './guest.ts';
import type { Drive } from './guest.ts';
import type { Image } from './image-files.ts';
import { callServed } from './served-guest.ts';

/** What is attached to a disposable, as on Qubes OS. */
const DEVICE = '/dev/xvdi';

export interface LabOptions extends LocalOptions {
  readonly image: Image;
  /** Told of each disposable once it runs, before anything is called there. */
  readonly started?: ((guest: Guest) => Promise<void>) | undefined;
  /** Milliseconds of silence after which a disposable counts as stuck, if not the patience of service-call.ts. */
  readonly idleTimeout?: number;
}

export class LabDomains extends LocalDomains {
  readonly #options: LabOptions;
  readonly #policyFolder: string;
  readonly #vms: string;
  readonly #volatile: string;
  readonly #sandboxes: Sandboxes;
  readonly #guests = new Set<Guest>();
  readonly #calls = new Set<ServiceCall>();

  constructor(options: LabOptions) {
    super(options);
    this.#options = options;
    this.#policyFolder = options.policyFolder ?? join(PROJECT, 'policies');
    this.#vms = join(options.home, 'vms');
    const own = join(options.home, 'state', 'local');
    this.#volatile = join(own, 'volatile');
    this.#sandboxes = new Sandboxes('auto', join(own, 'root'));
  }

  /** A copy of the image, whatever is to be read of it. */
  override async snapshotVolume(vm: VmName, volume: VolumeName, mode: VolumeMode): Promise<VolumeSnapshot> {
    if (vm === DOM0) return super.snapshotVolume(vm, volume, mode);
    const copy = await super.snapshotVolume(vm, volume, 'blocks');
    if (!(copy instanceof LocalSnapshot))
      throw new BackupError('internal', `VM ${vm}: its snapshot is no copy`);
    return new LabSnapshot(copy, mode);
  }

  override async startDisposable(vm: VmName, attachment: Attachment): Promise<Disposable> {
    if (attachment.kind === 'folder')
      throw new BackupError('usage', 'dom0 unpacks nothing on Qubes OS, and the lab does not either');
    if (vm === DOM0) return super.startDisposable(vm, attachment);
    const name = `disp${randomInt(10_000)}`;
    const drive = await this.#driveFor(vm, attachment);
    const { guest, remove } = await this.#start(name, drive === undefined ? [] : [drive]);
    const end = async () => {
      await guest.kill();
      await remove();
    };
    try {
      await this.#options.started?.(guest);
    } catch (error) {
      await end();
      throw error;
    }
    const policy = { klass: 'DispVM', tags: ['qubes-backup-disposable'] };
    const kind = modeOf(attachment) === 'blocks' ? 'blocks' : 'disk';
    const attached = drive && ({ kind, path: DEVICE } as const);
    const call = async (service: string) => {
      await this.#allow(name, policy, service, '');
      const { idleTimeout } = this.#options;
      return this.#keep({ ...guest.call(service), ...(idleTimeout === undefined ? {} : { idleTimeout }) });
    };
    return new LocalDisposable(name, attached, call, end);
  }

  override async prepareStorage(storageVm: string): Promise<void> {
    await Promise.resolve();
    if (!existsSync(this.#storageSocket(storageVm))) throw noStorageVm(storageVm);
  }

  override async callStorage(storageVm: string, service: string): Promise<ServiceCall> {
    await this.prepareStorage(storageVm);
    await this.#allow(storageVm, { klass: 'AppVM', tags: ['qubes-backup-storage'] }, service, '');
    return this.#keep(await callServed(storageVm, this.#storageSocket(storageVm), service));
  }

  /** Boots the VM with its own volume; once the call is over, it is shut down. */
  override async callVm(vm: VmName, service: string, argument: string): Promise<ServiceCall> {
    const found = await readVm(this.#vms, vm);
    const { path } = await volumeOf(found, 'private');
    await this.#allow(vm, { klass: found.klass, tags: found.config.tags }, service, argument);
    const { guest, remove } = await this.#start(vm, [{ file: path, serial: 'private', access: 'write' }]);
    const call = guest.call(service, argument);
    const exited = call.exited.then(async (end) => {
      if (end.signal === null) await guest.shutdown().catch(() => undefined);
      await guest.kill();
      await remove();
      return end;
    });
    return this.#keep({ ...call, exited });
  }

  /** Devices of the right size: what is on them is a disposable's to make. */
  override createTemporary(
    finalName: VmName,
    config: Uint8Array,
    volumes: readonly VolumeShape[],
    substitutes?: Substitutes,
  ): Promise<VmName> {
    const devices = volumes.map((volume): VolumeShape => ({ ...volume, mode: 'blocks' }));
    return super.createTemporary(finalName, config, devices, substitutes);
  }

  override async stopAll(): Promise<void> {
    for (const call of this.#calls) call.kill();
    await Promise.all([...this.#guests].map((guest) => guest.kill()));
    await Promise.all([...this.#calls].map((call) => call.exited));
    await super.stopAll();
  }

  async #start(
    name: string,
    drives: readonly Drive[],
  ): Promise<{ readonly guest: Guest; readonly remove: () => Promise<void> }> {
    const scratch = join(await realpath(this.#volatile), `${name}-${randomBytes(6).toString('hex')}`);
    await mkdir(scratch, { mode: 0o700 });
    const remove = () => rm(scratch, { recursive: true, force: true });
    const { image } = this.#options;
    try {
      const guest = await Guest.start({ name, image, sandboxes: this.#sandboxes, drives, scratch });
      this.#guests.add(guest);
      return {
        guest,
        remove: async () => {
          this.#guests.delete(guest);
          await remove();
        },
      };
    } catch (error) {
      await remove();
      throw error;
    }
  }

  #keep(call: ServiceCall): ServiceCall {
    this.#calls.add(call);
    void call.exited.then(() => this.#calls.delete(call));
    return call;
  }

  async #allow(name: string, policy: PolicyVm, service: string, argument: string): Promise<void> {
    checkCallName(service, argument);
    await requireAllowed(this.#policyFolder, { name, policy }, service, argument);
  }

  /** Who reads may write as well, a journal's replay say, into a copy that is gone with it. */
  async #driveFor(vm: VmName, attachment: Attachment): Promise<Drive | undefined> {
    const access = modeOf(attachment) === 'blocks' ? 'read' : 'copy';
    if (attachment.kind === 'snapshot') {
      const { snapshot } = attachment;
      if (!(snapshot instanceof LabSnapshot) || snapshot.vm !== vm)
        throw new BackupError('internal', `the snapshot is not one of VM ${vm}`);
      return { file: snapshot.file, serial: 'volume', access };
    }
    if (attachment.kind !== 'volume') return undefined;
    const found = await readVm(this.#vms, attachment.vm);
    if (!found.config.tags.includes(TEMPORARY_TAG))
      throw new BackupError('refused', `VM ${attachment.vm} is not a temporary one`);
    const { path } = await volumeOf(found, attachment.volume);
    return { file: await realpath(path), serial: 'volume', access: attachment.writable ? 'write' : access };
  }

  #storageSocket(storageVm: string): string {
    return storageSocket(this.#options.home, storageVm);
  }
}

/** Where the storage VM of a home is called. */
export function storageSocket(home: string, storageVm: string): string {
  return join(home, 'storage', storageVm, 'socket');
}

class LabSnapshot implements VolumeSnapshot {
  readonly vm: VmName;
  readonly name: VolumeName;
  readonly mode: VolumeMode;
  readonly size: number;
  readonly takenAt: number;
  readonly capacity: number;
  readonly frozen = true;
  readonly file: string;
  readonly #copy: LocalSnapshot;

  constructor(copy: LocalSnapshot, mode: VolumeMode) {
    this.vm = copy.vm;
    this.name = copy.name;
    this.mode = mode;
    this.size = copy.size;
    this.takenAt = copy.takenAt;
    this.capacity = copy.capacity;
    this.file = copy.source.path;
    this.#copy = copy;
  }

  release(): Promise<void> {
    return this.#copy.release();
  }
}

function modeOf(attachment: Attachment): VolumeMode | undefined {
  if (attachment.kind === 'snapshot') return attachment.snapshot.mode;
  return attachment.kind === 'volume' ? attachment.mode : undefined;
}

function noStorageVm(storageVm: string): BackupError {
  return new BackupError('store-missing', `there is no storage VM ${storageVm}, or it does not run`);
}
