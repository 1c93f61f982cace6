/** The recovery script's reader of trees and packs: what the product writes comes out as it was; anything else is refused. */

import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DigestWriter } from '../../dvm/digest.ts';
import type { TreeEntry } from '../../dvm/tree.ts';
import { MemoryStore, directory, symlink } from '../dvm/tree-kit.ts';
import { isInstalled } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';
import { parts } from './script.ts';

type Blobs = ReadonlyMap<number, Uint8Array>;

/** The tar of the tree whose top is blob `top`, what it told, and what it counted. */
function tarOf(blobs: Blobs, top: number) {
  const [pieces, notes]: [Buffer[], string[]] = [[], []];
  const fetch = (number: number) => {
    const blob = blobs.get(number);
    if (blob === undefined) throw new parts.Damage(`no blob ${number}`);
    return Buffer.from(blob);
  };
  const sums = parts.writeTar(
    top,
    fetch,
    (piece) => pieces.push(Buffer.from(piece)),
    (line) => notes.push(line),
  );
  return { tar: Buffer.concat(pieces), notes, sums };
}

function digestOf(entries: readonly TreeEntry[]) {
  const writer = new DigestWriter();
  for (const { entry, chunks } of entries) writer.add(entry, chunks);
  return writer.finish();
}

describe('trees that the product writes', () => {
  const sparse = (store: MemoryStore): TreeEntry => {
    const file = store.file('large', ['one', 'two', 'three', 'four']);
    const gaps = [65_536, 0, 200_000, 10];
    const chunks = file.chunks.map((chunk, i) => ({ ...chunk, gap: gaps[i] ?? 0 }));
    return { entry: { ...file.entry, size: file.entry.size + 265_546 + 70_000 }, chunks };
  };

  it('whose leaves end anywhere, also within a file', async () => {
    const store = new MemoryStore();
    const entries = [
      directory(''),
      directory('a'),
      store.file('a/b', ['text of b']),
      directory('a.c'),
      sparse(store),
      symlink('link', 'large'),
      store.file('z', []),
    ];
    const top = await store.cutTree(entries, () => true);
    const { tar, sums } = tarOf(store.blobs, top);
    const { digest, ownerlessDigest } = digestOf(entries);
    expect(sums).toMatchObject({ entries: 7, lost: 0, owned: digest, unowned: ownerlessDigest });
    expect(tarOf(store.blobs, await store.tree(entries)).tar).toEqual(tar);
    if (!isInstalled('tar')) return;
    const folder = tempFolder();
    writeFileSync(join(folder, 'archive'), tar);
    mkdirSync(join(folder, 'out'));
    execFileSync('tar', ['-xpf', join(folder, 'archive'), '-C', join(folder, 'out')]);
    expect(readdirSync(join(folder, 'out')).sort()).toEqual(['a', 'a.c', 'large', 'link', 'z']);
    expect(readFileSync(join(folder, 'out/a/b'), 'utf8')).toBe('text of b');
    const expected = Buffer.concat([
      Buffer.alloc(65_536),
      Buffer.from('onetwo'),
      Buffer.alloc(200_000),
      Buffer.from('three'),
      Buffer.alloc(10),
      Buffer.from('four'),
      Buffer.alloc(70_000),
    ]);
    expect(readFileSync(join(folder, 'out/large')).equals(expected)).toBe(true);
  });

  it('names lost content and goes on', async () => {
    const store = new MemoryStore();
    const entries = [directory(''), store.file('a', ['lost']), store.file('b', ['kept'])];
    const top = await store.tree(entries);
    const blobs = new Map(store.blobs);
    blobs.delete(0);
    const { notes, sums, tar } = tarOf(blobs, top);
    expect(notes).toEqual(['a: 4 bytes LOST, zeros instead: no blob 0']);
    expect(sums.lost).toBe(1);
    expect(tar.includes('kept')).toBe(true);
    const other = new Map(store.blobs).set(0, Buffer.from(store.blobs.get(0) ?? []).fill('x', 11));
    expect(tarOf(other, top).notes[0]).toMatch(/^a: 4 bytes LOST, .*another hash/);
  });
});

// ---- Trees made by hand

