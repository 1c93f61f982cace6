/** What is backed up: a mixed tree of the machine's own files, or one large file; and seeded changes of it. */

import { closeSync, openSync, statSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { Random } from '../../test/support/random.ts';
import { sizeOf, tool } from './contender.ts';
import type { Ground, Source } from './ground.ts';

const MiB = 2 ** 20;
/** Bytes that a change of a file of a tree puts in place of others, or behind the end of a shorter one. */
const EDIT = 4096;
/** Bytes of each stretch that a change of a large file replaces. */
const STRETCH = MiB;

export type Filling = 'noise' | 'zeros' | 'text';

/** Copies of `folders`, side by side. */
export function copiedTree(ground: Ground, folders: readonly string[]): Source {
  const bytes = folders.reduce((sum, folder) => sum + sizeOf(folder), 0);
  const source = ground.source('tree', bytes);
  for (const from of folders) tool('cp', '-a', '--', from, source.data);
  return source;
}

/** One file of so many bytes, a multiple of 1 MiB. */
export function largeFile(ground: Ground, bytes: number, filling: Filling, seed: number): Source {
  const source = ground.source('large', bytes);
  const path = join(source.data, 'large');
  const random = new Random(seed);
  const file = openSync(path, 'w');
  for (let at = 0; at < bytes; at += MiB) {
    const piece =
      filling === 'zeros' ? Buffer.alloc(MiB) : filling === 'noise' ? random.bytes(MiB) : prose(random);
    writeSync(file, piece);
  }
  closeSync(file);
  truncateSync(path, bytes);
  return source;
}

const LETTERS =
  'eeeeeeeeeeeetttttttttaaaaaaaaooooooooiiiiiiinnnnnnnsssssshhhhhhrrrrrrddddllllcccuuummmwwffggyyppbbvk';

/** A mebibyte of words of which some are frequent and most are rare, so that it compresses as prose does. */
export function prose(random: Random): Buffer {
  const word = () =>
    Array.from({ length: 2 + random.below(8) }, () => LETTERS[random.below(LETTERS.length)]).join('');
  const words = Array.from({ length: 4096 }, word);
  const pieces: string[] = [];
  for (let length = 0; length < MiB;) {
    const next = words[Math.floor(random.below(4096) ** 2 / 4096)] ?? '';
    pieces.push(next);
    length += next.length + 1;
  }
  return Buffer.from(pieces.join(' ').slice(0, MiB).padEnd(MiB), 'latin1');
}

/** Paths of the regular files below `folder`, sorted; those with odd names are left out. */
export function filesBelow(folder: string): readonly string[] {
  const paths = tool('find', folder, '-type', 'f', '-size', '+0', '-printf', '%P\\n').split('\n');
  return paths.filter((path) => /^[\x21-\x7e]+$/.test(path)).sort();
}

/** Changes `share` of the files, at random: {@link EDIT} bytes in each. Answers how many. */
export function changeFiles({ data }: Pick<Source, 'data'>, share: number, seed: number): number {
  const random = new Random(seed);
  const files = filesBelow(data);
  const count = Math.max(1, Math.round(files.length * share));
  const chosen = new Set<string>();
  while (chosen.size < count) chosen.add(random.pick(files));
  for (const path of chosen) overwrite(join(data, path), random, EDIT);
  return count;
}

/** Replaces `share` of the bytes of the large file, in stretches of {@link STRETCH} at random places. */
export function changeBytes({ data }: Pick<Source, 'data'>, share: number, seed: number): void {
  const random = new Random(seed);
  const path = join(data, 'large');
  const stretches = Math.max(1, Math.round((statSync(path).size * share) / STRETCH));
  for (let i = 0; i < stretches; i++) overwrite(path, random, STRETCH);
}

/** Puts `count` random bytes somewhere into the file. */
function overwrite(path: string, random: Random, count: number): void {
  const file = openSync(path, 'r+');
  try {
    const at = random.below(Math.max(1, statSync(path).size - count));
    writeSync(file, random.bytes(count), 0, count, at);
  } finally {
    closeSync(file);
  }
}
