/**
 * What the product needs of a machine's VMs. Drivers: `local` (folders and sandboxed processes); a driver for
 * Qubes OS implements the same. Every method throws BackupError with a message that names the VM.
 */

import type { VmName } from '../../shared/ids.ts';
import type { Volume } from '../../shared/protocol/disposable.ts';
import type { ByteIo } from '../../shared/wire/io.ts';
import type { Finding } from './finding.ts';
import type { NotApplied } from './not-applied.ts';
import type { Promoted } from './promotions.ts';

/** The tag of a VM that a restore makes: it may be removed while it has it. */
export const TEMPORARY_TAG = 'qubes-backup-temporary';

/** Volumes that outlive a VM's run. */
export const VOLUME_NAMES = ['private', 'root'] as const;
export type VolumeName = (typeof VOLUME_NAMES)[number];

/** As the files of its file system, or as one raw, sparse device. */
export const VOLUME_MODES = ['files', 'blocks'] as const;
export type VolumeMode = (typeof VOLUME_MODES)[number];

/** A VM as the driver lists it. */
export interface Vm {
  readonly name: VmName;
  readonly klass: 'AppVM' | 'StandaloneVM' | 'TemplateVM' | 'DispVM' | 'AdminVM';
  /** Qubes UUID: changes when a VM is cloned, so no identity of ours depends on it alone. */
  readonly uuid: string;
  readonly includeInBackups: boolean;
  /** The name of its template, if it has one. */
  readonly template: string | null;
  /** Its own ones: a root volume that comes from a template is not among them. */
  readonly volumes: readonly VolumeName[];
  /** Those of them that are read as blocks unless the configuration says otherwise: whole disks, or file systems that nobody knows (R22). */
  readonly asBlocks?: readonly VolumeName[];
}

/** True if it is backed up with all others. */
export function isIncluded({ includeInBackups, klass }: Vm): boolean {
  return includeInBackups && klass !== 'DispVM';
}

/** What a VM's volume is made of. */
export interface VolumeShape {
  readonly name: VolumeName;
  readonly mode: VolumeMode;
  /** Bytes of the device or image; 0 of a folder, which has no size of its own. */
  readonly size: number;
}

/** A frozen, readable state of one volume of a VM. */
export interface VolumeSnapshot extends VolumeShape {
  readonly vm: VmName;
  /** When it was taken, milliseconds since 1970. */
  readonly takenAt: number;
  /** Bytes the volume can hold, at least its size: the base of the disposable's quota. */
  readonly capacity: number;
  /** False of a folder of the local driver: nothing freezes it, so it may change while it is read. */
  readonly frozen: boolean;
  /** Removes it. Idempotent. */
  release(): Promise<void>;
}

/** What a disposable is given. Nothing else of the machine is visible to it. */
export type Attachment =
  | { readonly kind: 'snapshot'; readonly snapshot: VolumeSnapshot } // read-only
  | {
      readonly kind: 'volume'; // of a temporary VM
      readonly vm: VmName;
      readonly volume: VolumeName;
      readonly mode: VolumeMode;
      readonly writable: boolean;
    }
  | { readonly kind: 'folder'; readonly folder: string } // writable, for extraction
  | { readonly kind: 'nothing' };

/** A running call of one service: a process in a sandbox, or a qrexec client. */
export interface ServiceCall {
  /** For messages: `VM: service`. */
  readonly peer: string;
  readonly io: ByteIo;
  /** Milliseconds of silence after which this driver's VMs count as stuck, if not IDLE_TIMEOUT. */
  readonly idleTimeout?: number;
  /** Milliseconds in which an answer must be there, if not ANSWER_TIMEOUT; for what is called as a storage VM. */
  readonly answerTimeout?: number;
  /** Milliseconds that a session may take, if not SESSION_TIMEOUT; for what is called as a disposable. */
  readonly sessionTimeout?: number;
  /** Settles when the process is gone and its output is closed. Never rejects. */
  readonly exited: Promise<{ readonly code: number | null; readonly signal: string | null }>;
  /** The first bytes of what it wrote to stderr, as printable ASCII. */
  stderr(): string;
  /** Closes its stdin; a service whose session is over, or failed, then ends by itself. */
  hangUp(): void;
  /** Ends it at once, with all its children. */
  kill(): void;
}

/** A network-less disposable VM for one job on one VM's data. */
export interface Disposable {
  readonly name: string;
  /** Where the attached volume or folder is inside the disposable; undefined for `nothing`. */
  readonly attached: Volume | undefined;
  call(service: string): Promise<ServiceCall>;
  /** Kills it and all it runs. Idempotent. */
  destroy(): Promise<void>;
}

/** What takes the place of what a restored VM referred to. */
export interface Substitutes {
  /** Its template. Undefined: the one it had or, where that is not there, the nearest. */
  readonly template?: VmName | undefined;
  /** Its network VM, null for none. Undefined: the one it had or, where that is not there, none. */
  readonly netvm?: VmName | null | undefined;
}