const u32 = (value: number) => Buffer.from([value >>> 24, value >>> 16, value >>> 8, value]);
const varint = (value: number): Buffer =>
  value < 128
    ? Buffer.of(value)
    : Buffer.concat([Buffer.of((value % 128) + 128), varint(Math.floor(value / 128))]);
const zigzag = (value: number) => varint(value >= 0 ? 2 * value : -2 * value - 1);
const text = (value: string) => Buffer.concat([varint(value.length), Buffer.from(value, 'latin1')]);
const sha256 = (value: Uint8Array) => createHash('sha256').update(value).digest();

interface Fields {
  readonly shared: number;
  readonly type: number;
  readonly flags: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nanoseconds: number;
  readonly inode: number;
  readonly rest: Buffer;
}

const [FILE, FOLDER, SYMLINK, FIFO, SKIPPED] = [1, 2, 3, 4, 8];
const NOTHING = Buffer.concat([varint(0), varint(0)]);

/** An entry record; a folder unless told otherwise. `rest`: what its type and flags ask for. */
function entry(suffix: string, fields: Partial<Fields> = {}): Buffer {
  const { shared = 0, type = FOLDER, flags = 0, mode = 0o755, uid = 0, gid = 0 } = fields;
  const { nanoseconds = 0, inode = 7, rest = type === FILE ? NOTHING : Buffer.alloc(0) } = fields;
  const time = [zigzag(0), varint(nanoseconds)];
  const numbers = [varint(flags), varint(mode), varint(uid), varint(gid), ...time, ...time, varint(inode)];
  return Buffer.concat([Buffer.of(1), varint(shared), text(suffix), Buffer.of(type), ...numbers, rest]);
}

const ROOT = entry('');
const CONTENT = Buffer.from('content');
const PACK = Buffer.concat([Buffer.of(1, 1, 0), u32(7), u32(7), CONTENT]);

function chunk(fields: Partial<Record<'gap' | 'place' | 'offset' | 'length', number>> = {}): Buffer {
  const { gap = 0, place = 0, offset = 0, length = 7 } = fields;
  const where = place % 2 === 0 ? [varint(offset)] : [];
  return Buffer.concat([
    Buffer.of(2),
    varint(gap),
    varint(place),
    ...where,
    varint(length),
    sha256(CONTENT.subarray(offset, offset + length)),
  ]);
}

const file = (suffix: string, size: number, chunks: number, fields: Partial<Fields> = {}) =>
  entry(suffix, { type: FILE, rest: Buffer.concat([varint(size), varint(chunks)]), ...fields });

const leafOf = (records: readonly Buffer[], packs: readonly (readonly [number, number])[] = []) =>
  Buffer.concat([
    varint(packs.length),
    ...packs.map(([number, size]) => Buffer.concat([zigzag(number), varint(size)])),
    ...records,
  ]);

const treeBlob = (raw: Buffer) => Buffer.concat([Buffer.of(2, 0), u32(raw.length), raw]);

interface Line {
  readonly path: string;
  readonly skip: number;
  readonly entries: number;
  readonly number: number;
  readonly hash: Buffer;
}

interface Shape {
  readonly leaves: readonly Buffer[];
  readonly lines?: readonly Partial<Line>[];
  readonly entries: number;
  readonly bytes?: number;
  /** Instead of {@link PACK}. */
  readonly pack?: Buffer;
}

/** Blob 0 is the top, 1 a pack, leaves come from 2 on. */
function blobsOf({ leaves, lines = [], entries, bytes = 0, pack = PACK }: Shape): Map<number, Buffer> {
  const table = leaves.map((leaf, i) => {
    const line = { path: '', skip: 0, entries, number: i + 2, hash: sha256(leaf), ...lines[i] };
    const number = line.number - (i === 0 ? 0 : i + 1);
    return [varint(0), text(line.path), varint(line.skip), varint(line.entries), zigzag(number), line.hash];
  });
  const top = [varint(entries), varint(bytes), varint(leaves.length), ...table.flat()];
  const blobs = new Map([
    [0, treeBlob(Buffer.concat(top))],
    [1, pack],
  ]);
  for (const [i, leaf] of leaves.entries()) blobs.set(i + 2, treeBlob(leaf));
  return blobs;
}

