/**
 * What the stand-in for qubesd knows, in memory and in `state.json`: written before a call that changed something is
 * answered, so that it can be opened again after the process that had it was killed.
 */

import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { noSuchVm } from './qubesd-exception.ts';

export type Klass = 'AdminVM' | 'TemplateVM' | 'AppVM' | 'StandaloneVM' | 'DispVM';

export interface VolumeState {
  pool: string;
  vid: string;
  size: number;
  /** `VM/VOLUME` that it is a snapshot of when it starts. */
  source: string | null;
  rw: boolean;
  save_on_stop: boolean;
  snap_on_start: boolean;
  revisions_to_keep: number;
  /** What the source was when it started. */
  startedFrom: string | null;
}

export interface VmState {
  readonly name: string;
  readonly klass: Klass;
  readonly qid: number;
  readonly uuid: string;
  power: 'Halted' | 'Running' | 'Paused';
  xid: number;
  /** What was set; everything else has its default. */
  properties: Record<string, string>;
  features: Record<string, string>;
  tags: string[];
  firewall: string[];
  notes: string;
  volumes: Record<string, VolumeState>;
  /** Assigned devices by class: lines of the answer. */
  devices: Record<string, string[]>;
}

export interface PoolState {
  readonly name: string;
  readonly driver: string;
  readonly config: Readonly<Record<string, string>>;
  readonly revisions_to_keep: number;
}

export interface State {
  vms: Record<string, VmState>;
  pools: Record<string, PoolState>;
  labels: string[];
  globals: Record<string, string>;
  /** Numbers of VMs and of domains that were given out. */
  qids: number;
  xids: number;
  /** `VM/VOLUME` of clone tokens that were not used. */
  tokens: Record<string, string>;
}

export const LABELS = ['red', 'orange', 'yellow', 'green', 'gray', 'blue', 'purple', 'black'];

function freshState(): State {
  const dom0: VmState = {
    ...{ name: 'dom0', klass: 'AdminVM', qid: 0, uuid: '00000000-0000-0000-0000-000000000000' },
    ...{
      power: 'Running',
      xid: 0,
      features: {},
      tags: [],
      firewall: [],
      notes: '',
      volumes: {},
      devices: {},
    },
    properties: { label: 'black' },
  };
  const pools = [
    {
      ...{ name: 'varlibqubes', driver: 'file-reflink', revisions_to_keep: 1 },
      config: { dir_path: '/var/lib/qubes' },
    },
    {
      ...{ name: 'linux-kernel', driver: 'linux-kernel', revisions_to_keep: 0 },
      config: { dir_path: '/var/lib/qubes/vm-kernels' },
    },
  ];
  return {
    vms: { dom0 },
    pools: Object.fromEntries(pools.map((pool) => [pool.name, pool])),
    labels: [...LABELS],
    globals: { default_pool_kernel: 'linux-kernel' },
    ...{ qids: 0, xids: 0, tokens: {} },
  };
}

export class Store {
  readonly state: State;
  readonly #file: string;

  /** `folder`: is created if need be. */
  constructor(folder: string) {
    mkdirSync(folder, { recursive: true });
    this.#file = join(folder, 'state.json');
    this.state = existsSync(this.#file)
      ? (JSON.parse(readFileSync(this.#file, 'utf8')) as State)
      : freshState();
  }

  save(): void {
    writeFileSync(`${this.#file}.new`, JSON.stringify(this.state));
    renameSync(`${this.#file}.new`, this.#file);
  }

  /** All VMs, dom0 first, then by name. */
  vms(): readonly VmState[] {
    return Object.values(this.state.vms).sort((a, b) => {
      if (a.klass === 'AdminVM' || b.klass === 'AdminVM') return a.klass === 'AdminVM' ? -1 : 1;
      return a.name < b.name ? -1 : 1;
    });
  }

  find(name: string): VmState | undefined {
    return Object.hasOwn(this.state.vms, name) ? this.state.vms[name] : undefined;
  }

  vm(name: string): VmState {
    const vm = name.startsWith('uuid:')
      ? this.vms().find(({ uuid }) => `uuid:${uuid}` === name)
      : this.find(name);
    if (vm === undefined) throw noSuchVm(name);
    return vm;
  }

  pool(name: string): PoolState | undefined {
    return Object.hasOwn(this.state.pools, name) ? this.state.pools[name] : undefined;
  }
}
