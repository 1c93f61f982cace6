/**
 * A second thread of a reader: takes open files, answers each with its chunks (file-cutter.ts). Only what moves no position of a
 * descriptor is done here, so who opened the file has to do with it meanwhile as ever; and nothing but Node.js' own code is loaded.
 */

import { hash } from 'node:crypto';
import { readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { Chunker } from './chunker.ts';
import type { ChunkContent } from './digest.ts';
import type { FileToCut } from './file-cutter.ts';

const chunker = new Chunker();

parentPort?.on('message', (file: FileToCut) => parentPort?.postMessage(cut(file)));

/** Undefined if some of it could not be read: whoever opened it reads it as well then, and says why. */
function cut({ descriptor, size }: FileToCut): readonly ChunkContent[] | undefined {
  const source = {
    read: (target: Uint8Array, position: number) => readSync(descriptor, target, 0, target.length, position),
    seekData: (position: number) => position,
  };
  const chunks: ChunkContent[] = [];
  try {
    for (const { gap, bytes } of chunker.chunks(source, size)) {
      if (bytes.length === 0) continue; // No more than a pause.
      // In memory of its own: all of what a view is of would be sent with it.
      const digest = new Uint8Array(hash('sha256', bytes, 'buffer'));
      chunks.push({ gap, length: bytes.length, hash: digest });
    }
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error)) throw error;
    return undefined;
  }
  return chunks;
}
