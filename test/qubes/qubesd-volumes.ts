/**
 * Volumes of the stand-in for qubesd: sparse files that are created, copied, committed and removed when and as the real one
 * does it, below a folder that stands for the root of the system.
 */

import { execFile } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { QubesException, Unhandled, notHalted, permissionDenied, valueError } from './qubesd-exception.ts';
import { layoutOf, snapshotsDisabled } from './qubesd-layouts.ts';
import type { Layout } from './qubesd-layouts.ts';
import { globalValue } from './qubesd-global-properties.ts';
import type { PoolState, Store, VmState, VolumeState } from './qubesd-state.ts';

const GiB = 2 ** 30;
export const ROOT_SIZE = 10 * GiB;
export const PRIVATE_SIZE = 2 * GiB;
const VOLUMES = ['root', 'private', 'volatile', 'kernel'];

const run = promisify(execFile);

export class Volumes {
  readonly #store: Store;
  readonly #root: string;
  readonly #shown: string;

  /** `root`: the folder that stands for `/`. `shown`: what the paths in answers begin with, `root` or nothing. */
  constructor(store: Store, root: string, shown: string) {
    this.#store = store;
    this.#root = root;
    this.#shown = shown;
  }

  /** Throws PermissionDenied as the real one does. */
  find(vm: VmState, name: string): VolumeState {
    const volume = Object.hasOwn(vm.volumes, name) ? vm.volumes[name] : undefined;
    if (volume === undefined) throw permissionDenied(`${vm.name} volumes`);
    return volume;
  }

