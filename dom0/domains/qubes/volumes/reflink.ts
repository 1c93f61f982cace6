/**
 * Volumes in files that share blocks (`file-reflink`, on btrfs or xfs). A running VM works on `private-dirty.img`, which becomes
 * `private.img` when it halts; one that keeps no revisions has its image renamed to that instead of copied.
 */

import { isFile } from '../../stat.ts';
import type { Transaction } from '../journal.ts';
import type { ToolRunner } from '../tools/tools.ts';
import type { Images } from './images.ts';
import { notThere, refuseUncommitted, subjectOf } from './pool-driver.ts';
import type { PoolDriver, Snapshot, Source, VolumeState } from './pool-driver.ts';
import type { PoolVolume } from './pool-volume.ts';
import type { ShownFiles } from './shown-files.ts';

export class Reflink implements PoolDriver {
  readonly #tools: ToolRunner;
  readonly #images: Images;
  readonly #shown: ShownFiles;

  constructor(tools: ToolRunner, images: Images, shown: ShownFiles) {
    this.#tools = tools;
    this.#images = images;
    this.#shown = shown;
  }

  async snapshot(volume: PoolVolume, state: VolumeState, transaction: Transaction): Promise<Snapshot> {
    const original = await chooseImage(this.#images.imageOf(volume), volume, state);
    const frozen = await this.#copy(volume, original, transaction);
    const fork = async (into: Transaction) =>
      this.#shown.source(volume, await this.#copy(volume, frozen, into), into);
    return { ...(await this.#shown.source(volume, frozen, transaction)), state, fork };
  }

  /** Of one moment even while the VM writes, and never a copy of bytes: that would be neither. */
  async #copy(volume: PoolVolume, original: string, transaction: Transaction): Promise<string> {
    const path = await this.#images.newPath(volume, transaction);
    await this.#tools.run('cp', ['--reflink=always', '--', original, path], { subject: subjectOf(volume) });
    return path;
  }

  own(volume: PoolVolume, transaction: Transaction): Promise<Source> {
    return this.#shown.source(volume, this.#images.imageOf(volume), transaction);
  }
}

/** The image that has the state asked for; `clean` is that of the committed one. */
async function chooseImage(clean: string, volume: PoolVolume, state: VolumeState): Promise<string> {
  const dirty = `${clean.slice(0, -'.img'.length)}-dirty.img`;
  if (state === 'committed') refuseUncommitted(volume);
  // A halted VM has one after a crash of the machine, and goes on with it.
  else if (await isFile(dirty)) return dirty;
  else if (volume.running && volume.revisionsToKeep !== -1) throw notThere(volume, dirty);
  if (await isFile(clean)) return clean;
  throw notThere(volume, clean);
}
