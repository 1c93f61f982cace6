import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concat, hex, pushVarint, utf8 } from '../../shared/bytes.ts';
import type { ByteString } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { MAX_BLOB_NUMBER, MAX_CHUNK, MAX_LEAF_RECORD } from '../../shared/limits.ts';
import { TYPE } from '../../dvm/entry.ts';
import type { Chunk, Entry, EntryType } from '../../dvm/entry.ts';
import { skippedEntry } from '../../dvm/excludes.ts';
import { comparePaths, isWithin, namesAreValid, parentOf } from '../../dvm/leaf.ts';
import type { TreeRecord } from '../../dvm/leaf.ts';
import { decodeLeaf, decodeRawLeaf } from '../../dvm/leaf-decoder.ts';
import { LeafEncoder } from '../../dvm/leaf-encoder.ts';
import { wrapTreeBlob } from '../../dvm/tree-blob.ts';
import { pathKey } from '../../dvm/entry.ts';
import { failure } from '../support/failure.ts';
import { bytes, entryOf, sha256 } from './tree-kit.ts';

function encode(records: readonly TreeRecord[]): Uint8Array {
  const encoder = new LeafEncoder();
  for (const record of records) {
    if (record.kind === 'entry') encoder.addEntry(record.entry, record.chunkCount);
    else encoder.addChunk(record.chunk);
  }
  return encoder.take();
}

const decode = (raw: Uint8Array): TreeRecord[] => [...decodeRawLeaf(raw)];

/** The same with plain arrays for bytes and plain objects for places, to be compared. */
const plain = (records: readonly TreeRecord[]): unknown =>
  records.map((record) =>
    record.kind === 'entry'
      ? {
          ...record,
          entry: {
            ...record.entry,
            attributes: record.entry.attributes.map(({ name, value }) => [name, hex(value)]),
            device: [...record.entry.device],
          },
        }
      : { kind: 'chunk', chunk: { ...record.chunk, hash: hex(record.chunk.hash) } },
  );

const byteText = (max: number, min = 0) =>
  fc
    .array(fc.integer({ min: 1, max: 255 }), { minLength: min, maxLength: max })
    .map((codes) => String.fromCharCode(...codes) as ByteString);
const nameText = byteText(12, 1)
  .map((name) => name.replaceAll('/', 'x') as ByteString)
  .filter((name) => name !== '.' && name !== '..');
const pathText = fc.array(nameText, { maxLength: 4 }).map((names) => names.join('/') as ByteString);
const time = fc.record({
  seconds: fc.integer({ min: -(2 ** 52), max: 2 ** 52 - 1 }),
  nanoseconds: fc.integer({ min: 0, max: 999_999_999 }),
});
const id = fc.option(fc.integer({ min: 0, max: 2 ** 32 - 1 }), { nil: undefined });
const attributes = fc
  .uniqueArray(fc.record({ name: byteText(9, 1), value: fc.uint8Array({ maxLength: 20 }) }), {
    selector: ({ name }) => name,
    maxLength: 3,
  })
  .map((list) => list.sort((a, b) => (a.name < b.name ? -1 : 1)));

const entryWithout = fc.record({
  type: fc.constantFrom<EntryType>(1, 2, 3, 4, 5, 6, 7, 8),
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: id,
  gid: id,
  mtime: time,
  ctime: time,
  inode: fc.maxSafeNat(),
  linked: fc.boolean(),
  doubtful: fc.boolean(),
  unreadable: fc.boolean(),
  attributes,
  size: fc.oneof(fc.nat(), fc.maxSafeNat()),
  target: byteText(30),
  flags: fc.nat(31).map((bits) => bits << 3),
  device: fc.tuple(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.integer({ min: 0, max: 2 ** 32 - 1 })),
});

function skippedRecord(path: ByteString, reason: ByteString): TreeRecord {
  const known = reason === '' ? ('nodump' as ByteString) : reason;
  return { kind: 'entry', entry: skippedEntry({ path, type: TYPE.skipped, reason: known }), chunkCount: 0 };
}

