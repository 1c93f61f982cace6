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

/** So many pieces may have come in that nobody asked for yet. */
export const PIECES_AHEAD = 2;

/**
 * The calling side's stdio of a child process. What comes in flows as long as it is taken in time: to stop and start reading for
 * each piece, as a stream that is asked for bytes does, is two system calls.
 */
export function streamIo(input: Readable, output: Writable): ByteIo {
  const pieces: Uint8Array[] = [];
  let failure: Error | undefined;
  let ended = false;
  let wake: (() => void) | undefined;
  const notify = () => {
    wake?.();
    wake = undefined;
  };
  input.pause();
  input.on('data', (piece: Uint8Array) => {
    pieces.push(piece);
    if (pieces.length >= PIECES_AHEAD) input.pause();
    notify();
  });
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
      while (pieces.length === 0) {
        if (failure !== undefined) throw ioError('reading from', failure);
        if (ended) return 0;
        const woken = new Promise<void>((resolve) => {
          wake = resolve;
        });
        if (input.isPaused()) input.resume();
        await woken;
      }
      return takeBytes(pieces, target);
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

/** Moves what fits of the first of `pieces`, of which there is one, into `target`; the number of bytes. */
export function takeBytes(pieces: Uint8Array[], target: Uint8Array): number {
  const [piece] = pieces as [Uint8Array];
  const count = Math.min(target.length, piece.length);
  target.set(piece.subarray(0, count));
  if (count < piece.length) pieces[0] = piece.subarray(count);
  else pieces.shift();
  return count;
}