  /** Makes the volumes of a new VM, each in its pool of `pools`. */
  create(vm: VmState, template: VmState | undefined, pools: Readonly<Record<string, string>>): void {
    for (const name of VOLUMES) {
      const pool = pools[name] ?? globalValue(this.#store, `default_pool_${name}`) ?? 'varlibqubes';
      const volume = this.#newVolume(vm, template, name, pool);
      vm.volumes[name] = volume;
      if (volume.save_on_stop) this.#make(this.#clean(volume), volume.size);
    }
  }

  /** What admin.vm.volume.Info answers. */
  info(volume: VolumeState, release: '4.2' | '4.3'): string {
    const { pool, vid, rw, source, save_on_stop: saved, snap_on_start: snapped } = volume;
    const text = (value: boolean) => (value ? 'True' : 'False');
    return [
      ['pool', pool],
      ['vid', vid],
      ['size', String(this.size(volume))],
      ['usage', String(this.usage(volume))],
      ['rw', text(rw)],
      ['source', source === null ? '' : this.#byPath(source).vid],
      ['path', this.#path(volume)],
      ['save_on_stop', text(saved)],
      ['snap_on_start', text(snapped)],
      ['revisions_to_keep', String(volume.revisions_to_keep)],
      ...(release === '4.2' ? [] : [['ephemeral', 'False']]),
      ['is_outdated', text(this.#isOutdated(volume))],
    ]
      .map(([key = '', value = '']) => `${key}=${value}\n`)
      .join('');
  }

  size(volume: VolumeState): number {
    return this.#present(volume)?.size ?? volume.size;
  }

  usage(volume: VolumeState): number {
    return (this.#present(volume)?.blocks ?? 0) * 512;
  }

  /** Names of the revisions, oldest first. */
  revisions(volume: VolumeState): readonly string[] {
    return this.#revisionFiles(volume).map(({ name }) => name);
  }

  async start(vm: VmState): Promise<void> {
    for (const volume of this.#own(vm)) {
      if (volume.snap_on_start && !existsSync(this.#clean(this.#byPath(volume.source ?? ''))))
        throw new QubesException('StoragePoolException', `Missing image file for volume ${volume.vid}`);
    }
    for (const volume of this.#own(vm)) await this.#start(volume);
  }

  async stop(vm: VmState): Promise<void> {
    for (const volume of this.#own(vm)) await this.#stop(volume);
  }

  remove(vm: VmState): void {
    for (const volume of this.#own(vm)) {
      for (const { path } of this.#revisionFiles(volume)) rmSync(path);
      const layout = this.#layout(volume);
      for (const path of [layout.clean(volume.vid), layout.dirty(volume.vid), layout.shown(volume.vid)])
        rmSync(this.#real(path), { force: true });
    }
  }

  resize(volume: VolumeState, size: number): void {
    if (!volume.rw)
      throw new QubesException('StoragePoolException', `Cannot resize: ${volume.vid} is read-only`);
    if (existsSync(this.#dirty(volume))) truncateSync(this.#dirty(volume), size);
    else if (volume.save_on_stop) truncateSync(this.#clean(volume), size);
    volume.size = size;
  }

  keepRevisions(vm: VmState, volume: VolumeState, count: number): void {
    if (count < -1) throw valueError('Invalid value for revisions_to_keep');
    if (
      vm.power !== 'Halted' &&
      count !== volume.revisions_to_keep &&
      [count, volume.revisions_to_keep].includes(-1)
    )
      throw notHalted(vm.name);
    volume.revisions_to_keep = count;
  }

  /** Gives `to` the committed content of the volume at `source` (`VM/VOLUME`); what it had becomes a revision. */
  async import(source: string, to: VolumeState): Promise<void> {
    const from = this.#byPath(source);
    if (snapshotsDisabled(from) && this.#vmOf(source).power !== 'Halted') {
      throw new QubesException(
        'StoragePoolException',
        `Volume ${from.vid} must be stopped before importing its data`,
      );
    }
    if (!to.save_on_stop) return;
    if (!from.save_on_stop) throw new Unhandled(`Cannot export: ${from.vid} is not save_on_stop`);
    const copy = `${this.#clean(to)}-import`;
    await copySparse(this.#clean(from), copy);
    this.#commit(to, copy);
    to.size = statSync(this.#clean(to)).size;
  }

  /** Its snapshots are of the template that it has now; so are those of its disposables. */
  followTemplate(vm: VmState): void {
    const base = vm.properties['template'] ?? '';
    for (const [name, volume] of Object.entries(vm.volumes))
      if (volume.source !== null) volume.source = this.#sourceOf(vm.klass, name, this.#store.vm(base));
    for (const other of this.#store.vms())
      if (other.klass === 'DispVM' && other.properties['template'] === vm.name) this.followTemplate(other);
  }

  /** Every volume of a pool. */
  of(pool: string): readonly VolumeState[] {
    return this.#store
      .vms()
      .flatMap((vm) => Object.values(vm.volumes).filter((volume) => volume.pool === pool));
  }

  // ----------------------------------------------------------------------------------------------------------

  #newVolume(vm: VmState, template: VmState | undefined, name: string, pool: string): VolumeState {
    const { driver, revisions_to_keep } = this.#pool(pool);
    const common = { pool, revisions_to_keep, startedFrom: null };
    if (name === 'kernel') {
      const vid = globalValue(this.#store, 'default_kernel') ?? '';
      return { ...common, vid, size: 0, source: null, rw: false, save_on_stop: false, snap_on_start: false };
    }
    if (driver === 'linux-kernel') throw new Unhandled('no pool of volumes that are written');
    const vid = layoutOf(this.#pool(pool)).vid(vm, name);
    const ofTemplate =
      template !== undefined && (name === 'root' || (name === 'private' && vm.klass === 'DispVM'));
    const source = ofTemplate ? this.#sourceOf(vm.klass, name, template) : null;
    const size =
      source === null ? (name === 'private' ? PRIVATE_SIZE : ROOT_SIZE) : this.size(this.#byPath(source));
    const kept = { save_on_stop: source === null && name !== 'volatile', snap_on_start: source !== null };
    return { ...common, vid, size, source, rw: true, ...kept };
  }

  /** A DispVM's root is that of its template's template. */
  #sourceOf(klass: VmState['klass'], name: string, template: VmState): string {
    const owner =
      name === 'root' && klass === 'DispVM' ? (template.properties['template'] ?? '') : template.name;
    return `${owner}/${name}`;
  }

  async #start(volume: VolumeState): Promise<void> {
    const dirty = this.#dirty(volume);
    if (volume.snap_on_start) {
      const source = this.#byPath(volume.source ?? '');
      await copySparse(this.#clean(source), dirty);
      volume.startedFrom = stampOf(this.#clean(source));
    } else if (!volume.save_on_stop) this.#make(dirty, volume.size);
    else if (this.#isInPlace(volume)) {
      if (snapshotsDisabled(volume)) for (const { path } of this.#revisionFiles(volume)) rmSync(path);
    } else if (snapshotsDisabled(volume)) renameSync(this.#clean(volume), dirty);
    else if (!existsSync(dirty)) await copySparse(this.#clean(volume), dirty);
  }

  async #stop(volume: VolumeState): Promise<void> {
    const dirty = this.#dirty(volume);
    if (this.#isInPlace(volume) || !existsSync(dirty)) return;
    if (!volume.save_on_stop) rmSync(dirty);
    else if (snapshotsDisabled(volume)) renameSync(dirty, this.#clean(volume));
    else this.#commit(volume, dirty);
    volume.startedFrom = null;
    await Promise.resolve();
  }

  /** `path` becomes the committed state; what that was, a revision. */
  #commit(volume: VolumeState, path: string): void {
    const clean = this.#clean(volume);
    if (volume.revisions_to_keep > 0) {
      const layout = this.#layout(volume);
      const from = statSync(clean).mtime;
      const name = layout.newRevision(this.revisions(volume), from);
      renameSync(clean, this.#real(layout.revision(volume.vid, name, from)));
    }
    renameSync(path, clean);
    const files = this.#revisionFiles(volume);
    for (const old of files.slice(0, Math.max(0, files.length - Math.max(0, volume.revisions_to_keep))))
      rmSync(old.path);
  }

  /** A pool in which a running VM writes to the volume itself; LVM does so where snapshots are off. */
  #isInPlace(volume: VolumeState): boolean {
    if (!volume.save_on_stop) return false;
    return (
      this.#layout(volume).inPlace ||
      (snapshotsDisabled(volume) && this.#pool(volume.pool).driver === 'lvm_thin')
    );
  }

  #revisionFiles(volume: VolumeState): readonly { readonly name: string; readonly path: string }[] {
    const layout = this.#layout(volume);
    const folder = dirname(layout.clean(volume.vid));
    if (!existsSync(this.#real(folder))) return [];
    return readdirSync(this.#real(folder))
      .flatMap((file) => {
        const name = layout.revisionName(volume.vid, `${folder}/${file}`);
        return name === undefined ? [] : { name, path: this.#real(`${folder}/${file}`) };
      })
      .sort((a, b) => parseInt(a.name, 10) - parseInt(b.name, 10));
  }

  #isOutdated(volume: VolumeState): boolean {
    if (volume.startedFrom === null) return false;
    return volume.startedFrom !== stampOf(this.#clean(this.#byPath(volume.source ?? '')));
  }

  #path(volume: VolumeState): string {
    const { driver, config } = this.#pool(volume.pool);
    if (driver === 'linux-kernel')
      return `${this.#shown}${config['dir_path'] ?? ''}/${volume.vid}/modules.img`;
    return `${this.#shown}${this.#layout(volume).shown(volume.vid)}`;
  }

  #make(path: string, size: number): void {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, '');
    truncateSync(path, size);
    const mapped = /^\/dev\/([^/]+\/[^/]+)$/.exec(path.slice(this.#root.length))?.[1];
    if (mapped !== undefined) this.#map(mapped, path);
  }

  /** The second name of a logical volume. */
  #map(vid: string, path: string): void {
    const name = vid.replaceAll('-', '--').replaceAll('/', '-');
    mkdirSync(join(this.#root, '/dev/mapper'), { recursive: true });
    rmSync(join(this.#root, '/dev/mapper', name), { force: true });
    symlinkSync(path, join(this.#root, '/dev/mapper', name));
  }

  #present(volume: VolumeState) {
    if (this.#pool(volume.pool).driver === 'linux-kernel') return undefined;
    const dirty = statSync(this.#dirty(volume), { throwIfNoEntry: false });
    if (dirty !== undefined) return dirty;
    return volume.save_on_stop ? statSync(this.#clean(volume), { throwIfNoEntry: false }) : undefined;
  }

  #own(vm: VmState): readonly VolumeState[] {
    return Object.values(vm.volumes).filter(({ pool }) => this.#pool(pool).driver !== 'linux-kernel');
  }

  #vmOf(path: string): VmState {
    return this.#store.vm(path.slice(0, path.lastIndexOf('/')));
  }

  #byPath(path: string): VolumeState {
    return this.find(this.#vmOf(path), path.slice(path.lastIndexOf('/') + 1));
  }

  #pool(name: string): PoolState {
    const pool = this.#store.pool(name);
    if (pool === undefined) throw new Unhandled(`no pool ${name}`);
    return pool;
  }

  #layout(volume: VolumeState): Layout {
    return layoutOf(this.#pool(volume.pool));
  }

  #clean(volume: VolumeState): string {
    return this.#real(this.#layout(volume).clean(volume.vid));
  }

  #dirty(volume: VolumeState): string {
    return this.#real(this.#layout(volume).dirty(volume.vid));
  }

  #real(path: string): string {
    return join(this.#root, path);
  }
}

/** A copy that shares its content where the file system can, and is as sparse everywhere. */
async function copySparse(from: string, to: string): Promise<void> {
  mkdirSync(dirname(to), { recursive: true });
  await run('cp', ['--reflink=auto', '--sparse=always', '--', from, to]);
}

function stampOf(path: string): string {
  const { ino, mtimeMs, size } = statSync(path);
  return `${ino} ${mtimeMs} ${size}`;
}
