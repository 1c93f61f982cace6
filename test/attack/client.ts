/** A hostile client of a storage VM: says whatever bytes a case wants to a real service, started as dom0 starts it. */

import { readFileSync, readdirSync } from 'node:fs';
import { LocalDomains } from '../../dom0/domains/local/local.ts';
import { decodeWith } from '../../shared/cbor.ts';
import { COMMON, MAGIC } from '../../shared/wire/frame.ts';
import { SANDBOX } from '../support/home.ts';
import { framesOf } from '../support/peers.ts';

/** How a service took it: `done`, or the code it reported. */
export interface Taken {
  readonly outcome: string;
  readonly message: string;
  /** Exit status; null after a signal. */
  readonly status: number | null;
  /** Peak resident memory of the service before it was hung up on, in KiB; 0 if it was gone by then. */
  readonly peak: number;
  readonly milliseconds: number;
}

/** Bytes of an answer that are kept. */
const MAX_KEPT = 4 * 1024 * 1024;

export class HostileClient {
  readonly #domains: LocalDomains;

  constructor(home: string) {
    this.#domains = new LocalDomains({ home, sandbox: SANDBOX });
  }

  async stop(): Promise<void> {
    await this.#domains.stopAll();
  }

  /** Says `bytes` to `service`; `deaf`: hangs up right after, as a client does that crashed. */
  async say(service: string, bytes: readonly Uint8Array[], deaf: boolean): Promise<Taken> {
    const started = performance.now();
    // Hostile storage VMs of other cases, which may still be there, are not this service.
    const others = new Set(descendants(process.pid));
    const call = await this.#domains.callStorage('main', service);
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
      const own = descendants(process.pid).filter((pid) => !others.has(pid));
      peak = Math.max(...own.map(peakOf), peak);
      call.hangUp();
    }
    call.hangUp();
    await writing;
    const { code } = await call.exited;
    const { outcome, message } = outcomeOf(Buffer.concat(heard), code);
    return { outcome, message, status: code, peak, milliseconds: performance.now() - started };
  }
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
