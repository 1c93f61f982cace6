/**
 * The process of a hostile VM that receives files (qubes.Filecopy). `script.json` beside it says what it does: there is
 * no frame in that conversation, only a stream one way and an answer the other.
 */

import { closeSync, readFileSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Base64 } from './attack.ts';

/** What it does, one after the other. */
export type Move =
  /** Takes so many bytes of the stream. */
  | { readonly do: 'take'; readonly bytes: number }
  | { readonly do: 'say'; readonly bytes: Base64; readonly times: number }
  /** One byte at a time, so many milliseconds apart. */
  | { readonly do: 'trickle'; readonly bytes: Base64; readonly every: number }
  | { readonly do: 'stderr'; readonly text: string; readonly times: number }
  /** Neither takes nor says anything any more. */
  | { readonly do: 'stall' }
  | { readonly do: 'close' }
  | { readonly do: 'exit'; readonly status: number }
  | { readonly do: 'die' };

const pause = new Int32Array(new SharedArrayBuffer(4));

/** Blocks: this process does one thing at a time. */
function sleep(milliseconds: number): void {
  Atomics.wait(pause, 0, 0, milliseconds);
}

function say(descriptor: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += writeSync(descriptor, bytes, at);
}

function take(bytes: number): void {
  const buffer = Buffer.alloc(64 * 1024);
  for (let left = bytes; left > 0;) {
    const count = readSync(0, buffer, 0, Math.min(left, buffer.length), null);
    if (count === 0) process.exit(1); // dom0 gave up.
    left -= count;
  }
}

function play(move: Move): void {
  switch (move.do) {
    case 'take':
      take(move.bytes);
      return;
    case 'say':
      for (let i = 0; i < move.times; i++) say(1, Buffer.from(move.bytes, 'base64'));
      return;
    case 'trickle':
      for (const byte of Buffer.from(move.bytes, 'base64')) {
        say(1, Buffer.of(byte));
        sleep(move.every);
      }
      return;
    case 'stderr':
      for (let i = 0; i < move.times; i++) say(2, Buffer.from(move.text, 'utf8'));
      return;
    case 'stall':
      sleep(3_600_000);
      return;
    case 'close':
      closeSync(1);
      return;
    case 'exit':
      return process.exit(move.status);
    case 'die':
      process.kill(process.pid, 'SIGKILL');
  }
}

const file = join(import.meta.dirname, '..', 'script.json');
for (const move of JSON.parse(readFileSync(file, 'utf8')) as Move[]) play(move);
