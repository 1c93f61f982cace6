/** A hostile client of a storage VM: says whatever bytes a case wants to a real service, started as dom0 starts it. */

import { readFileSync, readdirSync } from 'node:fs';
import type { ServiceCall } from '../../dom0/domains/domains.ts';
import { LocalDomains } from '../../dom0/domains/local/local.ts';
import { decodeWith } from '../../shared/cbor.ts';
import { COMMON, MAGIC } from '../../shared/wire/frame.ts';
import { SANDBOX } from '../support/home.ts';
import { framesOf } from '../support/peers.ts';
import { HostedPeer } from './hosted-peer.ts';
import { HONEST } from './peer/attack.ts';
import { assign, makeHostileProgram } from './program.ts';

/** How a service took it: `done`, or the code it reported. */
export interface Taken {
  readonly outcome: string;
  readonly message: string;
  /** Exit status; null after a signal. */
  readonly status: number | null;
  /** What it said, as far as it was kept. */
  readonly said: Buffer;
  /** Peak resident memory of the service before it was hung up on, in KiB; 0 if it was gone by then. */
  readonly peak: number;
  readonly milliseconds: number;
}

/** Milliseconds after which a session counts as hung. */
const LIMIT = 60_000;

/** Bytes of an answer that are kept. */
const MAX_KEPT = 4 * 1024 * 1024;

export class HostileClient {
  readonly #domains: LocalDomains;
  /** Starts services whose process lives on. */
  readonly #hosts: LocalDomains;
  readonly #peers = new Map<string, Promise<HostedPeer>>();

  /** `program`: an empty folder, which is filled. */
  constructor(home: string, program: string) {
    this.#domains = new LocalDomains({ home, sandbox: SANDBOX });
    makeHostileProgram(program);
    assign(program, 'storagevm', { hosted: true });
    this.#hosts = new LocalDomains({ home, sandbox: SANDBOX, program });
  }

  async stop(): Promise<void> {
    await Promise.all([this.#domains, this.#hosts].map((domains) => domains.stopAll()));
  }

  /** Says `bytes` to `service`; `deaf`: hangs up right after, as a client does that crashed. */
  async say(service: string, bytes: readonly Uint8Array[], deaf: boolean): Promise<Taken> {
    // Hostile storage VMs of other cases, which may still be there, are not this service.
    const others = new Set(descendants(process.pid));
    const call = await this.#domains.callStorage('main', service);
    return converse(call, bytes, deaf, () => {
      const own = descendants(process.pid).filter((pid) => !others.has(pid));
      return Math.max(0, ...own.map(peakOf));
    });
  }

  /** As {@link say} by a client that hangs up, to a process that has served such sessions before. Its peak is that of its life. */
  async sayToHost(service: string, bytes: readonly Uint8Array[]): Promise<Taken> {
    let peer = this.#peers.get(service);
    peer ??= this.#hosts.callStorage('main', service).then((call) => new HostedPeer(call));
    this.#peers.set(service, peer);
    const call = (await peer).open({ service, attack: HONEST, steps: undefined, plain: true });
    const taken = await converse(call, bytes, true, () => 0);
    if (taken.outcome === 'hung') this.#peers.delete(service);
    return taken;
  }

  /** Highest resident memory that any of the living services ever had, in KiB. */
  hostPeak(): number {
    return Math.max(0, ...descendants(process.pid).map(peakOf));
  }
}

async function converse(
  call: ServiceCall,
  bytes: readonly Uint8Array[],
  deaf: boolean,
  measure: () => number,
): Promise<Taken> {
  const started = performance.now();
  const late = { hung: false };
  const limit = setTimeout(() => {
    late.hung = true;
    call.kill();
  }, LIMIT);
  const heard: Buffer[] = [];
  let length = 0;
  const buffer = Buffer.alloc(64 * 1024);
  const writing = call.io.write(bytes).catch(() => undefined); // It may refuse to hear it all.
  let peak = 0;
  if (deaf) {
    await writing;
    call.hangUp();
  }
  for (;;) {
    const count = await call.io.read(buffer);
    if (count === 0) break;
    length += count;
    if (length <= MAX_KEPT) heard.push(Buffer.from(buffer.subarray(0, count)));
    if (deaf || !isOver(heard)) continue;
    peak = Math.max(measure(), peak);
    call.hangUp();
  }
  call.hangUp();
  await writing;
  const { code } = late.hung ? { code: null } : await call.exited;
  clearTimeout(limit);
  const said = Buffer.concat(heard);
  const { outcome, message } = late.hung ? { outcome: 'hung', message: '' } : outcomeOf(said, code);
  return { outcome, message, status: code, said, peak, milliseconds: performance.now() - started };
}

/** True once the service said its last frame. */
function isOver(heard: readonly Buffer[]): boolean {
  const types = framesOf(Buffer.concat(heard)).map(({ type }) => type);
  return types.includes(COMMON.end.type) || types.includes(COMMON.error.type);
}

function outcomeOf(said: Buffer, status: number | null): { outcome: string; message: string } {
  const frames = said.subarray(0, MAGIC.length).equals(MAGIC) ? framesOf(said) : [];
  const error = frames.find(({ type }) => type === COMMON.error.type);
  if (error !== undefined) {
    const { code, message } = decodeWith(COMMON.error.schema, error.payload);
    return { outcome: code, message };
  }
  const ended = frames.some(({ type }) => type === COMMON.end.type);
  return { outcome: ended && status === 0 ? 'done' : 'gone', message: '' };
}

/** Processes that `parent` started, with all theirs. */
function descendants(parent: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    const text = /^\d+$/.test(name) ? textOf(`/proc/${name}/stat`) : '';
    const of = Number(/^.*\) \S (\d+)/s.exec(text)?.[1] ?? 0);
    children.set(of, [...(children.get(of) ?? []), Number(name)]);
  }
  const all = (pid: number): number[] => (children.get(pid) ?? []).flatMap((child) => [child, ...all(child)]);
  return all(parent).filter((pid) => textOf(`/proc/${pid}/cmdline`).includes('services/storagevm/'));
}

function peakOf(pid: number): number {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(textOf(`/proc/${pid}/status`))?.[1] ?? 0);
}

/** Empty if the process is gone meanwhile. */
function textOf(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return ''; // It is gone.
  }
}
