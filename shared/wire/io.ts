/**
 * Bytes in and out of a peer, below frames. Two implementations: descriptors 0 and 1 of a service, and the
 * stdio of a child on the calling side. Both read and write at the same time, and both report a dead peer.
 */

import { read, writev } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { BackupError, systemCode } from '../errors.ts';

export interface ByteIo {
  /** Reads at least one byte into `target`; resolves to the count, 0 at the end of the stream. */
  read(target: Uint8Array): Promise<number>;
  /** Resolves once all of `pieces` were handed to the operating system. Never called concurrently. */
  write(pieces: readonly Uint8Array[]): Promise<void>;
}

const readFd = promisify(read);
const writevFd = promisify(writev);

/** Milliseconds between tries on a descriptor that qrexec made non-blocking. */
const RETRY = 2;

/**
 * A service's stdio. Not `process.stdin`/`process.stdout`: a stream over them never learns that the client
 * died, while the plain calls get EPIPE at once.
 */
export function descriptorIo(input: number, output: number): ByteIo {
  return {
    async read(target) {
      for (;;) {
        try {
          return (await readFd(input, target, 0, target.length, null)).bytesRead;
        } catch (cause) {
          if (systemCode(cause) !== 'EAGAIN') throw ioError('reading from', cause);
        }
        await delay(RETRY);
      }
    },
    async write(pieces) {
      let rest = pieces.filter((piece) => piece.length > 0);
      while (rest.length > 0) {
        try {
          rest = dropBytes(rest, (await writevFd(output, rest)).bytesWritten);
        } catch (cause) {
          if (systemCode(cause) !== 'EAGAIN') throw ioError('writing to', cause);
          await delay(RETRY);
        }
      }
    },
  };
}

/** The calling side's stdio of a child process. */
export function streamIo(input: Readable, output: Writable): ByteIo {
  let failure: Error | undefined;
  let ended = false;
  let wake: (() => void) | undefined;
  const notify = () => {
    wake?.();
    wake = undefined;
  };
  input.on('readable', notify);
  input.on('end', () => {
    ended = true;
    notify();
  });
  input.on('close', () => {
    ended = true;
    notify();
  });
  input.on('error', (error) => {
    failure = error;
    notify();
  });
  let outputFailure: Error | undefined;
  output.on('error', (error) => {
    outputFailure = error;
  });
  return {
    async read(target) {
      for (;;) {
        const size = Math.min(input.readableLength, target.length);
        const chunk: unknown = size > 0 ? input.read(size) : null;
        if (chunk instanceof Uint8Array) {
          target.set(chunk);
          return chunk.length;
        }
        if (failure !== undefined) throw ioError('reading from', failure);
        if (ended) return 0;
        const woken = new Promise<void>((resolve) => {
          wake = resolve;
        });
        // Asking an empty buffer starts the next read of the descriptor.
        if (input.readableLength === 0) input.read(0);
        await woken;
      }
    },
    write(pieces) {
      return new Promise((resolve, reject) => {
        if (outputFailure !== undefined) {
          reject(ioError('writing to', outputFailure));
          return;
        }
        const done = (error: Error | null | undefined) => {
          if (error) reject(ioError('writing to', error));
          else resolve();
        };
        output.cork();
        const last = pieces.length - 1;
        pieces.forEach((piece, index) => output.write(piece, index === last ? done : undefined));
        output.uncork();
      });
    },
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

function ioError(doing: string, cause: unknown): BackupError {
  return new BackupError(
    'service-died',
    `${doing} the peer failed (${systemCode(cause) ?? 'unknown error'})`,
    { cause },
  );
}
