/**
 * A second thread of a reader: takes open files, answers each with its chunks (file-cutter.ts). Only what moves no position of a
 * descriptor is done here, so who opened the file has to do with it meanwhile as ever.
 */

import { hash } from 'node:crypto';
import { readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { Chunker } from './chunker.ts';
import type { CutFile, FileToCut } from './file-cutter.ts';

const chunker = new Chunker();

parentPort?.on('message', (file: FileToCut) => parentPort?.postMessage(cut(file)));

/** Undefined if some of it could not be read: whoever opened it reads it as well then, and says why. */
function cut({ descriptor, size }: FileToCut): CutFile | undefined {
  const source = {
    read: (target: Uint8Array, position: number) => readSync(descriptor, target, 0, target.length, position),
    seekData: (position: number) => position,
  };
  const bounds: number[] = [];
  const hashes: Buffer[] = [];
  try {
    for (const { gap, bytes } of chunker.chunks(source, size)) {
      if (bytes.length === 0) continue; // No more than a pause.
      bounds.push(gap, bytes.length);
      hashes.push(hash('sha256', bytes, 'buffer'));
    }
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error)) throw error;
    return undefined;
  }
  return { bounds, hashes: new Uint8Array(Buffer.concat(hashes)) };
}
