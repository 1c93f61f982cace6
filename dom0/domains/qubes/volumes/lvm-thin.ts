/**
 * Volumes in an LVM thin pool (`lvm_thin`, the default of Qubes OS). A running VM works on `vm-NAME-private-snap`, which becomes
 * `vm-NAME-private` when it halts. A snapshot of ours is `qib-ID`, tagged: a name with `vm-` would be hidden by udev.
 */

import * as z from 'zod';
import type { Journal, StepKind, Transaction, Undone } from '../journal.ts';
import { parseOutput } from '../tools/tools.ts';
import type { ToolRunner } from '../tools/tools.ts';
import { insist } from './patience.ts';
import { OWN_NAME, checkedVid, newName, noSuchState, notThere } from './pool-driver.ts';
import { refuseUncommitted, setting, subjectOf } from './pool-driver.ts';
import type { PoolDriver, Snapshot, Source, VolumeState, Places } from './pool-driver.ts';
import type { PoolVolume } from './pool-volume.ts';

/** Says of a logical volume that it is ours. */
const TAG = 'qubes-backup';
/** What LVM takes as the name of a group. */
const GROUP = /^[A-Za-z0-9+_.][A-Za-z0-9+_.-]*$/;

const snapshotData = z.strictObject({
  vm: z.string(),
  group: z.string().regex(GROUP),
  name: z.string().regex(OWN_NAME),
});
type SnapshotData = z.output<typeof snapshotData>;

const report = z.strictObject({
  report: z.tuple([
    z.strictObject({
      lv: z.array(z.strictObject({ lv_name: z.string(), lv_tags: z.string(), lv_device_open: z.string() })),
    }),
  ]),
  log: z.array(z.unknown()).optional(), // From LVM 2.03.
});
type LogicalVolume = z.output<typeof report>['report'][0]['lv'][number];

export class LvmThin implements PoolDriver {
  readonly #tools: ToolRunner;
  readonly #places: Places;
  readonly #patience: number;
  readonly #snapshots: StepKind<SnapshotData>;

  constructor(tools: ToolRunner, journal: Journal, places: Places, patience: number) {
    this.#tools = tools;
    this.#places = places;
    this.#patience = patience;
    this.#snapshots = journal.register({
      name: 'lvm-snapshot',
      schema: snapshotData,
      survivesReboot: true,
      undo: (data) => this.#remove(data),
    });
  }

  async snapshot(volume: PoolVolume, state: VolumeState, transaction: Transaction): Promise<Snapshot> {
    const { vm } = volume;
    const { group, name: base } = splitVid(volume);
    const origin = chooseOrigin(volume, base, state, await this.#list(vm, group));
    const { name, ...source } = await this.#freeze(volume, group, origin, transaction);
    const fork = (into: Transaction) => this.#freeze(volume, group, name, into);
    return { ...source, state, fork };
  }

  async #freeze(
    volume: PoolVolume,
    group: string,
    origin: string,
    transaction: Transaction,
  ): Promise<Source & { readonly name: string }> {
    const name = newName();
    await transaction.write(this.#snapshots, { vm: volume.vm, group, name });
    // As Qubes makes its own: not skipped at activation, and active. The tag is there as soon as the snapshot is.
    const options = ['-s', '-kn', '-ay', '--addtag', TAG, '-n', name];
    await this.#tools.run('lvcreate', [...options, `${group}/${origin}`], { subject: subjectOf(volume) });
    return { name, path: this.#places.device(`${group}/${name}`), offered: true };
  }

  async own(volume: PoolVolume): Promise<Source> {
    const { group, name } = splitVid(volume);
    const lvs = await this.#list(volume.vm, group);
    if (!lvs.some((lv) => lv.lv_name === name)) throw notThere(volume, `the logical volume ${name}`);
    return { path: this.#places.device(`${group}/${name}`), offered: false };
  }

  async #remove({ vm, group, name }: SnapshotData): Promise<Undone> {
    const subject = `VM ${vm}`;
    const found = (await this.#list(vm, group)).find((lv) => lv.lv_name === name);
    const what = `the logical volume ${group}/${name}, a snapshot of VM ${vm}`;
    if (found === undefined) return { outcome: 'nothing', line: `${what}, is gone` };
    if (!found.lv_tags.split(',').includes(TAG))
      return {
        outcome: 'left',
        line: `left ${group}/${name} alone: it lacks the tag ${TAG}, so it is not ours`,
      };
    await insist(
      () => this.#tools.run('lvremove', ['--yes', '--', `${group}/${name}`], { subject }),
      this.#patience,
    );
    return { outcome: 'undone', line: `removed ${what}` };
  }

  async #list(vm: string, group: string): Promise<readonly LogicalVolume[]> {
    const options = ['--reportformat', 'json', '-o', 'lv_name,lv_tags,lv_device_open'];
    const subject = `VM ${vm}`;
    const said = await this.#tools.run('lvs', [...options, group], { subject });
    return parseOutput('lvs', subject, said, report).report[0].lv;
  }
}

/** `GROUP/NAME`, of the group that the pool names. */
function splitVid(volume: PoolVolume): { group: string; name: string } {
  const group = setting(volume, 'volume_group', GROUP);
  const [first, name, ...more] = checkedVid(volume).split('/');
  if (first !== group || name === undefined || more.length > 0)
    throw notThere(volume, `a logical volume in the group ${group}`);
  return { group, name };
}

/** The logical volume that has the state asked for. */
function chooseOrigin(
  volume: PoolVolume,
  base: string,
  state: VolumeState,
  lvs: readonly LogicalVolume[],
): string {
  const named = (name: string) => lvs.find((lv) => lv.lv_name === name);
  const live = named(`${base}-snap`);
  if (state === 'committed') {
    refuseUncommitted(volume);
    if (named(base) === undefined) throw notThere(volume, `the logical volume ${base}`);
    return base;
  }
  if (volume.running && volume.revisionsToKeep === -1) return inUse(volume, [named(base), live]);
  // Without one a running VM is about to halt, or to start. A halted VM has one after a crash of the machine, and goes on with it.
  if (live !== undefined) return live.lv_name;
  if (volume.running) throw notThere(volume, `the logical volume ${base}-snap`);
  if (named(base) === undefined) throw notThere(volume, `the logical volume ${base}`);
  return base;
}

/**
 * Of a VM that keeps no revisions: the volume itself, unless it was started before that was so. A `-snap` of an earlier crash may
 * lie beside it, so what counts is which one is open.
 */
function inUse(volume: PoolVolume, candidates: readonly (LogicalVolume | undefined)[]): string {
  const [open, ...more] = candidates.filter((lv) => lv?.lv_device_open === 'open');
  if (open === undefined) throw notThere(volume, 'a logical volume that it works on');
  if (more.length > 0)
    throw noSuchState(
      volume,
      `two logical volumes of it are in use, ${open.lv_name} and another: shut it down`,
    );
  return open.lv_name;
}