/** A tree of the root and what else is in one leaf. */
const one = (entries: number, records: readonly Buffer[], shape: Partial<Shape> = {}) =>
  blobsOf({
    leaves: [leafOf([ROOT, ...records], shape.pack === undefined ? [] : [[1, 7]])],
    entries,
    ...shape,
  });

/** A tree of the root and one file with chunks of the pack. */
const withFile = (
  size: number,
  chunks: readonly Buffer[],
  count = chunks.length,
  pack = PACK,
  packSize = 7,
) =>
  blobsOf({
    leaves: [leafOf([ROOT, file('f', size, count), ...chunks], [[1, packSize]])],
    entries: 2,
    bytes: size,
    pack,
  });

/** A tree of the root and one file with two chunks of seven bytes; `numbers`: of the packs, as steps. */
const withPacks = (numbers: readonly number[], chunks: readonly Buffer[]) =>
  blobsOf({
    leaves: [
      leafOf(
        [ROOT, file('f', 14, 2), ...chunks],
        numbers.map((number) => [number, 7] as const),
      ),
    ],
    entries: 2,
    bytes: 14,
  });

const symlinkTo = (target: string) => entry('l', { type: SYMLINK, rest: text(target) });
const attributes = (...names: readonly string[]) =>
  entry('x', {
    flags: 32,
    rest: Buffer.concat([
      varint(names.length),
      ...names.map((name) => Buffer.concat([text(name), text('v')])),
    ]),
  });
const fileFlags = (flags: number, type = FOLDER) => entry('x', { flags: 64, type, rest: varint(flags) });

