import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { DigestWriter } from '../../dvm/digest.ts';
import type { ChunkContent } from '../../dvm/digest.ts';
import { TYPE } from '../../dvm/entry.ts';
import type { Entry } from '../../dvm/entry.ts';
import type { ByteString } from '../../shared/bytes.ts';

function entry(path: string, fields: Partial<Entry> = {}): Entry {
  return {
    path: path as ByteString,
    type: TYPE.file,
    mode: 0o644,
    uid: 1000,
    gid: 1001,
    mtime: { seconds: 1_700_000_000, nanoseconds: 5 },
    ctime: { seconds: 1_700_000_001, nanoseconds: 6 },
    inode: 7,
    linked: false,
    doubtful: false,
    unreadable: false,
    attributes: [],
    size: 0,
    target: '' as ByteString,
    device: [0, 0],
    flags: 0,
    ...fields,
  };
}

function digest(items: [Entry, ChunkContent[]?][]): { digest: string; ownerlessDigest: string } {
  const writer = new DigestWriter();
  for (const [item, chunks = []] of items) writer.add(item, chunks);
  return writer.finish();
}

/** Fields by hand: big-endian hex, as section 10 lists them. */
const u8 = (value: number) => value.toString(16).padStart(2, '0');
const u16 = (value: number) => value.toString(16).padStart(4, '0');
const u32 = (value: number) => value.toString(16).padStart(8, '0');
const i64 = (value: bigint) => BigInt.asUintN(64, value).toString(16).padStart(16, '0');
const raw = (text: string) => u32(text.length) + Buffer.from(text, 'latin1').toString('hex');
const START = Buffer.from('qubes-incremental-backup content 2\0').toString('hex');
const sha = (...fields: string[]) =>
  createHash('sha256')
    .update(Buffer.from(START + fields.join(''), 'hex'))
    .digest('hex');

test('format, section 10: every field of every type', () => {
  const chunkHash = new Uint8Array(32).fill(0xab);
  const items: [Entry, ChunkContent[]?][] = [
    [entry('', { type: TYPE.directory, mode: 0o755 })],
    [
      entry('a\xff', {
        linked: true,
        size: 2 ** 40,
        mtime: { seconds: -1, nanoseconds: 999_999_999 },
        attributes: [{ name: 'user.x' as ByteString, value: Uint8Array.of(1, 2) }],
      }),
      [{ gap: 2 ** 36, length: 3, hash: chunkHash }],
    ],
    [entry('b', { linked: true, size: 2 ** 40 }), [{ gap: 2 ** 36, length: 3, hash: chunkHash }]],
    [entry('c', { type: TYPE.symlink, mode: 0o700, target: 'to' as ByteString })],
    [entry('d', { type: TYPE.blockDevice, device: [8, 300] })],
    [entry('e', { type: TYPE.fifo, uid: undefined })],
    [entry('f', { type: TYPE.socket })],
    [entry('g', { unreadable: true, size: 5 })],
    [entry('h', { flags: 0x50 })],
    [entry('i', { type: TYPE.skipped, target: 'nodump' as ByteString })],
  ];
  const time = i64(1_700_000_000n) + u32(5);
  const fields = (o: (uid: number, gid: number) => string) => [
    raw('') + u8(2) + u16(0o755) + o(1000, 1001) + time + u8(0) + u32(0) + raw(''),
    raw('a\xff') + u8(1) + u16(0o644) + o(1000, 1001) + i64(-1n) + u32(999_999_999) + u8(0),
    u32(1) + raw('user.x') + u32(2) + '0102' + raw('') + i64(2n ** 40n) + u32(1),
    i64(2n ** 36n) + u32(3) + 'ab'.repeat(32),
    raw('b') + u8(1) + u16(0o644) + o(1000, 1001) + time + u8(0) + u32(0) + raw('a\xff'),
    raw('c') + u8(3) + u16(0o777) + o(1000, 1001) + time + u8(0) + u32(0) + raw('') + raw('to'),
    raw('d') + u8(7) + u16(0o644) + o(1000, 1001) + time + u8(0) + u32(0) + raw('') + u32(8) + u32(300),
    raw('e') + u8(4) + u16(0o644) + o(0, 1001) + time + u8(0) + u32(0) + raw(''),
    raw('h') + u8(1) + u16(0o644) + o(1000, 1001) + time + u8(0x50) + u32(0) + raw(''),
    i64(0n) + u32(0),
  ];
  expect(digest(items)).toEqual({
    digest: sha(...fields((uid, gid) => u32(uid) + u32(gid))),
    ownerlessDigest: sha(...fields(() => '')),
  });
});

test('what is not restorable content does not count: ctime, inode, doubt', () => {
  const one = digest([[entry('')], [entry('f', { inode: 1, ctime: { seconds: 1, nanoseconds: 1 } })]]);
  expect(digest([[entry('')], [entry('f', { inode: 2, doubtful: true })]])).toEqual(one);
});

test('a lone member of a hard-link group is a file like any other', () => {
  expect(digest([[entry('f', { linked: true })]])).toEqual(digest([[entry('f')]]));
});

test('fields larger than the staging buffer are hashed in order', () => {
  const value = new Uint8Array(200_000).fill(7);
  const long = 'p'.repeat(70_000);
  const { digest: found } = digest([[entry(long, { attributes: [{ name: 'n' as ByteString, value }] })]]);
  const expected =
    raw(long) +
    u8(1) +
    u16(0o644) +
    u32(1000) +
    u32(1001) +
    i64(1_700_000_000n) +
    u32(5) +
    u8(0) +
    u32(1) +
    raw('n');
  expect(found).toBe(
    sha(expected, u32(value.length), Buffer.from(value).toString('hex'), raw(''), i64(0n), u32(0)),
  );
});

test('many entries, and fields longer than what is gathered, in both forms', () => {
  const items: [Entry, ChunkContent[]?][] = [];
  const expected = { owned: [] as string[], ownerless: [] as string[] };
  for (let i = 0; i < 3000; i++) {
    // Every length comes to lie across the end of what is gathered, and some fields are longer than that.
    const path = `${String(i).padStart(6, '0')}${'x'.repeat((i * 37) % 400)}`;
    const value = new Uint8Array(i % 500 === 250 ? 70_000 + i : i % 7).fill(i);
    const item = entry(path, { uid: i, gid: 2 * i, attributes: [{ name: 'user.a' as ByteString, value }] });
    const chunks = [{ gap: i, length: 1 + i, hash: new Uint8Array(32).fill(i) }];
    items.push([item, i % 3 === 0 ? chunks : []]);
    const of = (owners: string) =>
      raw(path) + u8(1) + u16(0o644) + owners + i64(1_700_000_000n) + u32(5) + u8(0) + u32(1) + raw('user.a');
    const rest =
      u32(value.length) +
      Buffer.from(value).toString('hex') +
      (raw('') + i64(0n)) +
      (i % 3 === 0 ? u32(1) + i64(BigInt(i)) + u32(1 + i) + u8(i % 256).repeat(32) : u32(0));
    expected.owned.push(of(u32(i) + u32(2 * i)) + rest);
    expected.ownerless.push(of('') + rest);
  }
  expect(digest(items)).toEqual({
    digest: sha(...expected.owned),
    ownerlessDigest: sha(...expected.ownerless),
  });
});
