/** A service's descriptors 0 and 1 as bytes in and out of its caller. */

import { fstatSync, read, writev } from 'node:fs';
import { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { systemCode } from '../errors.ts';
import { ioError } from './io.ts';
import type { ByteIo } from './io.ts';

const readFd = promisify(read);
const writevFd = promisify(writev);

/** Milliseconds between tries on a descriptor that qrexec made non-blocking. */
const RETRY = 2;

/** Bytes read at once: what a socket of Linux holds by default (net.core.wmem_default), and more than a pipe does. */
const PIECE = 256 * 1024;

/** So many pieces may have come in that nobody asked for yet. */
const PIECES_AHEAD = 2;

/**
 * Writes plainly, not by a stream such as `process.stdout`: that never learns that the client died, while the plain calls get
 * EPIPE at once. A pipe or a socket is read by the event loop: a thread of the pool for each piece took a third of the time of a
 * large upload.
 */
export function descriptorIo(input: number, output: number): ByteIo {
  const found = fstatSync(input);
  return {
    read: found.isFIFO() || found.isSocket() ? socketReader(input) : fileReader(input),
    write: descriptorWriter(output),
  };
}

function fileReader(descriptor: number): ByteIo['read'] {
  return async (target) => {
    try {
      return (await readFd(descriptor, target, 0, target.length, null)).bytesRead;
    } catch (cause) {
      throw ioError('reading from', cause);
    }
  };
}

/**
 * Reads two pieces ahead: while one is taken the next may come in, so that reading need not be stopped and started for each
 * of them, which is two system calls. The process may end while nobody waits for more.
 */
function socketReader(descriptor: number): ByteIo['read'] {
  const buffers = Array.from({ length: PIECES_AHEAD }, () => new Uint8Array(PIECE));
  /** Of the pieces that came in so far. */
  let count = 0;
  /** What was not taken yet: at most one piece in each of the buffers. */
  const pieces: Uint8Array[] = [];
  let ended = false;
  let failure: Error | undefined;
  let wake: (() => void) | undefined;
  const socket = new Socket({
    fd: descriptor,
    readable: true,
    writable: false,
    onread: {
      buffer: () => buffers[count % PIECES_AHEAD] as Uint8Array,
      callback: (length, buffer) => {
        pieces.push(buffer.subarray(0, length));
        count += 1;
        wake?.();
        return pieces.length < PIECES_AHEAD;
      },
    },
  });
  socket.unref();
  socket.on('error', (error) => {
    failure = error;
    wake?.();
  });
  socket.on('close', () => {
    ended = true;
    wake?.();
  });
  return async (target) => {
    while (pieces.length === 0) {
      if (failure !== undefined) throw ioError('reading from', failure);
      if (ended) return 0;
      const woken = Promise.withResolvers<undefined>();
      wake = () => woken.resolve(undefined);
      socket.ref();
      socket.resume();
      await woken.promise;
      socket.unref();
    }
    return takeBytes(pieces, target);
  };
}

function descriptorWriter(descriptor: number): ByteIo['write'] {
  return async (pieces) => {
    let rest = pieces.filter((piece) => piece.length > 0);
    while (rest.length > 0) {
      try {
        rest = dropBytes(rest, (await writevFd(descriptor, rest)).bytesWritten);
      } catch (cause) {
        if (systemCode(cause) !== 'EAGAIN') throw ioError('writing to', cause);
        await delay(RETRY);
      }
    }
  };
}

function dropBytes(pieces: Uint8Array[], count: number): Uint8Array[] {
  const rest: Uint8Array[] = [];
  let skip = count;
  for (const piece of pieces) {
    if (skip >= piece.length) skip -= piece.length;
    else {
      rest.push(skip > 0 ? piece.subarray(skip) : piece);
      skip = 0;
    }
  }
  return rest;
}

/** Moves what fits of the first of `pieces`, of which there is one, into `target`; the number of bytes. */
function takeBytes(pieces: Uint8Array[], target: Uint8Array): number {
  const [piece] = pieces as [Uint8Array];
  const count = Math.min(target.length, piece.length);
  target.set(piece.subarray(0, count));
  if (count < piece.length) pieces[0] = piece.subarray(count);
  else pieces.shift();
  return count;
}