describe('trees by hand', () => {
  it('the accepted ones', () => {
    for (const blobs of [
      one(1, []),
      one(3, [entry('a'), entry('/b', { shared: 1 })]),
      withFile(7, [chunk()]),
      withFile(14, [chunk(), chunk({ gap: 0 })]),
      withFile(7, [chunk({ length: 3 }), chunk({ place: 1, length: 4 })].slice(0, 1), 1),
      one(2, [symlinkTo('..')]),
      one(2, [attributes('user.a', 'user.b')]),
      one(2, [fileFlags(0x18)]),
      one(3, [entry('a', { type: FIFO, flags: 1 }), entry('b', { type: FIFO, flags: 1 })]),
    ])
      expect(tarOf(blobs, 0).sums.lost).toBe(0);
  });

  const skipped = (fields: Partial<Fields>) =>
    entry('s', { type: SKIPPED, mode: 0, inode: 0, rest: text('why'), ...fields });

  const hostile: readonly (readonly [string, Blobs])[] = [
    ...['.', '..', 'a/../b', './a', 'a/.', '/a', 'a//b', 'a/', '/', 'a\0b', '\0'].map(
      (name) => [`the path ${JSON.stringify(name)}`, one(2, [entry(name)])] as const,
    ),
    ['a name that becomes .. by what it shares', one(3, [entry('.a'), entry('.', { shared: 1 })])],
    ['no root', blobsOf({ leaves: [leafOf([entry('a')])], lines: [{ path: 'a' }], entries: 1 })],
    ['a root that is no folder', blobsOf({ leaves: [leafOf([entry('', { type: FIFO })])], entries: 1 })],
    ['the root twice', one(2, [entry('')])],
    ['a path twice', one(3, [entry('a'), entry('', { shared: 1 })])],
    ['a path twice, written out', one(3, [entry('a'), entry('a')])],
    ['paths that are not sorted', one(3, [entry('b'), entry('a')])],
    ['a subtree after its neighbour', one(4, [entry('a'), entry('a.b'), entry('a/c')])],
    ['an entry in no folder', one(2, [entry('a/b')])],
    ['an entry in a symlink', one(3, [symlinkTo('/etc'), entry('l/passwd')])],
    ['an entry in a file', one(3, [file('l', 0, 0), entry('/b', { shared: 1 })])],
    ['a folder that was left', one(4, [entry('a'), entry('b'), entry('c'), entry('a/d')])],
    ['more shared than there is', one(3, [entry('a'), entry('b', { shared: 2 })])],
    ['less shared than there is', one(3, [entry('ab'), entry('ac', { shared: 0 })])],
    ['a path of more than a MiB', one(2, [entry('a'.repeat(2 ** 20 + 1))])],
    ['an unknown type', one(2, [entry('a', { type: 9 })])],
    ['type 0', one(2, [entry('a', { type: 0 })])],
    ['an unknown flag', one(2, [entry('a', { flags: 128 })])],
    ['a hard-linked folder', one(2, [entry('a', { flags: 1 })])],
    ['a mode of 13 bits', one(2, [entry('a', { mode: 0o10000 })])],
    ['an owner of 33 bits', one(2, [entry('a', { uid: 2 ** 32 })])],
    ['an unknown owner with a number', one(2, [entry('a', { flags: 2, uid: 1 })])],
    ['an unknown group with a number', one(2, [entry('a', { flags: 4, gid: 1 })])],
    ['a second of nanoseconds', one(2, [entry('a', { nanoseconds: 1e9 })])],
    ['a NUL in a target', one(2, [symlinkTo('a\0b')])],
    ['a target that ends too early', one(2, [entry('l', { type: SYMLINK, rest: varint(50) })])],
    ['no attributes where there should be', one(2, [attributes()])],
    ['an attribute without a name', one(2, [attributes('')])],
    ['a NUL in the name of an attribute', one(2, [attributes('user.\0')])],
    ['attributes that are not sorted', one(2, [attributes('user.b', 'user.a')])],
    ['an attribute twice', one(2, [attributes('user.a', 'user.a')])],
    ['2^40 attributes', one(2, [entry('x', { flags: 32, rest: varint(2 ** 40) })])],
    ['no file flags where there should be', one(2, [fileFlags(0)])],
    ['unknown file flags', one(2, [fileFlags(0x100)])],
    ['low file flags', one(2, [fileFlags(9)])],
    ['file flags of a FIFO', one(2, [fileFlags(8, FIFO)])],
    ['a skipped path without a reason', one(2, [skipped({ rest: text('') })])],
    ['a skipped path with a mode', one(2, [skipped({ mode: 1 })])],
    ['a skipped path with an inode', one(2, [skipped({ inode: 1 })])],
    [
      'links of different types',
      one(3, [entry('a', { type: FIFO, flags: 1 }), file('b', 0, 0, { flags: 1 })]),
    ],
    ['an unknown record', one(1, [Buffer.of(3)])],
    ['bytes after the last record', one(1, [Buffer.of(0)])],
    ['half an entry', one(2, [entry('a').subarray(0, 5)])],
    ['a chunk of no file', one(1, [chunk()], { pack: PACK })],
    ['more chunks than it says', withFile(14, [chunk(), chunk()], 1)],
    ['fewer chunks than it says', withFile(14, [chunk()], 2)],
    ['more chunks than bytes', withFile(1, [chunk(), chunk()])],
    ['chunks beyond the end', withFile(6, [chunk()])],
    ['a gap beyond the end', withFile(10, [chunk({ gap: 4 })])],
    ['an empty chunk', withFile(7, [chunk({ length: 0 })])],
    ['a chunk of more than 2 MiB', withFile(2 ** 22, [chunk({ length: 2 ** 21 + 1 })])],
    ['a chunk outside of its pack', withFile(8, [chunk({ length: 8 })])],
    ['a chunk of a pack that is not listed', withFile(7, [chunk({ place: 2 })])],
    ['a chunk that follows on nothing', withFile(7, [chunk({ place: 1 })])],
    ['a pack of more than 32 MiB', withFile(7, [chunk()], 1, PACK, 2 ** 25 + 1)],
    [
      'a negative blob number',
      blobsOf({ leaves: [leafOf([ROOT, file('f', 7, 1), chunk()], [[-1, 7]])], entries: 2, bytes: 7 }),
    ],
    ['a pack that is listed for nothing', one(1, [], { pack: PACK })],
    ['a pack that is listed twice', withPacks([1, 0], [chunk(), chunk({ place: 2 })])],
    ['packs in another order than that of first use', withPacks([5, -4], [chunk({ place: 2 }), chunk()])],
    [
      'a chunk that follows on another without saying so',
      withFile(7, [chunk({ length: 3 }), chunk({ offset: 3, length: 4 })]),
    ],
    [
      'a record of more than 4 MiB',
      one(2, [
        entry('x', {
          flags: 32,
          rest: Buffer.concat([varint(1), text('user.a'), text('v'.repeat(2 ** 22))]),
        }),
      ]),
    ],
    ['2^40 packs', blobsOf({ leaves: [Buffer.concat([varint(2 ** 40), ROOT])], entries: 1 })],
    ['an empty leaf', blobsOf({ leaves: [leafOf([ROOT]), leafOf([])], lines: [{ entries: 1 }], entries: 1 })],
    [
      'a leaf with another hash',
      blobsOf({ leaves: [leafOf([ROOT])], lines: [{ hash: sha256(CONTENT) }], entries: 1 }),
    ],
    [
      'a leaf with more entries',
      blobsOf({ leaves: [leafOf([ROOT, entry('a')])], lines: [{ entries: 1 }], entries: 2 }),
    ],
    ['a leaf with fewer entries', blobsOf({ leaves: [leafOf([ROOT])], lines: [{ entries: 2 }], entries: 1 })],
    [
      'a leaf that starts elsewhere',
      blobsOf({ leaves: [leafOf([ROOT])], lines: [{ path: 'a' }], entries: 1 }),
    ],
    ['a leaf that starts later', blobsOf({ leaves: [leafOf([ROOT])], lines: [{ skip: 1 }], entries: 1 })],
    [
      'chunks that continue another file',
      blobsOf({
        leaves: [leafOf([ROOT, file('f', 7, 1)]), leafOf([chunk()], [[1, 7]])],
        lines: [{ entries: 2 }, { path: 'g', skip: 1, entries: 0 }],
        entries: 2,
        bytes: 7,
      }),
    ],
    [
      'chunks that are left out',
      blobsOf({
        leaves: [leafOf([ROOT, file('f', 14, 2)]), leafOf([chunk()], [[1, 7]])],
        lines: [{ entries: 2 }, { path: 'f', skip: 2, entries: 0 }],
        entries: 2,
        bytes: 14,
      }),
    ],
    [
      'leaves that are not sorted',
      blobsOf({
        leaves: [leafOf([ROOT, entry('b')]), leafOf([entry('a')])],
        lines: [{ entries: 2 }, { path: 'a', entries: 1 }],
        entries: 3,
      }),
    ],
    ['wrong totals of entries', one(3, [entry('a')], { lines: [{ entries: 2 }] })],
    ['wrong totals of bytes', one(2, [entry('a')], { bytes: 1 })],
    ['no leaf', blobsOf({ leaves: [], entries: 0 })],
    ['2^40 leaves', new Map([[0, treeBlob(Buffer.concat([varint(1), varint(0), varint(2 ** 40)]))]])],
    ['a missing leaf', new Map([...one(1, [])].filter(([number]) => number !== 2))],
    ['a tree blob of an unknown version', one(1, []).set(2, Buffer.of(1, 0, 0, 0, 0, 0))],
    ['a tree blob of an unknown codec', one(1, []).set(2, Buffer.of(2, 2, 0, 0, 0, 1, 0))],
    [
      'a tree blob of 64 MiB and a byte',
      one(1, []).set(2, Buffer.concat([Buffer.of(2, 0), u32(2 ** 26 + 1)])),
    ],
    [
      'a tree blob that is longer than it says',
      one(1, []).set(2, Buffer.concat([Buffer.of(2, 0), u32(1), ROOT])),
    ],
    [
      'a tree blob that decompresses without end',
      one(1, []).set(2, Buffer.concat([Buffer.of(2, 1), u32(1000), zstdCompressSync(Buffer.alloc(2 ** 26))])),
    ],
    ['a tree blob that is no zstd', one(1, []).set(2, Buffer.concat([Buffer.of(2, 1), u32(1000), PACK]))],
    [
      'a number in a longer form',
      blobsOf({ leaves: [Buffer.concat([Buffer.of(0x80, 0), ROOT])], entries: 1 }),
    ],
  ];

  it.each(hostile)('refuses %s', (_title, blobs) => {
    expect(() => tarOf(blobs, 0)).toThrow(parts.Damage);
  });

  const segment = (codec: number, length: number, stored: Buffer) =>
    Buffer.concat([Buffer.of(1, 1, codec), u32(length), u32(stored.length), stored]);

  it.each([
    ['of an unknown version', Buffer.concat([Buffer.of(2), PACK.subarray(1)])],
    ['of no segments', Buffer.of(1, 0)],
    ['of 17 segments', Buffer.concat([Buffer.of(1, 17), Buffer.alloc(17 * 9)])],
    ['whose lengths do not add up', Buffer.concat([PACK, Buffer.of(0)])],
    ['that is cut', PACK.subarray(0, -1)],
    ['with a raw segment of two lengths', Buffer.concat([Buffer.of(1, 1, 0), u32(8), u32(7), CONTENT])],
    [
      'with a segment of more than 2 MiB',
      segment(1, 2 ** 21 + 1, zstdCompressSync(Buffer.alloc(2 ** 21 + 1))),
    ],
    ['with a segment that decompresses to less', segment(1, 7, zstdCompressSync(CONTENT.subarray(1)))],
    ['with a segment that decompresses without end', segment(1, 7, zstdCompressSync(Buffer.alloc(2 ** 26)))],
    ['with an unknown codec', segment(2, 7, CONTENT)],
    ['of another size than the leaf says', segment(0, 8, Buffer.concat([CONTENT, Buffer.of(0)]))],
    ['with other content', segment(0, 7, Buffer.from('CONTENT'))],
    [
      'whose chunk lies in two segments',
      Buffer.concat([Buffer.of(1, 2, 0), u32(3), u32(3), Buffer.of(0), u32(4), u32(4), CONTENT]),
    ],
  ])('counts content as lost in a pack %s', (_title, pack) => {
    const { sums, notes } = tarOf(withFile(7, [chunk()], 1, pack), 0);
    expect(sums.lost).toBe(1);
    expect(notes[0]).toMatch(/^f: 7 bytes LOST, zeros instead: /);
  });

  it('names that a terminal would obey stay as they are in the tar, and are told byte by byte', () => {
    const { notes } = tarOf(one(2, [entry('a\x1b[2J', { type: 5 })]), 0);
    expect(notes).toEqual(['a\x1b[2J: a socket: not in the tar, programs make their own']);
  });

  it('any change of a leaf or a top is refused or read, and never crashes', () => {
    const valid = blobsOf({
      leaves: [
        leafOf([ROOT, entry('a'), file('/f', 14, 2, { shared: 1 }), chunk()], [[1, 7]]),
        leafOf([chunk(), attributes('user.a', 'user.b'), fileFlags(8, FOLDER)].slice(0, 2), [[1, 7]]),
      ],
      lines: [{ entries: 3 }, { path: 'a/f', skip: 2, entries: 1 }],
      entries: 4,
      bytes: 14,
    });
    expect(tarOf(valid, 0).sums.entries).toBe(4);
    const change = fc.record({
      blob: fc.constantFrom(0, 2, 3),
      at: fc.nat(200),
      remove: fc.nat(3),
      insert: fc.uint8Array({ maxLength: 3 }),
    });
    fc.assert(
      fc.property(change, ({ blob, at, remove, insert }) => {
        const raw = parts.readTreeBlob(valid.get(blob) ?? Buffer.alloc(0));
        const changed = Buffer.concat([raw.subarray(0, at), insert, raw.subarray(at + remove)]);
        const blobs = new Map(valid).set(blob, treeBlob(changed));
        if (blob !== 0) {
          const top = Buffer.from(valid.get(0) ?? []);
          const hash = top.indexOf(sha256(raw));
          blobs.set(0, Buffer.concat([top.subarray(0, hash), sha256(changed), top.subarray(hash + 32)]));
        }
        try {
          tarOf(blobs, 0);
        } catch (error) {
          expect(error).toBeInstanceOf(parts.Damage);
        }
      }),
      { numRuns: 3000 },
    );
  });
});
