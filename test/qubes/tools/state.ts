/**
 * What the stand-ins for dom0's programs know, in `tools.json` of the folder that stands for `/`: what a real system would keep in
 * the kernel, in LVM's metadata, in ZFS. Volumes are files below `dev/` and `var/lib/qubes/`, as the stand-in for qubesd has them.
 */

import { closeSync, existsSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ToolName } from '../../../dom0/domains/qubes/tools/tools.ts';
import type { State as QubesState } from '../qubesd-state.ts';

/** How a program ends that refuses. */
export class Refusal extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

export interface Loop {
  readonly file: string;
  readonly readOnly: boolean;
  /** Detached while in use: it goes with its last user. */
  autoclear: boolean;
}

export interface Attachment {
  readonly vm: string;
  readonly port: string;
  readonly readOnly: boolean;
  readonly frontend: string;
}

export interface ToolState {
  /** The release whose words qvm-block uses. */
  release: '4.2' | '4.3';
  /** What is known of a logical volume beside its file `dev/GROUP/NAME`. */
  logical: Record<string, { readonly tags: readonly string[]; readonly dm: number }>;
  /** `GROUP/NAME` of those that a VM works on. */
  open: string[];
  loops: Record<string, Loop>;
  /** Mount point to what is bound to it. */
  mounts: Record<string, string>;
  /** Properties and origin of ZFS's snapshots and of the clones made here. */
  datasets: Record<
    string,
    { readonly properties: Record<string, string>; readonly origin: string; readonly born: number }
  >;
  attachments: Attachment[];
  numbers: number;
  /** How often a device that was given back is still held. */
  lingering: number;
  /** Calls that fail: of this tool, with arguments that begin so. */
  failing: { readonly tool: ToolName; readonly args: string; readonly code: number; readonly says: string }[];
  /** Calls that have to come, in any order: of this tool, with arguments that begin so. */
  expected: { readonly tool: ToolName; readonly args: string }[];
  /** Every call so far, `tool args`. */
  calls: string[];
  /** What no correct program would ask for. */
  breaches: string[];
}

function fresh(): ToolState {
  return {
    ...{ release: '4.3', logical: {}, open: [], loops: {}, mounts: {}, datasets: {}, attachments: [] },
    ...{ numbers: 0, lingering: 0, failing: [], expected: [], calls: [], breaches: [] },
  };
}

/** The machine as one program sees it. */
export class World {
  readonly root: string;
  readonly state: ToolState;

  constructor(root: string, state: ToolState) {
    this.root = root;
    this.state = state;
  }

  /** A path of the machine as a path of the tests. */
  at(path: string): string {
    return join(this.root, path);
  }

  /** A path of the tests as a path of the machine. */
  place(path: string): string {
    return path.startsWith(`${this.root}/`) ? path.slice(this.root.length) : path;
  }

  /** What qubesd says of a VM's power; undefined if there is no such VM. */
  power(vm: string): string | undefined {
    const file = this.at('state.json');
    if (!existsSync(file)) return undefined;
    const { vms } = JSON.parse(readFileSync(file, 'utf8')) as QubesState;
    return Object.hasOwn(vms, vm) ? vms[vm]?.power : undefined;
  }

  next(): number {
    return this.state.numbers++;
  }

  /** The ends of VMs are the ends of their attachments, and of what waited for those. */
  settle(): void {
    const { state } = this;
    state.attachments = state.attachments.filter(({ vm }) => this.power(vm) === 'Running');
    for (const [number, loop] of Object.entries(state.loops))
      if (loop.autoclear && !state.attachments.some(({ port }) => port === `loop${number}`))
        this.endLoop(number);
  }

  endLoop(number: string): void {
    this.state.loops = Object.fromEntries(Object.entries(this.state.loops).filter(([key]) => key !== number));
    rmSync(this.at(`dev/loop${number}`), { force: true });
  }

  /** Whether something has the file or device open: a loop device over it, a VM, or what has not let go of it yet. */
  isHeld(file: string, port: string | undefined): boolean {
    if (Object.values(this.state.loops).some((loop) => loop.file === file)) return true;
    if (this.state.attachments.some((attachment) => attachment.port === port)) return true;
    if (this.state.lingering === 0) return false;
    this.state.lingering--;
    return true;
  }

  /** Refuses what a correct program would never ask for, and remembers it for verify(). */
  breach(what: string): never {
    this.state.breaches.push(what);
    throw new Refusal(64, `NEVER: ${what}`);
  }
}

/** Does `work` on the state as one of several processes may; what it changed is kept even if it throws. */
export function withWorld<T>(root: string, work: (world: World) => T): T {
  const release = lock(join(root, 'tools.lock'));
  try {
    const file = join(root, 'tools.json');
    const state = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as ToolState) : fresh();
    const world = new World(root, state);
    try {
      return work(world);
    } finally {
      writeFileSync(`${file}.new`, JSON.stringify(world.state));
      renameSync(`${file}.new`, file);
    }
  } finally {
    release();
  }
}

function lock(path: string): () => void {
  const patience = performance.now() + 20_000;
  for (;;) {
    try {
      closeSync(openSync(path, 'wx'));
      return () => rmSync(path);
    } catch (error) {
      if (performance.now() > patience) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
    }
  }
}
