import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TYPE } from '../../dvm/entry.ts';
import { LeafReuse } from '../../dvm/leaf-reuse.ts';
import { TreeWriter, comparePaths, decodeTop, readEntries } from '../../dvm/tree.ts';
import type { Leaf, StoredEntry, Top, TreeEntry } from '../../dvm/tree.ts';
import type { ByteString } from '../../shared/bytes.ts';
import { MemoryStore, directory, entryOf } from './tree-kit.ts';

const CHUNK = { gap: 0, length: 1, place: { blob: 3, offset: 0, packSize: 10_000 } };

/** A file of `count` chunks, told apart by `content`. */
function file(path: string, content: number, count = 1): TreeEntry {
  const chunks = Array.from({ length: count }, (_, i) => {
    const hash = new Uint8Array(32).fill(i);
    hash[31] = content;
    return { ...CHUNK, hash, place: { ...CHUNK.place, offset: i } };
  });
  return { entry: entryOf(path, TYPE.file, { size: count }), chunks };
}

const ENTRIES = [directory('')];
for (let i = 1000; i < 7000; i++) {
  // The chunks of some files are in two leaves, and of one in many.
  const many = i === 3001 ? 5000 : i % 2000 === 0 ? 400 : undefined;
  ENTRIES.push(file(`${i} ${'a long name '.repeat(8)}`, 0, many ?? i % 3));
}

const store = new MemoryStore();
const base = decodeTop(await store.get(await store.tree(ENTRIES)));

async function storedEntries(): Promise<StoredEntry[]> {
  const all: StoredEntry[] = [];
  for await (const entries of readEntries(base, store)) all.push(...entries);
  return all;
}

/** Writes `items` with the base's leaves, or as if there were no base; answers the tree, and hashes of what was encoded. */
async function write(items: readonly TreeEntry[], reuse: boolean): Promise<{ top: Top; encoded: string[] }> {
  const encoded: string[] = [];
  const numbers = new Map(base.leaves.map(({ hash, number }) => [String(hash), number]));
  const tree = new TreeWriter((leaf) => {
    const hash = String(leaf.hash);
    encoded.push(hash);
    return Promise.resolve(numbers.get(hash) ?? 10_000 + encoded.length);
  });
  const writer = new LeafReuse(tree, reuse ? base.leaves : []);
  for (const item of items) await writer.add(item);
  await writer.release();
  return { top: await tree.finish(), encoded };
}

/** What a tree consists of: numbers of new leaves tell nothing. */
const contentOf = ({ leaves, ...totals }: Top) => [totals, leaves.map((leaf) => ({ ...leaf, number: 0 }))];

test('a tree without changes is taken over leaf by leaf, but for the last', async () => {
  const { top, encoded } = await write(await storedEntries(), true);
  const { leaves } = base;
  expect(top).toEqual(base);
  expect(encoded).toEqual([String(leaves.at(-1)!.hash)]);
  // Leaves of each kind are among them.
  expect(leaves.filter(({ skip }) => skip === 0).length).toBeGreaterThan(3);
  expect(leaves.filter(({ skip, entries }) => skip > 0 && entries > 0).length).toBeGreaterThan(3);
  expect(leaves.filter(({ entries }) => entries === 0).length).toBeGreaterThan(0);
});