/** Packs of fixed size, so that chunks agree about it. */
const chunkList = fc.array(
  fc.record({
    gap: fc.oneof(fc.constant(0), fc.maxSafeNat()),
    length: fc.integer({ min: 1, max: MAX_CHUNK }),
    hash: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    place: fc.record({
      blob: fc.oneof(fc.nat(5), fc.constant(MAX_BLOB_NUMBER)),
      offset: fc.nat(29 * 1024 * 1024),
      packSize: fc.constant(32 * 1024 * 1024),
    }),
  }),
  { maxLength: 5 },
);

const recordList = fc
  .uniqueArray(fc.tuple(pathText, entryWithout, chunkList), {
    selector: ([path]) => path,
    minLength: 1,
    maxLength: 20,
  })
  .map((list) =>
    list
      .sort(([a], [b]) => comparePaths(a, b))
      .flatMap(([path, fields, chunks]): TreeRecord[] => {
        const { type } = fields;
        const isFile = type === TYPE.file;
        const isDevice = type === TYPE.characterDevice || type === TYPE.blockDevice;
        const hasFlags = isFile || type === TYPE.directory;
        if (type === TYPE.skipped) return [skippedRecord(path, fields.target)];
        const entry: Entry = {
          path,
          ...fields,
          linked: fields.linked && type !== TYPE.directory,
          size: isFile ? Math.max(fields.size, chunks.length) : 0,
          target: type === TYPE.symlink ? fields.target : ('' as ByteString),
          device: isDevice ? fields.device : [0, 0],
          flags: hasFlags ? fields.flags : 0,
        };
        const records: TreeRecord[] = [{ kind: 'entry', entry, chunkCount: isFile ? chunks.length : 0 }];
        return isFile
          ? [...records, ...chunks.map((chunk): TreeRecord => ({ kind: 'chunk', chunk }))]
          : records;
      }),
  );

describe('path order', () => {
  test('is that of the key which counts a slash as 0x00', () => {
    fc.assert(
      fc.property(pathText, pathText, (a, b) => {
        const order = pathKey(a) < pathKey(b) ? -1 : pathKey(a) > pathKey(b) ? 1 : 0;
        expect(Math.sign(comparePaths(a, b))).toBe(order);
      }),
    );
  });

  test('has a folder’s subtree right after it', () => {
    const sorted = ['', 'a', 'a/b', 'a/b/c', 'a/\x01', 'a\x01', 'a-', 'ab'].map(bytes);
    expect([...sorted].reverse().sort(comparePaths)).toEqual([
      '',
      'a',
      'a/\x01',
      'a/b',
      'a/b/c',
      'a\x01',
      'a-',
      'ab',
    ]);
  });

  test('within, parent', () => {
    expect(isWithin(bytes('a/b'), bytes('a'))).toBe(true);
    expect(isWithin(bytes('ab'), bytes('a'))).toBe(false);
    expect(isWithin(bytes('a'), bytes(''))).toBe(true);
    expect(parentOf(bytes('a/b/c'))).toBe('a/b');
    expect(parentOf(bytes('a'))).toBe('');
    expect(parentOf(bytes(''))).toBeUndefined();
  });

  test.each(['..', '.', 'a/..', '../a', 'a/./b', 'a//b', '/a', 'a/', '/', '\0', 'a/\0', 'a\0b'])(
    '%j is no path',
    (path) => {
      expect(namesAreValid(utf8(path), path.length, 0)).toBe(false);
    },
  );

  test.each(['', 'a', '...', '..a', '.a', 'a..', 'a/...', '\xff', ' ', 'a/.b/c'])(
    '%j is a path, checked from any place on',
    (path) => {
      const raw = utf8(path);
      for (let from = 0; from <= raw.length; from++) expect(namesAreValid(raw, raw.length, from)).toBe(true);
    },
  );
});