/** What a VM had and is not there to be had again. */
export interface Missing {
  readonly template: {
    readonly wanted: string;
    /** What takes its place unless another is chosen; undefined if nothing can. */
    readonly nearest: string | undefined;
  } | null;
  readonly netvm: { readonly wanted: string } | null;
}

/** A VM that a restored one is to take the place of. */
export interface Replaced {
  readonly name: VmName;
  readonly uuid: string;
  /** The name under which it is kept, with its content; free. */
  readonly keptAs: VmName;
  /** What refers to it and is to refer to the restored one, for a person: `work: netvm`. */
  readonly references: readonly string[];
}

export interface Domains {
  /** All VMs, sorted by name. */
  list(): Promise<readonly Vm[]>;
  /** The configuration that travels with a backup (R25): UTF-8 JSON, at most MAX_VM_CONFIG bytes. */
  readConfig(vm: VmName): Promise<Uint8Array>;
  /** Freezes one of the VM's volumes as it is now, to be read in `mode`. */
  snapshotVolume(vm: VmName, volume: VolumeName, mode: VolumeMode): Promise<VolumeSnapshot>;
  /** Starts a disposable for `vm`'s data. */
  startDisposable(vm: VmName, attachment: Attachment): Promise<Disposable>;
  /** For a first use: makes sure that there is a storage VM of this name, where the driver can make one. */
  prepareStorage(storageVm: string): Promise<void>;
  /** Calls a service of a storage VM. Throws `store-missing` if there is no such VM. */
  callStorage(storageVm: string, service: string): Promise<ServiceCall>;
  /**
   * Runs a service of a storage VM in dom0 itself, as a child that sees nothing of the machine but `folder`, and keeps its data
   * there. Not a call of another VM: no policy is asked. `name` is for messages. Throws `store-missing` if there is no such folder.
   */
  callFolder(name: string, folder: string, service: string): Promise<ServiceCall>;
  /** Calls a service of a VM of the user's, which is started if need be. Throws `unknown-vm`. */
  callVm(vm: VmName, service: string, argument: string): Promise<ServiceCall>;
  /** What a VM of this configuration, of readConfig(), would refer to and is not there. */
  missing(finalName: VmName, config: Uint8Array): Promise<Missing>;
  /**
   * Creates a network-less VM, excluded from backups, from a configuration of readConfig(), with `volumes`: in mode
   * `files` an empty file system, in mode `blocks` a device of exactly that size. The name is derived from `finalName`,
   * marked temporary, and free. Throws `unknown-vm` if there is no template for it, or no such substitute.
   */
  createTemporary(
    finalName: VmName,
    config: Uint8Array,
    volumes: readonly VolumeShape[],
    substitutes?: Substitutes,
  ): Promise<VmName>;
  /** How `vm` would be replaced. Throws `unknown-vm`; `refused`, with what to do, if it cannot be now, as it runs for example. */
  replaceable(vm: VmName): Promise<Replaced>;
  /**
   * Gives a temporary VM its final name and the configuration it was created from; answers what of that it does not have. Refuses if
   * the name is taken, unless by `replaced`: that one is then kept under its other name, with its content, and what
   * referred to it refers to the restored one. If this fails, or the process dies, either nothing of that is so, or removeTemporary()
   * and cleanUp() bring it to its end. Once the VM has its name, promoted() tells of it, with `note`, until forgetPromoted().
   */
  promote(
    temporary: VmName,
    finalName: VmName,
    replaced?: Replaced,
    note?: string,
  ): Promise<readonly NotApplied[]>;
  /** VMs that promote() gave their names, also in runs that died, and that forgetPromoted() was not told of. Call after cleanUp(). */
  promoted(): Promise<readonly Promoted[]>;
  /** Has promoted() tell of no more than `notApplied` of one of its VMs. */
  keepNotApplied(temporary: VmName, notApplied: readonly NotApplied[]): void;
  /** Ends what promoted() tells of one of its VMs. */
  forgetPromoted(temporary: VmName): void;
  /**
   * Tries again what a VM of promoted() does not have because another VM was not there; answers what it does not have now. What a
   * person has set meanwhile is left as it is, and not answered.
   */
  applyAgain(vm: VmName, notApplied: readonly NotApplied[]): Promise<readonly NotApplied[]>;
  /**
   * Removes a temporary VM; refuses any other. One that has its name already, or has begun to replace another, which is gone, is
   * finished instead.
   */
  removeTemporary(temporary: VmName): Promise<void>;
  /** Looks at what the backups of `vms` need of this machine. Starts disposables; call under the state lock. */
  examine(vms: readonly Vm[], storageVms: readonly string[]): Promise<readonly Finding[]>;
  /** Kills every disposable and every call that this process started. */
  stopAll(): Promise<void>;
  /** Removes what runs that died left behind; answers one line for each thing. Call under the state lock. */
  cleanUp(): Promise<readonly string[]>;
}
