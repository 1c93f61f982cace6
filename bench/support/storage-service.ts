/** A service of a storage VM as a process of its own, called as dom0 calls it, with the memory that it took. */

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { DOM0_DOWNLOAD_SHARE } from '../../shared/limits.ts';
import { NODE_OPTIONS } from '../../shared/node-options.ts';
import type { put } from '../../shared/protocol/storage.ts';
import type { FrameTable, Protocol } from '../../shared/wire/frame.ts';
import { streamIo } from '../../shared/wire/io.ts';
import { Session } from '../../shared/wire/session.ts';

const SERVICES = resolve(import.meta.dirname, '../../services/storagevm');

export class StorageService<ToService extends FrameTable, ToCaller extends FrameTable> {
  readonly session: Session<ToCaller, ToService>;
  readonly #child: ChildProcess;

  /** `home`: that of the storage VM, with its storage.toml. */
  constructor(home: string, { service, toCaller, toService }: Protocol<ToService, ToCaller>) {
    const child = spawn(process.execPath, [...NODE_OPTIONS.storagevm, join(SERVICES, `${service}.ts`)], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { HOME: home, PATH: '/usr/bin:/bin', QUBES_BACKUP_STORAGE_CONFIG: home },
    });
    this.#child = child;
    this.session = new Session(
      streamIo(child.stdout, child.stdin),
      { incoming: toCaller, outgoing: toService },
      { peer: service, window: DOM0_DOWNLOAD_SHARE },
    );
  }

  /** Ends the session in order; answers the peak of its resident memory until then, in MiB. */
  async finish(): Promise<number> {
    const peak = peakOf(this.#child.pid);
    await this.session.finish();
    await this.session.drained();
    const exit = once(this.#child, 'exit');
    this.#child.stdin?.end();
    const [code] = (await exit) as [number | null];
    if (code !== 0) throw new Error(`a service ended with ${code ?? 'a signal'}`);
    return peak;
  }
}

/** Reads acknowledgements of so many objects. */
export async function acknowledged(
  session: Session<typeof put.toCaller, typeof put.toService>,
  wanted: number,
): Promise<void> {
  for (let left = wanted; left > 0;) {
    const message = await session.receive();
    if (message === undefined) throw new Error('the service ended early');
    left -= message.value.objects.length;
  }
}

/** Highest resident memory of a process until now, in MiB; undefined: of this one. */
export function peakOf(pid: number | undefined): number {
  const status = readFileSync(`/proc/${pid ?? 'self'}/status`, 'latin1');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
}
