/**
 * The driver that needs nothing but a Linux machine: VMs are folders, and the disposable and the storage VM are
 * processes in sandboxes. Everything is under one folder:
 *
 *   HOME/vms/NAME/         a VM (vms.ts)
 *   HOME/storage/STORE/    the home folder of the storage VM STORE
 *   HOME/storage-config/STORE/  its owner's settings, read-only in its sandbox (storage-config.ts)
 *   HOME/state/            dom0's own, mode 0700, visible in no sandbox; `state/local/` belongs to this driver
 */

import { randomBytes, randomInt } from 'node:crypto';
import { chmodSync, realpathSync } from 'node:fs';
import { mkdir, readdir, realpath } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { utf8 } from '../../../shared/bytes.ts';
import { BackupError, messageOf } from '../../../shared/errors.ts';
import { isVmName } from '../../../shared/ids.ts';
import type { VmName } from '../../../shared/ids.ts';
import { MAX_VM_CONFIG } from '../../../shared/limits.ts';
import { PROGRAM } from '../../program.ts';
import { makePrivateFolder } from '../../state/files.ts';
import type {
  Attachment,
  Disposable,
  Domains,
  Missing,
  Replaced,
  ServiceCall,
  Substitutes,
  Vm,
  VolumeMode,
  VolumeName,
  VolumeShape,
  VolumeSnapshot,
} from '../domains.ts';
import { DOM0, Dom0Files, NO_PATHS } from '../dom0-files.ts';
import type { Dom0Paths } from '../dom0-files.ts';
import { fail, ok, warn } from '../finding.ts';
import type { Finding } from '../finding.ts';
import { maskMounts } from '../mounts.ts';
import type { NotApplied } from '../not-applied.ts';
import { Promotions } from '../promotions.ts';
import type { Promoted } from '../promotions.ts';
import { LocalDisposable } from './disposable.ts';
import { requireFolder } from '../stat.ts';
import { removeTree } from './files.ts';
import { Qrexec, storageTarget } from './qrexec.ts';
import type { CallTarget } from './qrexec.ts';
import type { Bind, Capability, SandboxMode } from './sandbox-spec.ts';
import { Sandboxes } from './sandbox.ts';
import type { SandboxChoice } from './sandbox.ts';
import { storageConfig } from './storage-config.ts';
import { TemporaryVms } from './temporary.ts';
import { describeVm, listVms, readVm, volumeOf } from './vms.ts';
import { LocalSnapshot, canMount, requireMountable, snapshotVolume, sourceOf } from './volumes.ts';
import type { Source } from './volumes.ts';

export interface LocalOptions {
  readonly home: string;
  readonly sandbox: SandboxChoice;
  /** The folder of the program; default: PROGRAM. */
  readonly program?: string;
  /** Folder of qrexec policy; default: `policies` of the program. */
  readonly policyFolder?: string;
  /** What of this machine itself is backed up; default: nothing. */
  readonly dom0?: Dom0Paths;
  /** Told once of each thing in HOME that is ignored; default: a warning of the process. */
  readonly warn?: (text: string) => void;
}

/** Where a disposable in a sandbox finds what is attached to it. */
const VOLUME = '/mnt/volume';

/** Readers must see every file of the volume, writers give each its owner, mode, device numbers and attributes. */
const READER: readonly Capability[] = ['dac_override'];
const WRITER: readonly Capability[] = ['chown', 'dac_override', 'fowner', 'fsetid', 'mknod'];

export class LocalDomains implements Domains {
  readonly #home: string;
  readonly #vms: string;
  readonly #volatile: string;
  readonly #qrexec: Qrexec;
  readonly #sandboxes: Sandboxes;
  readonly #temporary: TemporaryVms;
  readonly #promotions: Promotions;
  readonly #dom0: Dom0Files;
  readonly #disposables = new Set<LocalDisposable>();
  readonly #warn: (text: string) => void;
  readonly #warned = new Set<string>();

