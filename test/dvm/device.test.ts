/** What a device cannot give. */

import { mkdtempSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Chunker } from '../../dvm/chunker.ts';
import { DeviceFile, deviceEntries, openDevice } from '../../dvm/device.ts';
import type { ReadDevice } from '../../dvm/device.ts';
import { runsOf } from '../../dvm/sparse.ts';
import { failure } from '../support/failure.ts';
import { Random } from '../support/random.ts';
import { tempFolder } from '../support/temp.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

/** A device of `content` whose bytes in `bad` (from, to) cannot be read. */
function faulty(content: Buffer, bad: readonly (readonly [number, number])[]) {
  const path = join(tempFolder(), 'image');
  writeFileSync(path, content);
  const notes: string[] = [];
  const read: ReadDevice = (target, position) => {
    const end = Math.min(content.length, position + target.length);
    if (bad.some(([from, to]) => position < to && end > from))
      throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO', syscall: 'read' });
    return content.copy(target, 0, position, end);
  };
  const file = new DeviceFile(openSync(path, 'r'), read, (code, entry, detail) =>
    notes.push(`${code} ${entry}: ${detail}`),
  );
  return { file, notes };
}

/** The device as it is read in chunks. */
function contentOf(file: DeviceFile): Buffer {
  const { size } = file.stat();
  const content = Buffer.alloc(size);
  let position = 0;
  for (const { gap, bytes } of new Chunker().chunks(file, size)) {
    content.set(bytes, position + gap);
    position += gap + bytes.length;
  }
  return content;
}

describe('R26: what a device cannot read', () => {
  test('is zeros, named once for each place, and all else is there', () => {
    const content = new Random(1).bytes(5 * MiB + 100);
    const { file, notes } = faulty(content, [
      [MiB + 10, MiB + 20],
      [3 * MiB, 3 * MiB + 20 * KiB],
      [5 * MiB + 99, 5 * MiB + 100],
    ]);
    const expected = Buffer.from(content);
    expected.fill(0, MiB, MiB + 4 * KiB);
    expected.fill(0, 3 * MiB, 3 * MiB + 20 * KiB);
    expected.fill(0, 5 * MiB);
    expect(contentOf(file).equals(expected)).toBe(true);
    expect(file.isLossy).toBe(true);
    file.close();
    expect(notes).toEqual([
      `unreadable volume: 4096 bytes at ${MiB} could not be read (EIO): zeros are stored in their place`,
      `unreadable volume: 20480 bytes at ${3 * MiB} could not be read (EIO): zeros are stored in their place`,
      `unreadable volume: 100 bytes at ${5 * MiB} could not be read (EIO): zeros are stored in their place`,
    ]);
  });

  test('is counted, not named, beyond a hundred places', () => {
    const content = new Random(2).bytes(2 * MiB);
    const bad = Array.from({ length: 150 }, (_, i) => [i * 8 * KiB, i * 8 * KiB + 1] as const);
    const { file, notes } = faulty(content, bad);
    contentOf(file);
    file.close();
    expect(notes).toHaveLength(101);
    expect(notes.at(-1)).toBe('unreadable volume: 50 more places could not be read');
  });

  test('is nothing where all is well', () => {
    const content = new Random(3).bytes(MiB);
    const { file, notes } = faulty(content, []);
    expect(contentOf(file).equals(content)).toBe(true);
    expect(file.isLossy).toBe(false);
    file.close();
    expect(notes).toEqual([]);
  });
});

test('a device is a folder with one file, whose metadata is the same for every content', () => {
  const path = join(tempFolder(), 'image');
  const described = (content: Uint8Array) => {
    writeFileSync(path, content);
    return [...deviceEntries(path, () => undefined)].map(({ stat, ...found }) => ({
      path: found.path,
      type: found.type,
      stat: { ...stat, size: 0 },
    }));
  };
  expect(described(Buffer.alloc(10))).toEqual(described(Buffer.alloc(5000, 1)));
  expect(described(Buffer.alloc(0)).map((entry) => [entry.path, entry.stat.mode.toString(8)])).toEqual([
    ['', '40700'],
    ['volume', '100600'],
  ]);
});

test('what is neither a device nor an image is refused', () => {
  for (const path of ['/dev/null', mkdtempSync(join(tempFolder(), 'x'))])
    expect(failure(() => openDevice(path, 'r')).code).toBe('io');
});

test('a long run of zeros that nobody can skip is read in portions', () => {
  const source = {
    read: (target: Uint8Array) => target.fill(0).length,
    seekData: (position: number) => position,
  };
  const pieces = [...new Chunker().chunks(source, 300 * MiB)];
  expect(pieces.length).toBeGreaterThanOrEqual(4);
  expect(pieces.every(({ gap, bytes }) => gap === 0 && bytes.length === 0)).toBe(true);
});

test('runs of zeros and data end at blocks of the file and cover everything', () => {
  const bytes = Buffer.alloc(20 * KiB, 1);
  bytes.fill(0, 100, 9 * KiB);
  const runs = [...runsOf(bytes, 4000)];
  expect(runs).toEqual([
    { from: 0, to: 4192, isZero: false },
    { from: 4192, to: 8288, isZero: true },
    { from: 8288, to: 20 * KiB, isZero: false },
  ]);
  expect([...runsOf(new Uint8Array(0), 7)]).toEqual([]);
});
