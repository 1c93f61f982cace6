/**
 * Volumes in a ZFS pool (`zfs`). A VM works on its volume itself; the pool keeps a snapshot of the last shutdown. A snapshot of ours
 * is `VOLUME@qib-ID`, and what a VM can be given is a clone of it, `CONTAINER/qib-ID`. Both have a property that says whose they are.
 */

import * as z from 'zod';
import type { Journal, StepKind, Transaction, Undone } from '../journal.ts';
import type { ToolRunner } from '../tools/tools.ts';
import { insist } from './patience.ts';
import { checkedVid, newName, notThere, refuseUncommitted, setting, subjectOf } from './pool-driver.ts';
import type { PoolDriver, Snapshot, Source, VolumeState, Places } from './pool-driver.ts';
import type { PoolVolume } from './pool-volume.ts';

/** A user property; its value is `yes`. */
const MARK = 'qubes-backup:made';
/** How the snapshots begin that Qubes takes at a shutdown. */
const CLEAN = 'qubes-clean';

const CONTAINER = /^[A-Za-z][A-Za-z0-9_.:-]*(?:\/[A-Za-z0-9_.:-]+)*$/;
const datasetData = z.strictObject({
  vm: z.string(),
  container: z.string().regex(CONTAINER),
  /** Within the container. */
  dataset: z.string().regex(/^[A-Za-z0-9_.:/-]+[/@]qib-[0-9a-f]{8}$/),
});
type DatasetData = z.output<typeof datasetData>;

export class Zfs implements PoolDriver {
  readonly #tools: ToolRunner;
  readonly #places: Places;
  readonly #patience: number;
  readonly #datasets: StepKind<DatasetData>;

  constructor(tools: ToolRunner, journal: Journal, places: Places, patience: number) {
    this.#tools = tools;
    this.#places = places;
    this.#patience = patience;
    this.#datasets = journal.register({
      name: 'zfs-dataset',
      schema: datasetData,
      survivesReboot: true,
      undo: (data) => this.#destroy(data),
    });
  }

  async snapshot(volume: PoolVolume, state: VolumeState, transaction: Transaction): Promise<Snapshot> {
    const { vm } = volume;
    const container = setting(volume, 'container', CONTAINER);
    const vid = vidWithin(volume, container);
    const run = (args: readonly string[]) => this.#tools.run('zfs', args, { subject: subjectOf(volume) });
    if (state === 'committed') refuseUncommitted(volume);
    // A halted VM's volume is what it was at its shutdown.
    let origin = state === 'committed' && volume.running ? await this.#lastShutdown(volume, vid) : undefined;
    if (origin === undefined) {
      origin = `${vid}@${newName()}`;
      await transaction.write(this.#datasets, { vm, container, dataset: origin });
      await run(['snapshot', '-o', `${MARK}=yes`, origin]);
    }
    const frozen = origin;
    const fork = (into: Transaction) => this.#clone(volume, container, frozen, into);
    return { ...(await fork(transaction)), state, fork };
  }

  async #clone(
    volume: PoolVolume,
    container: string,
    origin: string,
    transaction: Transaction,
  ): Promise<Source> {
    const clone = `${container}/${newName()}`;
    await transaction.write(this.#datasets, { vm: volume.vm, container, dataset: clone });
    const options = ['-o', `${MARK}=yes`, '-o', 'com.sun:auto-snapshot=false'];
    await this.#tools.run('zfs', ['clone', ...options, origin, clone], { subject: subjectOf(volume) });
    return { path: this.#places.device(`zvol/${clone}`), offered: false };
  }

  own(volume: PoolVolume): Promise<Source> {
    const vid = vidWithin(volume, setting(volume, 'container', CONTAINER));
    return Promise.resolve({ path: this.#places.device(`zvol/${vid}`), offered: false });
  }

  async #lastShutdown(volume: PoolVolume, vid: string): Promise<string> {
    const args = ['list', '-H', '-t', 'snapshot', '-o', 'name', '-s', 'creation', '-d', '1', vid];
    const said = await this.#tools.run('zfs', args, { subject: subjectOf(volume) });
    const last = said.split('\n').findLast((line) => line.startsWith(`${vid}@${CLEAN}`));
    if (last === undefined) throw notThere(volume, `a snapshot of its last shutdown (${vid}@${CLEAN}...)`);
    return last;
  }

  async #destroy({ vm, container, dataset }: DatasetData): Promise<Undone> {
    const subject = `VM ${vm}`;
    const args = ['list', '-H', '-t', 'volume,snapshot', '-o', `name,${MARK}`, '-r', container];
    const rows = (await this.#tools.run('zfs', args, { subject })).split('\n').map((row) => row.split('\t'));
    const found = rows.find(([name]) => name === dataset);
    if (found === undefined) return { outcome: 'nothing', line: `${dataset} is gone` };
    if (found[1] !== 'yes')
      return {
        outcome: 'left',
        line: `left ${dataset} alone: it lacks the property ${MARK}, so it is not ours`,
      };
    await insist(() => this.#tools.run('zfs', ['destroy', dataset], { subject }), this.#patience);
    return { outcome: 'undone', line: `removed ${dataset}, a snapshot of VM ${vm}` };
  }
}

function vidWithin(volume: PoolVolume, container: string): string {
  const vid = checkedVid(volume);
  if (!vid.startsWith(`${container}/`)) throw notThere(volume, `a volume within ${container}`);
  return vid;
}