describe('a leaf', () => {
  test('decodes to the records it was made of, and these make the same bytes again', () => {
    fc.assert(
      fc.property(recordList, (records) => {
        const raw = encode(records);
        const decoded = decode(raw);
        expect(plain(decoded)).toEqual(plain(records));
        expect(hex(encode(decoded))).toBe(hex(raw));
      }),
      { numRuns: 300 },
    );
  });

  test('is decoded or refused as damaged, never anything else, whatever bytes are changed', () => {
    const samples = fc.sample(recordList, 30).map(encode);
    fc.assert(
      fc.property(
        fc.constantFrom(...samples),
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 3 }),
        fc.nat(),
        (sample, changes, cut) => {
          let raw = new Uint8Array(sample);
          for (const [at, value] of changes) raw[at % raw.length] = value;
          if (cut % 5 === 0) raw = raw.subarray(0, cut % raw.length);
          try {
            // What is accepted is canonical: it is what an encoder writes.
            expect(hex(encode(decode(raw)))).toBe(hex(raw));
          } catch (error) {
            if (!(error instanceof BackupError)) throw error;
            expect(error.code).toBe('store-damaged');
          }
        },
      ),
      { numRuns: 5000 },
    );
  });

  test('is decoded or refused as damaged from random bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (raw) => {
        try {
          decode(raw);
        } catch (error) {
          if (!(error instanceof BackupError)) throw error;
          expect(error.code).toBe('store-damaged');
        }
      }),
      { numRuns: 3000 },
    );
  });

  test('is refused if its hash is not the expected one', async () => {
    const raw = encode([{ kind: 'entry', entry: entryOf('', TYPE.directory), chunkCount: 0 }]);
    const blob = await wrapTreeBlob(raw, true);
    expect([...decodeLeaf(blob, sha256(raw))]).toHaveLength(1);
    expect(failure(() => [...decodeLeaf(blob, sha256(blob))]).code).toBe('store-damaged');
  });

  test('an entry that no reader would accept is not written', () => {
    const encoder = new LeafEncoder();
    const value = new Uint8Array(MAX_LEAF_RECORD);
    const entry = entryOf('a', TYPE.file, { attributes: [{ name: bytes('user.x'), value }] });
    expect(failure(() => encoder.addEntry(entry, 0)).code).toBe('limit');
  });
});

// ---- Malformed leaves, byte by byte ------------------------------------------------------------------

const v = (...values: number[]): Uint8Array => {
  const out: number[] = [];
  for (const value of values) pushVarint(out, value);
  return Uint8Array.from(out);
};
const raw = (...values: number[]): Uint8Array => Uint8Array.from(values);

interface EntryBytes {
  shared?: Uint8Array;
  path?: string;
  length?: Uint8Array;
  type?: number;
  flags?: number;
  mode?: number;
  uid?: number;
  gid?: number;
  nanoseconds?: number;
  rest?: Uint8Array;
}

function entryBytes(fields: EntryBytes = {}): Uint8Array {
  const {
    shared = v(0),
    path = 'a',
    type = TYPE.fifo,
    flags = 0,
    mode = 0o644,
    uid = 0,
    gid = 0,
    nanoseconds = 0,
  } = fields;
  const name = Buffer.from(path, 'latin1');
  return concat([
    raw(1),
    shared,
    fields.length ?? v(name.length),
    name,
    raw(type),
    v(flags, mode, uid, gid, 0, nanoseconds, 0, 0, 1),
    fields.rest ?? raw(),
  ]);
}

const hash = new Uint8Array(32).fill(9);
const fileBytes = (size: number, chunks: number) => entryBytes({ type: TYPE.file, rest: v(size, chunks) });
const chunkBytes = (gap: number, reference: number, place: number[], length: number) =>
  concat([raw(2), v(gap, reference, ...place, length), hash]);
const noPacks = v(0);
const onePack = v(1, 2 * 5, 100);

