/**
 * Bytes in and out of a peer, below frames. Two implementations: the stdio of a child on the calling side, here, and a service's
 * own descriptors 0 and 1 (descriptor-io.ts). Both read and write at the same time, and both report a dead peer.
 */

import type { Readable, Writable } from 'node:stream';
import { BackupError, systemCode } from '../errors.ts';

export interface ByteIo {
  /** Reads at least one byte into `target`; resolves to the count, 0 at the end of the stream. */
  read(target: Uint8Array): Promise<number>;
  /** Resolves once all of `pieces` were handed to the operating system. Never called concurrently. */
  write(pieces: readonly Uint8Array[]): Promise<void>;
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

/** The error of a peer that is gone. */
export function ioError(doing: string, cause: unknown): BackupError {
  return new BackupError(
    'service-died',
    `${doing} the peer failed (${systemCode(cause) ?? 'unknown error'})`,
    { cause },
  );
}
