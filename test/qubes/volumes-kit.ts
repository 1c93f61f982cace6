/** A small Qubes OS with a VM in a pool of each driver, for tests of what freezes their volumes and attaches them. */

import { createHash } from 'node:crypto';
import { existsSync, lstatSync, readFileSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Journal } from '../../dom0/domains/qubes/journal.ts';
import type { JournalOptions } from '../../dom0/domains/qubes/journal.ts';
import type { ToolRunner } from '../../dom0/domains/qubes/tools/tools.ts';
import { describeVolume } from '../../dom0/domains/qubes/volumes/pool-volume.ts';
import type { PoolVolume } from '../../dom0/domains/qubes/volumes/pool-volume.ts';
import { Volumes } from '../../dom0/domains/qubes/volumes/volumes.ts';
import type { Admin } from '../../dom0/domains/qubes/admin/admin.ts';
import { parseVmName } from '../../shared/ids.ts';
import type { VmName } from '../../shared/ids.ts';
import { machine } from './qubes-kit.ts';
import type { Machine } from './qubes-kit.ts';
import { playedTools, toolState, verifyTools } from './tools/tools-kit.ts';

/**
 * A pool of each driver; `elsewhere` is one that is not below /var/lib/qubes, `hidden` one of which udev hides all, `strange` one that
 * nobody knows.
 */
const POOLS = {
  lvm: ['lvm_thin', 'volume_group=qubes_dom0\nthin_pool=vm-pool\n'],
  reflink: ['file-reflink', 'dir_path=/var/lib/qubes/pool-vms\n'],
  elsewhere: ['file-reflink', 'dir_path=/srv/vms\n'],
  hidden: ['file-reflink', 'dir_path=/srv/appvms/vms\n'],
  zfs: ['zfs', 'container=rpool/vms\n'],
  file: ['file', 'dir_path=/var/lib/qubes/plain\n'],
  strange: ['callback', 'dir_path=/srv/strange\n'],
} as const;
export type PoolName = keyof typeof POOLS;
export const POOL_NAMES = Object.keys(POOLS) as readonly PoolName[];

export const DISPOSABLES = [parseVmName('disp1'), parseVmName('disp2')] as const;

export interface Setting extends Machine {
  readonly vm: VmName;
  readonly pool: PoolName;
  /** A file of the machine, by its path there. */
  readonly at: (path: string) => string;
  /** Writes what the VM's volume is made of: its committed state and, while it runs, what it works on. */
  write(state: 'committed' | 'live', content: string): void;
  describe(): Promise<PoolVolume>;
}

/** A VM `work` in that pool, halted, with the content `committed`; and two disposables that run. */
export async function setting(
  pool: PoolName,
  release: '4.2' | '4.3' = '4.3',
  strict = true,
): Promise<Setting> {
  const made = await machine({ release });
  const { folder, qubesd, admin } = made;
  const at = (path: string) => join(folder, path);
  for (const [name, [driver, config]] of Object.entries(POOLS))
    await qubesd.call(`admin.pool.Add+${driver}`, 'dom0', `name=${name}\n${config}revisions_to_keep=1\n`);
  const vm = parseVmName('data');
  await admin.create({ klass: 'AppVM', name: vm, label: 'red', pools: { private: pool } });
  await qubesd.call('admin.property.Set+default_pool_private', 'dom0', 'lvm');
  for (const name of DISPOSABLES) {
    await admin.create({ klass: 'AppVM', name, label: 'red' });
    await admin.start(name);
  }
  verifyTools(folder, strict);
  toolState(folder, (state) => {
    state.release = release;
  });
  const set: Setting = {
    ...made,
    ...{ vm, pool, at },
    write: (state, content) => writeFileSync(volumeFile(set, state), content),
    describe: () => describeVolume(admin, vm, 'private'),
  };
  set.write('committed', 'committed');
  return set;
}

/** Starts the VM, which then writes. */
export async function startVm(set: Setting): Promise<void> {
  await set.admin.start(set.vm);
  set.write('live', 'live');
}

export function volumeFile({ pool, at }: Setting, state: 'committed' | 'live'): string {
  const dirty = state === 'live';
  switch (pool) {
    case 'lvm':
      return at(
        `dev/qubes_dom0/vm-data-private${dirty && existsSync(at('dev/qubes_dom0/vm-data-private-snap')) ? '-snap' : ''}`,
      );
    case 'zfs':
      return at('dev/zvol/rpool/vms/data/private');
    case 'reflink':
    case 'elsewhere':
    case 'hidden':
    case 'strange':
    case 'file': {
      const [, config] = POOLS[pool];
      const folder = `${/dir_path=(.*)/.exec(config)?.[1] ?? ''}/appvms/data`;
      return at(`${folder}/private${dirty && pool !== 'file' ? '-dirty' : ''}.img`);
    }
  }
}

export interface Parts {
  readonly journal: Journal;
  readonly volumes: Volumes;
}

/** The driver's part, as a new process has it. */
export function volumesOf(
  { folder, admin }: Machine,
  options: {
    readonly tools?: ToolRunner;
    readonly admin?: Admin;
    readonly patience?: number;
  } & JournalOptions = {},
): Parts {
  const { tools = playedTools(folder), patience = 2000, admin: calls = admin, ...journalOptions } = options;
  const journal = new Journal(join(folder, 'journal'), journalOptions);
  return { journal, volumes: new Volumes({ tools, journal, admin: calls, root: folder, patience }) };
}

/** The first bytes of what is behind a device of a disposable. */
export function textOf(file: string): string {
  return readFileSync(file, 'latin1').slice(0, 100);
}

/** All that this part may change: files with their content, loop devices, mounts, attachments, datasets, VMs and the journal. */
export function remains({ folder, qubesd }: Machine): unknown {
  const files = ['dev', 'var', 'srv', 'zfs', 'journal']
    .flatMap((top) => listing(join(folder, top)))
    .filter((file) => !/[-/]disp[12][-/]/.test(file)); // Tests start and kill these.
  const { loops, mounts, attachments, logical, datasets } = toolState(folder, (state) => state);
  return {
    files,
    loops,
    mounts,
    attachments,
    logical,
    datasets,
    vms: qubesd.store.vms().map(({ name }) => name),
  };
}

/** Every file below `path`, with its content if it has one of a test's size. Empty folders are left out. */
function listing(path: string): readonly string[] {
  if (!existsSync(path)) return [];
  return readdirSync(path, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const full = join(path, entry.name);
      if (entry.isDirectory()) return listing(full);
      if (entry.isSymbolicLink()) return [`${full} -> ${readlinkSync(full)}`];
      const { size } = lstatSync(full);
      const content = size > 1e6 ? '' : createHash('sha256').update(readFileSync(full)).digest('hex');
      return [`${full} ${size} ${content}`];
    });
}
