/** What a test does in a guest: scripts, as its owner may run them by qubes.VMRootShell. */

import { expect } from 'vitest';
import type { ServiceCall } from '../../dom0/domains/domains.ts';
import type { Guest } from './guest.ts';

/** Bytes of an answer. */
const MAX_ANSWER = 16 * 1024 * 1024;

/** All that a call says. */
export async function answerOf(call: ServiceCall): Promise<string> {
  const pieces: Buffer[] = [];
  const buffer = Buffer.alloc(64 * 1024);
  for (let length = 0; length < MAX_ANSWER;) {
    const size = await call.io.read(buffer);
    if (size === 0) break;
    pieces.push(Buffer.from(buffer.subarray(0, size)));
    length += size;
  }
  return Buffer.concat(pieces).toString('utf8');
}

/** Runs a script as root in the guest; answers its output. Fails unless it ends with 0. */
export async function inGuest(guest: Guest, script: string): Promise<string> {
  const call = guest.call('qubes.VMRootShell');
  await call.io.write([Buffer.from(`set -eu\n${script}\n`)]);
  call.hangUp();
  const text = await answerOf(call);
  const { code } = await call.exited;
  expect(code, `${text}${call.stderr()}${guest.console}`).toBe(0);
  return text;
}
