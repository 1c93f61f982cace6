/** R54: what is said to need lost blobs cannot be extracted without them, and all else can: of any tree, cut anywhere. */

import fc from 'fast-check';
import { expect, it } from 'vitest';
import { NumberSet } from '../../shared/numbers.ts';
import type { Need } from '../../shared/protocol/browse.ts';
import { TYPE, pathKey } from '../../dvm/entry.ts';
import type { BlobSource } from '../../dvm/blobs.ts';
import { Selection } from '../../dvm/export-selection.ts';
import { findNeeds } from '../../dvm/needs.ts';
import { decodeTop } from '../../dvm/tree.ts';
import type { TreeEntry } from '../../dvm/tree.ts';
import { MemoryStore, bytes, directory, symlink } from './tree-kit.ts';

/** Folders within folders, names that sort around a slash, files of several chunks. `changed`: one file has other content. */
function entriesOf(store: MemoryStore): { readonly first: TreeEntry[]; readonly second: TreeEntry[] } {
  const first = [
    directory(''),
    store.file('a', ['1', '2', '3']),
    directory('b'),
    store.file('b/a', ['4']),
    directory('b/c'),
    directory('b/c/d'),
    store.file('b/c/d/e', ['5', '6']),
    symlink('b/c/f', 'x'),
    store.file('b/g', []),
    store.file('b-', ['7']),
    directory('b0'),
    store.file('b0/h', ['8', '9', '10', '11']),
    store.file('i', ['12']),
  ];
  const changed = store.file('b/a', ['other']);
  return { first, second: first.map((each) => (each.entry.path === 'b/a' ? changed : each)) };
}

/** Blobs of `store` but those of `lost`. */
function without(store: MemoryStore, lost: NumberSet): BlobSource {
  const get = (number: number) =>
    lost.has(number) ? Promise.reject(new Error(`blob ${number} is lost`)) : store.get(number);
  return { get, prefetch: () => undefined };
}

/** Whether `path` comes out of the tree, with all of its content. */
async function comesOut(top: number, path: string, blobs: BlobSource, lost: NumberSet): Promise<boolean> {
  try {
    const selection = new Selection(decodeTop(await blobs.get(top)), [bytes(path)]);
    for await (const records of selection.records(blobs))
      if (records.some((record) => record.kind === 'chunk' && lost.has(record.chunk.place.blob)))
        return false;
    return selection.missing().length === 0;
  } catch {
    return false;
  }
}

function names(need: Need, path: string): boolean {
  if (need.kind === 'file') return need.path === path;
  const [key, from, until] = [path, need.path, need.until ?? ''].map((each) => pathKey(bytes(each)));
  const isIn = (key ?? '') >= (from ?? '') && (need.until === null || (key ?? '') < (until ?? ''));
  const { within } = need;
  return isIn || (within !== null && (within === '' || path.startsWith(`${within}/`)));
}

it('is just what does not come out', async () => {
  const cuts = fc.array(fc.boolean(), { minLength: 40, maxLength: 40 });
  const fates = fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 60, maxLength: 60 });
  await fc.assert(
    fc.asyncProperty(cuts, fates, async (cut, fate) => {
      const store = new MemoryStore(3);
      const { first, second } = entriesOf(store);
      let at = 0;
      const endsAfter = () => cut[at++ % cut.length] ?? false;
      const tops = [await store.cutTree(first, endsAfter)];
      at = 0;
      tops.push(await store.cutTree(second, endsAfter));
      const all = [...store.blobs.keys()].filter((number) => !tops.includes(number));
      const lost = NumberSet.of(all.filter((number) => fate[number % fate.length] === 0));
      const blobs = without(store, lost);
      const needs: Need[] = [];
      for await (const need of findNeeds(tops, lost, blobs)) needs.push(need);
      expect(needs.map(({ top }) => top)).toEqual(needs.map(({ top }) => top).sort());
      for (const [index, top] of tops.entries())
        for (const { entry } of first.filter((each) => each.entry.type !== TYPE.directory)) {
          const named = needs.some((need) => need.top === index && names(need, entry.path));
          expect(named, `${entry.path} of ${index}: ${JSON.stringify(needs)}`).toBe(
            !(await comesOut(top, entry.path, blobs, lost)),
          );
        }
    }),
    { numRuns: 300 },
  );
});

it('reads what two trees share once, and tells a file of many leaves once', async () => {
  const store = new MemoryStore(3);
  const { first, second } = entriesOf(store);
  const tops = [await store.cutTree(first, () => true), await store.cutTree(second, () => true)];
  store.got.length = 0;
  const packs = first.find(({ entry }) => entry.path === 'b0/h')?.chunks.map(({ place }) => place.blob) ?? [];
  const needs: Need[] = [];
  for await (const need of findNeeds(tops, NumberSet.of(packs), store)) needs.push(need);
  expect(needs).toEqual([0, 1].map((top) => ({ kind: 'file', top, path: 'b0/h', bytes: 6 })));
  const twice = store.got.filter((number, index) => store.got.indexOf(number) !== index);
  expect(twice).toHaveLength(4); // The leaves of that file.
});
