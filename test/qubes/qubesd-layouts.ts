/**
 * Where each pool driver keeps a volume, and how it names it. Paths are those of the system that is played; qubesd-volumes.ts
 * puts them below a folder. Source: qubes/storage/{reflink,lvm,file,zfs}.py.
 */

import type { PoolState, VmState, VolumeState } from './qubesd-state.ts';

export interface Layout {
  /** The pool's name for a volume of `vm`. */
  vid(vm: VmState, volume: string): string;
  /** The committed state. */
  clean(vid: string): string;
  /** What a running VM writes to. */
  dirty(vid: string): string;
  /** What qubesd answers as its path. */
  shown(vid: string): string;
  /** A revision of the committed state by its name and the time that it is from. */
  revision(vid: string, name: string, at: Date): string;
  /** The names of revisions among `files`, the paths of one folder; undefined for what is none. */
  revisionName(vid: string, file: string): string | undefined;
  newRevision(names: readonly string[], at: Date): string;
  /** True where a running VM writes to the committed state itself. */
  readonly inPlace: boolean;
}

const folderOf = (vm: VmState): string =>
  `${vm.klass === 'TemplateVM' ? 'vm-templates' : 'appvms'}/${vm.name}`;

const isoDate = (at: Date): string => at.toISOString().slice(0, 19);

function reflink(dir: string, inPlace: boolean): Layout {
  const clean = (vid: string) => `${dir}/${vid}.img`;
  const dirty = (vid: string) => (inPlace ? clean(vid) : `${dir}/${vid}-dirty.img`);
  return {
    vid: (vm, volume) => `${folderOf(vm)}/${volume}`,
    ...{ clean, dirty, shown: dirty, inPlace },
    revision: (vid, name, at) => `${clean(vid)}.${name}@${isoDate(at)}Z`,
    revisionName: (vid, file) => {
      const rest = file.startsWith(`${clean(vid)}.`) ? file.slice(clean(vid).length + 1) : '';
      return /^([0-9]+)@[0-9]{4}(?:-[0-9]{2}){2}T[0-9]{2}(?::[0-9]{2}){2}Z$/.exec(rest)?.[1];
    },
    newRevision: (names) => String(Math.max(0, ...names.map(Number)) + 1),
  };
}

function lvm(group: string): Layout {
  return {
    vid: (vm, volume) => `${group}/vm-${vm.name}-${volume}`,
    clean: (vid) => `/dev/${vid}`,
    dirty: (vid) => `/dev/${vid}-snap`,
    shown: (vid) => `/dev/mapper/${vid.replaceAll('-', '--').replaceAll('/', '-')}`,
    revision: (vid, name) => `/dev/${vid}-${name}`,
    revisionName: (vid, file) => {
      const rest = file.startsWith(`/dev/${vid}-`) ? file.slice(`/dev/${vid}-`.length) : '';
      return /^[0-9]+-back$/.exec(rest)?.[0];
    },
    newRevision: (names, at) => {
      let seconds = Math.floor(at.getTime() / 1000);
      while (names.includes(`${seconds}-back`)) seconds++;
      return `${seconds}-back`;
    },
    inPlace: false,
  };
}

function zvol(container: string): Layout {
  const device = (vid: string) => `/dev/zvol/${vid}`;
  return {
    ...reflink('', true),
    vid: (vm, volume) => `${container}/${vm.name}/${volume}`,
    ...{ clean: device, dirty: device, shown: device },
  };
}

export function layoutOf({ driver, config }: PoolState): Layout {
  switch (driver) {
    case 'lvm_thin':
      return lvm(config['volume_group'] ?? '');
    case 'zfs':
      return zvol(config['container'] ?? '');
    default:
      return reflink(config['dir_path'] ?? '', driver === 'file');
  }
}

/** True of a volume of which a running VM does not get a copy: from 4.3, by choice. */
export const snapshotsDisabled = (volume: VolumeState): boolean =>
  volume.revisions_to_keep === -1 && volume.save_on_stop;