describe('a leaf is refused', () => {
  test('and this one, to start from, is not', () => {
    expect(decode(concat([noPacks, entryBytes()]))).toHaveLength(1);
    expect(
      decode(concat([onePack, fileBytes(50, 2), chunkBytes(0, 0, [10], 20), chunkBytes(0, 1, [], 30)])),
    ).toHaveLength(3);
  });

  const cases: [string, Uint8Array[]][] = [
    ['empty', []],
    ['without records', [noPacks]],
    ['of an unknown tag', [noPacks, raw(3)]],
    ['with a varint that is not minimal', [raw(0x80, 0), entryBytes()]],
    ['with a varint above 2^53 - 1', [raw(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)]],
    ['with an endless varint', [new Uint8Array(100).fill(0xff)]],
    ['with more packs than bytes', [v(1000), entryBytes()]],
    ['with a negative pack number', [v(1, 1, 100), fileBytes(50, 1), chunkBytes(0, 0, [0], 10)]],
    [
      'with a pack number above 2^48 - 1',
      [v(1, 2 * 2 ** 48, 100), fileBytes(50, 1), chunkBytes(0, 0, [0], 10)],
    ],
    [
      'with a pack listed twice',
      [v(2, 10, 100, 0, 100), fileBytes(50, 2), chunkBytes(0, 0, [0], 10), chunkBytes(0, 2, [0], 10)],
    ],
    ['with a pack larger than any', [v(1, 10, 2 ** 25 + 1), fileBytes(50, 1), chunkBytes(0, 0, [0], 10)]],
    ['with a pack that is not used', [onePack, entryBytes()]],
    [
      'with packs not in order of first use',
      [v(2, 10, 100, 2, 100), fileBytes(50, 2), chunkBytes(0, 2, [0], 10), chunkBytes(0, 0, [0], 10)],
    ],
    ['that ends within an entry', [noPacks, entryBytes().subarray(0, -1)]],
    ['that ends within a path', [noPacks, entryBytes({ length: v(10) }).subarray(0, 6)]],
    ['whose first entry shares something', [noPacks, entryBytes({ shared: v(1) })]],
    [
      'whose entry shares more than there is',
      [noPacks, entryBytes(), entryBytes({ shared: v(2), path: 'b' })],
    ],
    [
      'whose entry shares less than it could',
      [noPacks, entryBytes(), entryBytes({ shared: v(0), path: 'ab' })],
    ],
    ['with a path twice', [noPacks, entryBytes(), entryBytes({ shared: v(1), path: '' })]],
    [
      'with a path back to a folder',
      [noPacks, entryBytes({ path: 'a/b' }), entryBytes({ shared: v(1), path: '' })],
    ],
    ['with paths out of order', [noPacks, entryBytes({ path: 'b' }), entryBytes({ path: 'a' })]],
    [
      'with a slash sorted by its code',
      [noPacks, entryBytes({ path: 'a-' }), entryBytes({ shared: v(1), path: '/b' })],
    ],
    ['with a path above 1 MiB', [noPacks, entryBytes({ path: 'x'.repeat(2 ** 20 + 1) })]],
    ['with a name ..', [noPacks, entryBytes({ path: '..' })]],
    [
      'with a name .. that comes of a shared part',
      [noPacks, entryBytes({ path: 'a/.-' }), entryBytes({ shared: v(3), path: '.' })],
    ],
    [
      'with an empty name that comes of a shared part',
      [noPacks, entryBytes({ path: 'a' }), entryBytes({ shared: v(1), path: '/' })],
    ],
    ['with a NUL in a name', [noPacks, entryBytes({ path: 'a\0' })]],
    ['of an unknown type', [noPacks, entryBytes({ type: 8 })]],
    ['of type 0', [noPacks, entryBytes({ type: 0 })]],
    ['with an unknown flag', [noPacks, entryBytes({ flags: 64 })]],
    ['with a hard-linked directory', [noPacks, entryBytes({ type: TYPE.directory, flags: 1 })]],
    ['with a mode above 12 bits', [noPacks, entryBytes({ mode: 0o10000 })]],
    ['with an owner above 2^32 - 1', [noPacks, entryBytes({ uid: 2 ** 32 })]],
    ['with a number for an unknown owner', [noPacks, entryBytes({ flags: 2, uid: 1 })]],
    ['with a number for an unknown group', [noPacks, entryBytes({ flags: 4, gid: 1 })]],
    ['with a second of 10^9 nanoseconds', [noPacks, entryBytes({ nanoseconds: 1_000_000_000 })]],
    ['with a device above 2^32 - 1', [noPacks, entryBytes({ type: TYPE.blockDevice, rest: v(2 ** 32, 0) })]],
    ['with a NUL in a symlink', [noPacks, entryBytes({ type: TYPE.symlink, rest: raw(1, 0) })]],
    ['with a symlink longer than the leaf', [noPacks, entryBytes({ type: TYPE.symlink, rest: v(1000) })]],
    ['with flagged attributes that are not there', [noPacks, entryBytes({ flags: 32, rest: v(0) })]],
    ['with more attributes than bytes', [noPacks, entryBytes({ flags: 32, rest: v(1000, 1, 65, 0) })]],
    ['with a nameless attribute', [noPacks, entryBytes({ flags: 32, rest: v(1, 0, 1, 1) })]],
    ['with attributes out of order', [noPacks, entryBytes({ flags: 32, rest: v(2, 1, 66, 0, 1, 65, 0) })]],
    ['with an attribute twice', [noPacks, entryBytes({ flags: 32, rest: v(2, 1, 65, 0, 1, 65, 0) })]],
    [
      'with an attribute longer than the leaf',
      [noPacks, entryBytes({ flags: 32, rest: v(1, 1, 65, 1000, 1) })],
    ],
    [
      'with more chunks than bytes',
      [onePack, fileBytes(1, 2), chunkBytes(0, 0, [10], 1), chunkBytes(0, 1, [], 1)],
    ],
    ['with a chunk after a FIFO', [onePack, entryBytes(), chunkBytes(0, 0, [10], 20)]],
    [
      'with a chunk too many',
      [onePack, fileBytes(50, 1), chunkBytes(0, 0, [10], 20), chunkBytes(0, 1, [], 20)],
    ],
    [
      'with a chunk missing before the next entry',
      [onePack, fileBytes(50, 2), chunkBytes(0, 0, [10], 20), entryBytes({ shared: v(0), path: 'b' })],
    ],
    ['with a chunk of an unlisted pack', [noPacks, fileBytes(50, 1), chunkBytes(0, 0, [10], 20)]],
    ['with an empty chunk', [onePack, fileBytes(50, 1), chunkBytes(0, 0, [10], 0)]],
    [
      'with a chunk above 2 MiB',
      [v(1, 10, 2 ** 25), fileBytes(2 ** 23, 1), chunkBytes(0, 0, [0], MAX_CHUNK + 1)],
    ],
    ['with a chunk beyond its pack', [onePack, fileBytes(50, 1), chunkBytes(0, 0, [90], 11)]],
    ['with a first chunk that follows', [onePack, fileBytes(50, 1), chunkBytes(0, 1, [], 10)]],
    [
      'with a following chunk that says where it is',
      [onePack, fileBytes(50, 2), chunkBytes(0, 0, [10], 20), chunkBytes(0, 0, [30], 10)],
    ],
    ['with half a hash', [onePack, fileBytes(50, 1), chunkBytes(0, 0, [10], 20).subarray(0, -16)]],
  ];
  test.each(cases)('%s', (_title, pieces) => {
    expect(failure(() => decode(concat(pieces))).code).toBe('store-damaged');
  });

  test('with a record above 4 MiB', () => {
    const value = new Uint8Array(MAX_LEAF_RECORD);
    const leaf = concat([
      noPacks,
      entryBytes({ flags: 32, rest: concat([v(1, 1, 65, value.length), value]) }),
    ]);
    expect(failure(() => decode(leaf)).code).toBe('store-damaged');
  });
});

