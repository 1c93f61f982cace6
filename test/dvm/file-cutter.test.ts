/** What a second thread cuts is what the first one would have cut, whatever comes in what order. */

import { createHash } from 'node:crypto';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { Chunker } from '../../dvm/chunker.ts';
import type { ChunkContent } from '../../dvm/digest.ts';
import { FileCutter } from '../../dvm/file-cutter.ts';
import { MIN_CHUNK } from '../../shared/limits.ts';
import { Random } from '../support/random.ts';
import { tempFolder } from '../support/temp.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

let cutter: FileCutter;
beforeEach(() => {
  cutter = new FileCutter();
});
afterEach(() => cutter.close());

/** A descriptor of a file with these bytes. */
function opened(bytes: Uint8Array, flags = 'r'): number {
  const path = join(tempFolder(), 'file');
  writeFileSync(path, bytes);
  const descriptor = openSync(path, flags);
  onTestFinished(() => closeSync(descriptor));
  return descriptor;
}

/** The chunks of `bytes` as they are without another thread. */
function chunksOf(bytes: Buffer): ChunkContent[] {
  const source = {
    read: (target: Uint8Array, position: number) => bytes.copy(target, 0, position),
    seekData: (position: number) => position,
  };
  const chunks: ChunkContent[] = [];
  for (const { gap, bytes: piece } of new Chunker().chunks(source, bytes.length)) {
    if (piece.length === 0) continue;
    const hash = new Uint8Array(createHash('sha256').update(piece).digest());
    chunks.push({ gap, length: piece.length, hash });
  }
  return chunks;
}

describe('a file that another thread cuts', () => {
  const random = new Random(77);
  const zeros = Buffer.alloc(3 * MiB);
  const files = [
    random.bytes(MIN_CHUNK + 1),
    random.bytes(5 * MiB + 17),
    zeros,
    Buffer.concat([random.bytes(MiB), zeros, random.bytes(700 * KiB), zeros]),
    Buffer.alloc(0),
    random.bytes(2 * MiB),
  ];

  it('has the chunks that it has here, and each answer belongs to its question', async () => {
    const cut = files.map((bytes) => cutter.cut({ descriptor: opened(bytes), size: bytes.length }));
    for (const [i, bytes] of files.entries()) expect(await cut[i]).toEqual(chunksOf(bytes));
  });

  it('has none if the thread cannot read it, and the next one has', async () => {
    const [bytes = zeros] = files;
    const closed = cutter.cut({ descriptor: opened(bytes, 'a'), size: bytes.length }); // To be written alone.
    const next = cutter.cut({ descriptor: opened(bytes), size: bytes.length });
    expect(await closed).toBeUndefined();
    expect(await next).toEqual(chunksOf(bytes));
  });

  it('rejects if the thread fails, and so do those that wait for it, and later ones', async () => {
    const descriptor = opened(zeros);
    const broken = cutter.cut({ descriptor: 0.5, size: MiB });
    const waiting = cutter.cut({ descriptor, size: zeros.length });
    const failure = /the thread that reads files failed: .*"fd"/;
    await expect(broken).rejects.toThrow(failure);
    await expect(waiting).rejects.toThrow(failure);
    await expect(cutter.cut({ descriptor, size: zeros.length })).rejects.toThrow(failure);
  });

  it('rejects what is under way when it is closed', async () => {
    const waiting = cutter.cut({ descriptor: opened(zeros), size: zeros.length });
    await Promise.all([cutter.close(), expect(waiting).rejects.toThrow('it ended')]);
  });
});

describe('what is handed over', () => {
  const full = (size: number) => ({ size, blocks: Math.ceil(size / 512) });

  it('is what may have several chunks, up to a size, and has no holes', () => {
    expect(cutter.takes(full(MIN_CHUNK))).toBe(false);
    expect(cutter.takes(full(MIN_CHUNK + 1))).toBe(true);
    expect(cutter.takes(full(64 * MiB))).toBe(true);
    expect(cutter.takes(full(64 * MiB + 1))).toBe(false);
    expect(cutter.takes({ size: MiB, blocks: MiB / 512 - 1 })).toBe(false);
  });

  it('is no more than the thread has time for', async () => {
    const descriptor = opened(Buffer.alloc(0)); // Short of what it says: read as zeros.
    const cut = [64, 63].map((size) => cutter.cut({ descriptor, size: size * MiB }));
    expect(cutter.takes(full(MiB))).toBe(true);
    expect(cutter.takes(full(MiB + 1))).toBe(false);
    expect(await Promise.all(cut)).toEqual([[], []]);
    expect(cutter.takes(full(64 * MiB))).toBe(true);
    const small = Array.from({ length: 64 }, () => cutter.cut({ descriptor, size: MIN_CHUNK + 1 }));
    expect(cutter.takes(full(MIN_CHUNK + 1))).toBe(false);
    await Promise.all(small);
  });
});