test('whatever was changed, added and removed, the tree is the one that is encoded from its entries', async () => {
  const entries = await storedEntries();
  const place = fc.integer({ min: 1, max: entries.length - 1 });
  const edit = fc.record({ at: place, what: fc.constantFrom('change', 'add', 'remove', 'cut') });
  await fc.assert(
    fc.asyncProperty(fc.array(edit, { maxLength: 6 }), async (edits) => {
      let items: TreeEntry[] = [...entries];
      for (const { at, what } of edits) {
        const item = items[at];
        if (item === undefined) continue;
        const { path } = item.entry;
        if (what === 'change') items[at] = file(path, 7);
        if (what === 'add') items.splice(at + 1, 0, file(`${path}new`, 7));
        if (what === 'remove') items.splice(at, 1);
        if (what === 'cut') items = items.slice(0, at + 1);
      }
      items = [...new Map(items.map((item) => [item.entry.path, item])).values()];
      items.sort((a, b) => comparePaths(a.entry.path, b.entry.path));
      const reused = await write(items, true);
      const plain = await write(items, false);
      expect(contentOf(reused.top)).toEqual(contentOf(plain.top));
      const known = new Set(base.leaves.map(({ hash }) => String(hash)));
      for (const [i, { hash, number }] of plain.top.leaves.entries())
        if (known.has(String(hash))) expect(reused.top.leaves[i]?.number).toBe(number);
      const anew = reused.encoded.filter((hash) => known.has(hash));
      expect(anew.filter((hash) => hash !== String(base.leaves.at(-1)!.hash))).toEqual([]);
    }),
    { numRuns: 30 },
  );
});

test('what is added after the last leaf belongs to it', async () => {
  const entries = await storedEntries();
  const items = [...entries, file('zz', 7)];
  const reused = await write(items, true);
  expect(contentOf(reused.top)).toEqual(contentOf((await write(items, false)).top));
  expect(reused.top.leaves.length).toBe(base.leaves.length);
});

test('a leaf that starts with chunks is not taken over where one happens to start with its first entry', async () => {
  const entries = await storedEntries();
  let at = 0;
  for (const { skip, entries: count } of base.leaves) {
    if (skip > 0) {
      const { entry, chunks } = entries[at - 1]!;
      // What is left of the file ends where its leaf ended.
      const shorter = { entry, chunks: chunks.slice(0, skip - 1) };
      const items = [...entries.slice(0, at - 1), shorter, ...entries.slice(at)];
      const [reused, plain] = [await write(items, true), await write(items, false)];
      expect(contentOf(reused.top)).toEqual(contentOf(plain.top));
    }
    at += count;
  }
});

test('a copy of an entry is no stored one: it is encoded', async () => {
  const items = (await storedEntries()).map(({ entry, chunks }) => ({ entry, chunks }));
  const { top, encoded } = await write(items, true);
  expect(top).toEqual(base);
  expect(encoded.length).toBe(base.leaves.length);
});

test('a leaf is only added where one starts, and in its place', async () => {
  const tree = new TreeWriter(() => Promise.resolve(0));
  const [first, second] = base.leaves;
  const entries = await storedEntries();
  const split = base.leaves.find(({ skip }) => skip > 0);
  const of = (leaf: Leaf) => entries.slice(0, leaf.entries);
  expect(() => tree.addLeaf({ ...second!, skip: 0 }, of(second!), 0)).toThrow('not in path order');
  expect(() => tree.addLeaf(split!, of(split!), 0)).toThrow('does not start here');
  expect(() => tree.addLeaf(first!, [], 0)).toThrow('does not start here');
  await tree.add(entries[0]!.entry, []);
  expect(() => tree.addLeaf(first!, of(first!), 0)).toThrow('does not start here');
});

test('a leaf that goes on with a file is added after the start of that one alone', async () => {
  const entries = await storedEntries();
  const index = base.leaves.findIndex(({ skip }) => skip > 0);
  const [first, second] = base.leaves.slice(index - 1);
  const { firstPath, skip } = second!;
  const at = base.leaves.slice(0, index).reduce((sum, leaf) => sum + leaf.entries, 0);
  const within = entries.slice(at, at + second!.entries);
  const after = (path: string) => {
    const tree = new TreeWriter(() => Promise.resolve(0));
    const started = { ...first!, firstPath: '' as ByteString, entries: 1, skip: 0 };
    const { chunks } = entries[at - 1]!;
    tree.addLeaf(started, [{ entry: entryOf(path, TYPE.file), chunks }], 1 + chunks.length - skip);
    return () => tree.addLeaf(second!, within, 0);
  };
  expect(after(`${firstPath}x`)).toThrow('another file');
  expect(after(firstPath)).not.toThrow();
});