test('leaves end where docs/format.md says', () => {
  const chunkOf = (start: number[]): Chunk => {
    const bytesOfHash = new Uint8Array(32).fill(255);
    bytesOfHash.set(start);
    return { gap: 0, length: 1, hash: bytesOfHash, place: { blob: 1, offset: 0, packSize: 10 } };
  };
  const filled = (size: number) => {
    const encoder = new LeafEncoder();
    encoder.addEntry(entryOf('', TYPE.directory), 0);
    const attributes = [{ name: bytes('user.x'), value: new Uint8Array(size) }];
    encoder.addEntry(entryOf('a', TYPE.file, { size: 10, attributes }), 2);
    return encoder;
  };
  const ends = (size: number, start: number[]) => {
    const encoder = filled(size);
    encoder.addChunk(chunkOf(start));
    return encoder.ended;
  };
  expect(ends(64 * 1024, [1, 2, 0xf0, 0])).toBe(true);
  expect(ends(60 * 1024, [1, 2, 0xf0, 0])).toBe(false);
  expect(ends(64 * 1024, [1, 2, 0xf8, 0])).toBe(false);
  expect(ends(64 * 1024, [1, 2, 0xf0, 1])).toBe(false);
  expect(ends(1024 * 1024, [1, 2, 3, 4])).toBe(true);
});
