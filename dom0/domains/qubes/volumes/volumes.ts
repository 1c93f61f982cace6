/**
 * Volumes of VMs for disposables: a frozen one of any VM, or the volume of a temporary VM itself. All that is made on the way is
 * in one transaction of the journal, which release() rolls back; a run that dies leaves it to cleanUp().
 */

import { realpath } from 'node:fs/promises';
import { basename } from 'node:path';
import { BackupError } from '../../../../shared/errors.ts';
import type { VmName } from '../../../../shared/ids.ts';
import type { VolumeMode } from '../../domains.ts';
import type { Admin } from '../admin/admin.ts';
import type { Journal, Transaction } from '../journal.ts';
import type { ToolRunner } from '../tools/tools.ts';
import { Blocks } from './block.ts';
import { Cloned } from './cloned.ts';
import { PlainFile } from './file.ts';
import { Images } from './images.ts';
import { Loops } from './loop.ts';
import { LvmThin } from './lvm-thin.ts';
import { PATIENCE } from './patience.ts';
import { Places } from './pool-driver.ts';
import type { PoolDriver, Snapshot, VolumeState } from './pool-driver.ts';
import type { Pool, PoolVolume } from './pool-volume.ts';
import { Reflink } from './reflink.ts';
import { ShownFiles } from './shown-files.ts';
import { Zfs } from './zfs.ts';

/** Pool drivers of which volumes are frozen, and written in a restore, without a detour. */
export const KNOWN_DRIVERS = ['lvm_thin', 'file-reflink', 'btrfs', 'zfs', 'file'] as const;

/** How the names of VMs begin that may be written: those of restores, and of copies. */
const TEMPORARY = /^(?:restore-|qib-)/;

export interface VolumesOptions {
  readonly tools: ToolRunner;
  /** cleanUp() of it undoes what this made; the kinds of its steps are registered here. */
  readonly journal: Journal;
  readonly admin: Admin;
  /** A folder that stands for `/`, in tests. */
  readonly root?: string;
  /** Milliseconds to wait for devices. */
  readonly patience?: number;
}

export class Volumes {
  readonly #journal: Journal;
  readonly #loops: Loops;
  readonly #blocks: Blocks;
  readonly #drivers: Readonly<Record<(typeof KNOWN_DRIVERS)[number], PoolDriver>>;
  readonly #others: PoolDriver;

  constructor({ tools, journal, admin, root, patience = PATIENCE }: VolumesOptions) {
    const places = new Places(root);
    this.#journal = journal;
    this.#loops = new Loops(tools, journal, patience);
    this.#blocks = new Blocks(tools, journal, patience);
    const images = new Images(journal, places);
    const shown = new ShownFiles(tools, journal, places, patience);
    const reflink = new Reflink(tools, images, shown);
    this.#drivers = {
      lvm_thin: new LvmThin(tools, journal, places, patience),
      'file-reflink': reflink,
      btrfs: reflink,
      zfs: new Zfs(tools, journal, places, patience),
      file: new PlainFile(tools, images, shown),
    };
    this.#others = new Cloned(admin, journal, (pool) => this.#known(pool));
  }

  /** Freezes a volume. `state` of the answer tells what it is: see cloned.ts. Throws `refused`, `io`, `timeout`, `store-full`. */
  snapshot(volume: PoolVolume, state: VolumeState): Promise<HeldVolume> {
    return this.#hold(volume, false, (driver, transaction) => driver.snapshot(volume, state, transaction));
  }

  /** The volume of a halted temporary VM itself. Throws `refused` for any other VM. */
  open(volume: PoolVolume, writable: boolean): Promise<HeldVolume> {
    return this.#hold(volume, writable, async (driver, transaction) => {
      if (!TEMPORARY.test(volume.vm) || volume.running)
        throw new BackupError(
          'refused',
          `VM ${volume.vm}: only the volume of a temporary VM that is halted may be given to a disposable`,
        );
      return { ...(await driver.own(volume, transaction)), state: 'committed' };
    });
  }

  async #hold(
    volume: PoolVolume,
    writable: boolean,
    make: (driver: PoolDriver, transaction: Transaction) => Promise<Snapshot>,
  ): Promise<HeldVolume> {
    const transaction = this.#journal.begin();
    try {
      const made = await make(this.#known(volume.pool) ?? this.#others, transaction);
      const tools = { loops: this.#loops, blocks: this.#blocks, transaction };
      return new HeldVolume(volume.vm, made, writable, tools);
    } catch (error) {
      throw await transaction.rollBackAfter(error);
    }
  }

  #known({ driver }: Pool): PoolDriver | undefined {
    const name = KNOWN_DRIVERS.find((known) => known === driver);
    return name === undefined ? undefined : this.#drivers[name];
  }
}

/** A volume that disposables can be given, until it is released. */
export class HeldVolume {
  readonly state: VolumeState;
  readonly writable: boolean;
  readonly #vm: VmName;
  readonly #source: Omit<Snapshot, 'state'>;
  readonly #with: { readonly loops: Loops; readonly blocks: Blocks; readonly transaction: Transaction };
  #used = false;
  #released = false;

  constructor(
    vm: VmName,
    { state, ...source }: Snapshot,
    writable: boolean,
    tools: { readonly loops: Loops; readonly blocks: Blocks; readonly transaction: Transaction },
  ) {
    this.state = state;
    this.writable = writable;
    this.#vm = vm;
    this.#source = source;
    this.#with = tools;
  }

  /**
   * Gives it to a running disposable, to be read in `mode`, or written if it is writable. Answers where that has it, `/dev/xvdi`. To
   * read files a disposable replays the journal, so each gets a copy of its own which it may write; a device is read as it is. May be
   * called for several disposables, which then have it at the same time. What fails half-way is undone by release().
   */
  async attach(disposable: VmName, mode: VolumeMode): Promise<string> {
    if (this.#released)
      throw new BackupError('internal', `VM ${this.#vm}: its volume is attached after its release`);
    const { loops, blocks, transaction } = this.#with;
    const own = mode === 'files' && !this.writable ? await this.#source.fork?.(transaction) : undefined;
    const writable = this.writable || own !== undefined;
    const { path, offered } = own ?? this.#source;
    // Qubes gives a device to one VM at a time: each further one gets a loop device of its own.
    const direct = offered && (own !== undefined || !this.#used);
    this.#used ||= own === undefined;
    const port = direct
      ? basename(await realpath(path))
      : await loops.attach(this.#vm, path, writable, transaction);
    return blocks.attach({ vm: this.#vm, disposable, port }, writable, transaction);
  }

  /** Takes it from all, and removes what was made for it. Idempotent. Throws if something resists: it stays in the journal. */
  async release(): Promise<void> {
    this.#released = true;
    await this.#with.transaction.rollBack();
  }
}
