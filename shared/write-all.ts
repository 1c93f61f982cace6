/** Text and bytes to a descriptor that a person or a program reads: whole, whether it blocks or not. A reader that went away ends the output alone. */

import { fstatSync, write, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { systemCode } from './errors.ts';

const writeFd = promisify(write);

/** Milliseconds between tries on a descriptor whose reader is slow. */
const RETRY = 5;

/** Writes all of `bytes`. A reader that went away ends the output, not the work. */
export function writeAll(descriptor: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(descriptor, bytes, at);
    } catch (error) {
      if (afterFailure(descriptor, error) === 'stop') return;
      waitForReader();
    }
  }
}

/** {@link writeAll} while everything else goes on. */
export async function writeAllAtLeisure(descriptor: number, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    try {
      at += (await writeFd(descriptor, bytes, at)).bytesWritten;
    } catch (error) {
      if (afterFailure(descriptor, error) === 'stop') return;
      await delay(RETRY);
    }
  }
}

/** stdout and stderr of a command line, as commander takes them too. */
export const CONSOLE = {
  writeOut: (text: string) => writeAll(1, Buffer.from(text, 'utf8')),
  writeErr: (text: string) => writeAll(2, Buffer.from(text, 'utf8')),
};

/** What to do about a failed write: try again, or stop because nobody reads. Throws anything else. */
function afterFailure(descriptor: number, error: unknown): 'retry' | 'stop' {
  if (systemCode(error) === 'EAGAIN') return 'retry';
  if (systemCode(error) === 'EPIPE' && !isRegularFile(descriptor)) return 'stop';
  throw error;
}

const sleeper = new Int32Array(new SharedArrayBuffer(4));

/** Lets a slow reader of a non-blocking descriptor catch up. */
function waitForReader(): void {
  Atomics.wait(sleeper, 0, 0, RETRY);
}

function isRegularFile(descriptor: number): boolean {
  return fstatSync(descriptor).isFile();
}