  /** Makes `state/` in HOME. Throws `usage` if HOME does not exist, `io` if it cannot be used. */
  constructor(options: LocalOptions) {
    this.#home = openHome(options.home);
    const own = join(this.#home, 'state', 'local');
    const program = realpathSync(options.program ?? PROGRAM);
    this.#vms = join(this.#home, 'vms');
    this.#volatile = join(own, 'volatile');
    this.#sandboxes = new Sandboxes(options.sandbox, join(own, 'root'));
    this.#qrexec = new Qrexec(program, options.policyFolder ?? join(program, 'policies'), this.#sandboxes);
    const paths = options.dom0 ?? NO_PATHS;
    this.#dom0 = new Dom0Files({ paths, qrexec: this.#qrexec, sandboxes: this.#sandboxes, folder: own });
    this.#warn = options.warn ?? ((text) => process.emitWarning(text));
    this.#promotions = new Promotions(join(own, 'promoted'));
    this.#temporary = new TemporaryVms(this.#vms, join(own, 'journal'), this.#promotions, this.#warn);
  }

  /** How services are run. Throws `sandbox` if what was asked for cannot be built here. */
  sandboxMode(): Promise<SandboxMode> {
    return this.#sandboxes.mode();
  }

  async list(): Promise<readonly Vm[]> {
    const vms = await listVms(this.#vms, (text) => {
      if (!this.#warned.has(text)) this.#warn(text);
      this.#warned.add(text);
    });
    const listed = vms.map(({ name, klass, uuid, includeInBackups, template, volumes }): Vm => ({
      ...{ name, klass, uuid, includeInBackups, template, volumes },
    }));
    const dom0 = this.#dom0.vm;
    if (dom0.volumes.length > 0) listed.push(dom0);
    return listed.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async readConfig(vm: VmName): Promise<Uint8Array> {
    if (vm === DOM0) return this.#dom0.readConfig();
    const bytes = utf8(await describeVm(await readVm(this.#vms, vm)));
    if (bytes.length > MAX_VM_CONFIG)
      throw new BackupError('limit', `VM ${vm}: its configuration is too large`);
    return bytes;
  }

  async snapshotVolume(vm: VmName, volume: VolumeName, mode: VolumeMode): Promise<VolumeSnapshot> {
    if (vm === DOM0) return this.#dom0.snapshot(volume, mode);
    return snapshotVolume(await readVm(this.#vms, vm), volume, mode, {
      volatile: this.#volatile,
      id: newId('snapshot'),
      mounts: canMount((await this.#sandboxes.mode()) !== 'none'),
    });
  }

  async startDisposable(vm: VmName, attachment: Attachment): Promise<Disposable> {
    if (vm === DOM0 && attachment.kind !== 'folder') return this.#dom0.startDisposable(attachment);
    const name = `disp${randomInt(10_000)}`;
    const id = newId(name);
    const source = await this.#sourceFor(vm, attachment, join(this.#volatile, id, 'mount'));
    const attached = source && { kind: source.kind, path: await this.#inside(vm, source) };
    const sandboxed = (await this.#sandboxes.mode()) !== 'none';
    const binds = source === undefined ? [] : [bindOf(source, attachment)];
    const isFolder =
      attachment.kind === 'snapshot' && source?.kind === 'folder' && source.image === undefined;
    const target: CallTarget = {
      name,
      role: 'dvm',
      policy: { klass: 'DispVM', tags: ['qubes-backup-disposable'] },
      binds:
        sandboxed && isFolder ? await maskMounts(binds, await this.#makeVolatile(join(id, 'empty'))) : binds,
      home: sandboxed ? undefined : await this.#makeVolatile(join(id, 'home')),
      image: source?.image,
      capabilities: isWritable(attachment) ? writerCapabilities() : READER,
    };
    const call = (service: string) => this.#qrexec.call(target, service);
    const disposable = new LocalDisposable(name, attached, call, async () => {
      this.#disposables.delete(disposable);
      await removeTree(join(this.#volatile, id));
    });
    this.#disposables.add(disposable);
    return disposable;
  }

  async callStorage(storageVm: string, service: string): Promise<ServiceCall> {
    const home = this.#storageFolder(storageVm);
    await requireFolder(home, `there is no storage VM ${storageVm}`);
    const policy = { klass: 'AppVM', tags: ['qubes-backup-storage'] };
    const config = await storageConfig(join(this.#home, 'storage-config', storageVm));
    return this.#qrexec.call({ ...storageTarget(storageVm, policy, home), ...config }, service);
  }

  async callFolder(name: string, folder: string, service: string): Promise<ServiceCall> {
    await requireFolder(folder, `the store ${name} is not there`);
    const policy = { klass: 'AdminVM', tags: [] };
    return this.#qrexec.run(storageTarget(name, policy, await realpath(folder)), service);
  }

  /** Its sandbox sees the VM's volume, writable, and that is where its home is. */
  async callVm(vm: VmName, service: string, argument: string): Promise<ServiceCall> {
    const found = await readVm(this.#vms, vm);
    const volume = await volumeOf(found, 'private');
    requireMountable(vm, volume);
    const id = newId('call');
    const source = sourceOf(volume, 'files', await this.#makeVolatile(join(id, 'mount')), true);
    const remove = () => removeTree(join(this.#volatile, id));
    try {
      const target: CallTarget = {
        name: vm,
        role: 'vm',
        policy: { klass: found.klass, tags: found.config.tags },
        binds: [{ source: source.path, target: VOLUME, writable: true }],
        home: undefined,
        homeWithin: join(await this.#inside(vm, source), 'home', 'user'),
        image: source.image,
        capabilities: writerCapabilities(),
      };
      const call = await this.#qrexec.call(target, service, argument);
      const exited = call.exited.then(async (end) => {
        await remove().catch((error: unknown) => this.#warn(messageOf(error)));
        return end;
      });
      return { ...call, exited };
    } catch (error) {
      await remove();
      throw error;
    }
  }

  async prepareStorage(storageVm: string): Promise<void> {
    await mkdir(this.#storageFolder(storageVm), { recursive: true, mode: 0o700 });
  }

  /** What a VM refers to is a name here, whoever has it. */
  missing(): Promise<Missing> {
    return Promise.resolve({ template: null, netvm: null });
  }

  createTemporary(
    finalName: VmName,
    config: Uint8Array,
    volumes: readonly VolumeShape[],
    substitutes?: Substitutes,
  ): Promise<VmName> {
    return this.#temporary.create(finalName, config, volumes, substitutes);
  }

  replaceable(vm: VmName): Promise<Replaced> {
    return this.#temporary.replaceable(vm);
  }

  /** vm.json is given back as a whole. */
  async promote(
    temporary: VmName,
    finalName: VmName,
    replaced?: Replaced,
    note?: string,
  ): Promise<readonly NotApplied[]> {
    await this.#temporary.promote(temporary, finalName, replaced, note);
    return [];
  }

  async promoted(): Promise<readonly Promoted[]> {
    return this.#promotions.isEmpty ? [] : this.#promotions.among(await listVms(this.#vms, () => undefined));
  }

  keepNotApplied(temporary: VmName, notApplied: readonly NotApplied[]): void {
    this.#promotions.keep(temporary, notApplied);
  }

  forgetPromoted(temporary: VmName): void {
    this.#promotions.forget(temporary);
  }

  applyAgain(_vm: VmName, notApplied: readonly NotApplied[]): Promise<readonly NotApplied[]> {
    return Promise.resolve(notApplied);
  }

  removeTemporary(temporary: VmName): Promise<void> {
    return this.#temporary.remove(temporary);
  }

  async examine(): Promise<readonly Finding[]> {
    const about = 'sandbox';
    try {
      const mode = await this.sandboxMode();
      const none = 'none: nothing confines the parts that read your files and the store';
      return [mode === 'none' ? warn(about, none) : ok(about, mode)];
    } catch (error) {
      return [fail(about, messageOf(error))];
    }
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.#disposables].map((disposable) => disposable.destroy()));
    await this.#dom0.stopAll();
    await this.#qrexec.stopAll();
  }

  async cleanUp(): Promise<readonly string[]> {
    const lines = [...(await this.#temporary.cleanUp())];
    for (const name of (await readdir(this.#volatile)).sort()) {
      await removeTree(join(this.#volatile, name));
      lines.push(`removed ${name}, left over from a run that did not end`);
    }
    return lines;
  }

  /** What is attached, as it is on this machine. */
  async #sourceFor(vm: VmName, attachment: Attachment, mountPoint: string): Promise<Source | undefined> {
    switch (attachment.kind) {
      case 'nothing':
        return undefined;
      case 'folder':
        return { kind: 'folder', path: await realpath(attachment.folder), image: undefined };
      case 'snapshot':
        if (!(attachment.snapshot instanceof LocalSnapshot) || attachment.snapshot.vm !== vm) {
          throw new BackupError('internal', `the snapshot is not one of VM ${vm}`);
        }
        return attachment.snapshot.source;
      case 'volume': {
        await this.#temporary.check(attachment.vm);
        const volume = await volumeOf(await readVm(this.#vms, attachment.vm), attachment.volume);
        const source = sourceOf(volume, attachment.mode, mountPoint, attachment.writable);
        if (source.image !== undefined) await mkdir(mountPoint, { recursive: true, mode: 0o700 });
        return source;
      }
    }
  }

  /** Where a service finds what is attached. Throws `sandbox` if it needs one. */
  async #inside(vm: VmName, { path, image }: Source): Promise<string> {
    if ((await this.#sandboxes.mode()) !== 'none') return VOLUME;
    if (image === undefined) return path;
    throw new BackupError(
      'sandbox',
      `VM ${vm}: its image can only be mounted in a sandbox, not with --sandbox none`,
    );
  }

  #storageFolder(storageVm: string): string {
    if (!isVmName(storageVm))
      throw new BackupError('usage', `${JSON.stringify(storageVm)} is no name of a storage VM`);
    return join(this.#home, 'storage', storageVm);
  }

  async #makeVolatile(name: string): Promise<string> {
    const path = join(this.#volatile, name);
    await mkdir(path, { recursive: true, mode: 0o700 });
    return path;
  }
}

function isWritable(attachment: Attachment): boolean {
  return attachment.kind === 'folder' || (attachment.kind === 'volume' && attachment.writable);
}

function bindOf({ path, writable }: Source, attachment: Attachment): Bind {
  return { source: path, target: VOLUME, writable: writable ?? isWritable(attachment) };
}

/**
 * A user's CAP_SETFCAP would write capabilities that hold in its namespace only: other bytes than were backed up. Its
 * CAP_LINUX_IMMUTABLE is none at all.
 */
function writerCapabilities(): readonly Capability[] {
  return process.getuid?.() === 0 ? [...WRITER, 'setfcap', 'linux_immutable'] : WRITER;
}

function newId(prefix: string): string {
  return `${prefix}-${randomBytes(6).toString('hex')}`;
}

/** The real path of HOME, with the driver's folders made. */
function openHome(path: string): string {
  try {
    const home = realpathSync(resolve(path));
    for (const folder of ['root', 'volatile']) makePrivateFolder(join(home, 'state', 'local', folder));
    chmodSync(join(home, 'state'), 0o700);
    return home;
  } catch (cause) {
    throw new BackupError(
      'usage',
      `${resolve(path)} cannot be the home of the local driver: ${messageOf(cause)}`,
      { cause },
    );
  }
}
