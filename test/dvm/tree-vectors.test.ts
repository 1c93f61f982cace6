/** docs/format.md, sections 7 and 8, against bytes that were not made by this program. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { byteString, hex } from '../../shared/bytes.ts';
import { decodeRawLeaf } from '../../dvm/leaf-decoder.ts';
import { LeafEncoder } from '../../dvm/leaf-encoder.ts';
import { Pack } from '../../dvm/pack.ts';
import { unwrapTreeBlob } from '../../dvm/tree-blob.ts';
import { encodeRawTop } from '../../dvm/tree-top.ts';
import { decodeLeaf, decodeTop } from '../../dvm/tree.ts';
import type { TreeRecord } from '../../dvm/tree.ts';

const fromHex = (text: string) => new Uint8Array(Buffer.from(text, 'hex'));
const raw = z
  .string()
  .regex(/^([0-9a-f]{2})*$/)
  .transform(fromHex);
const text = raw.transform(byteString);
const time = z.strictObject({ seconds: z.int(), nanoseconds: z.int() });
const owner = z.nullable(z.int()).transform((id) => id ?? undefined);

const entry = z.strictObject({
  path: text,
  type: z.literal([1, 2, 3, 4, 5, 6, 7, 8]),
  mode: z.int(),
  uid: owner,
  gid: owner,
  mtime: time,
  ctime: time,
  inode: z.int(),
  linked: z.boolean(),
  doubtful: z.boolean(),
  unreadable: z.boolean(),
  attributes: z.array(z.strictObject({ name: text, value: raw })),
  size: z.int(),
  target: text,
  device: z.tuple([z.int(), z.int()]),
  flags: z.int(),
});
const place = z.strictObject({ blob: z.int(), offset: z.int(), packSize: z.int() });
const chunk = z.strictObject({ gap: z.int(), length: z.int(), hash: raw, place });
const leafOfTop = z.strictObject({
  firstPath: text,
  skip: z.int(),
  entries: z.int(),
  number: z.int(),
  hash: raw,
});

const vectors = z
  .strictObject({
    section: z.string(),
    pack: z.strictObject({
      blob: raw,
      raw,
      segments: z.array(z.strictObject({ codec: z.int(), start: z.int(), length: z.int() })),
    }),
    leaf: z.strictObject({
      blob: raw,
      raw,
      hash: raw,
      entries: z.array(z.strictObject({ entry, chunks: z.array(chunk) })),
    }),
    top: z.strictObject({
      blob: raw,
      raw,
      totalEntries: z.int(),
      totalBytes: z.int(),
      leaves: z.array(leafOfTop),
    }),
  })
  .parse(JSON.parse(readFileSync(join(import.meta.dirname, '..', 'vectors', 'tree.json'), 'utf8')));

/** Bytes as plain arrays: a view and a copy are the same then. */
const plain = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (_key, item: unknown) => (item instanceof Uint8Array ? [...item] : item)));

const records = vectors.leaf.entries.flatMap(({ entry: fields, chunks }): TreeRecord[] => [
  { kind: 'entry', entry: fields, chunkCount: chunks.length },
  ...chunks.map((item): TreeRecord => ({ kind: 'chunk', chunk: item })),
]);

describe('vectors', () => {
  test('the leaf decodes to its entries', () => {
    const { blob, hash } = vectors.leaf;
    expect(plain([...decodeLeaf(blob, hash)])).toEqual(plain(records));
    expect(hex(unwrapTreeBlob(blob))).toBe(hex(vectors.leaf.raw));
    expect(plain([...decodeRawLeaf(vectors.leaf.raw)])).toEqual(plain(records));
  });

  test('the entries encode to the leaf', () => {
    const encoder = new LeafEncoder();
    for (const record of records) {
      if (record.kind === 'entry') encoder.addEntry(record.entry, record.chunkCount);
      else encoder.addChunk(record.chunk);
    }
    expect(hex(encoder.take())).toBe(hex(vectors.leaf.raw));
  });

  test('the top decodes and encodes', () => {
    const { blob, raw: bytes, ...top } = vectors.top;
    expect(plain(decodeTop(blob))).toEqual(plain(top));
    expect(hex(encodeRawTop(top))).toBe(hex(bytes));
  });

  test('the pack decodes', () => {
    const { blob, raw: bytes, segments } = vectors.pack;
    const pack = new Pack(blob);
    expect(pack.size).toBe(bytes.length);
    for (const { start, length } of segments) {
      expect(hex(pack.read(start, length))).toBe(hex(bytes.subarray(start, start + length)));
    }
    for (const { chunks } of vectors.leaf.entries) {
      for (const { place: where, length } of chunks)
        if (where.blob === 5) expect(pack.read(where.offset, length).length).toBe(length);
    }
  });
});
