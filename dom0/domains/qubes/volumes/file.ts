/**
 * Volumes in plain files (`file`), which share no blocks and have no snapshots: only of a halted VM is there a state to be had, and
 * a snapshot is a whole copy.
 */

import { dirname } from 'node:path';
import { checkRoom, isFile, statOf } from '../../stat.ts';
import type { Transaction } from '../journal.ts';
import type { ToolRunner } from '../tools/tools.ts';
import type { Images } from './images.ts';
import { noSuchState, notThere, subjectOf } from './pool-driver.ts';
import type { PoolDriver, Snapshot, Source, VolumeState } from './pool-driver.ts';
import type { PoolVolume } from './pool-volume.ts';
import type { ShownFiles } from './shown-files.ts';

/** Milliseconds: a whole copy takes as long as it takes to read and write. */
const COPY_TIMEOUT = 12 * 3600_000;

export class PlainFile implements PoolDriver {
  readonly #tools: ToolRunner;
  readonly #images: Images;
  readonly #shown: ShownFiles;

  constructor(tools: ToolRunner, images: Images, shown: ShownFiles) {
    this.#tools = tools;
    this.#images = images;
    this.#shown = shown;
  }

  async snapshot(volume: PoolVolume, state: VolumeState, transaction: Transaction): Promise<Snapshot> {
    if (volume.running) throw runs(volume, 'and the VM runs');
    const image = this.#images.imageOf(volume);
    if (!(await isFile(image))) throw notThere(volume, image);
    const version = await versionOf(image);
    const frozen = await this.#copy(volume, image, version, transaction);
    // A copy takes the time and room of the whole: the first reader has the one that is there, as most often it is the only one.
    let isGiven = false;
    const fork = (into: Transaction) => {
      if (isGiven) return this.#copy(volume, image, version, into);
      isGiven = true;
      return Promise.resolve(frozen);
    };
    return { ...frozen, state, fork };
  }

  /** Throws `refused` if the image is of another version before the copy is whole, `store-full` if there is no room for one. */
  async #copy(volume: PoolVolume, image: string, version: string, transaction: Transaction): Promise<Source> {
    const subject = subjectOf(volume);
    const path = await this.#images.newPath(volume, transaction);
    const advice = 'make room there, or move the VM into a pool with snapshots (`qvm-clone --pool`)';
    await checkRoom(subject, image, dirname(path), advice);
    const options = ['--reflink=auto', '--sparse=always', '--'];
    await this.#tools.run('cp', [...options, image, path], { subject, timeout: COPY_TIMEOUT });
    if ((await versionOf(image)) !== version) throw runs(volume, 'and it was written while it was copied');
    return this.#shown.source(volume, path, transaction);
  }

  own(volume: PoolVolume, transaction: Transaction): Promise<Source> {
    return this.#shown.source(volume, this.#images.imageOf(volume), transaction);
  }
}

/** Changes with every write. */
async function versionOf(path: string): Promise<string> {
  const stats = await statOf(path);
  return `${stats?.ino ?? 0n} ${stats?.mtimeNs ?? 0n} ${stats?.size ?? 0n}`;
}

function runs(volume: PoolVolume, why: string) {
  return noSuchState(
    volume,
    `the pool ${volume.pool.name} has no snapshots (driver file), ${why}. ` +
      'Shut the VM down and keep it so, or move it into a pool with snapshots (`qvm-clone --pool`)',
  );
}
