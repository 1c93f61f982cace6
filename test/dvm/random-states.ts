/** Random trees that differ here and there, and what their differences are by definition. */

import type { ByteString } from '../../shared/bytes.ts';
import { TYPE } from '../../dvm/entry.ts';
import type { Chunk, Entry } from '../../dvm/entry.ts';
import { comparePaths, isWithin, parentOf } from '../../dvm/tree.ts';
import type { TreeEntry } from '../../dvm/tree.ts';
import type { Random } from '../support/random.ts';
import type { MemoryStore } from './tree-kit.ts';
import { bytes, entryOf, sha256 } from './tree-kit.ts';

export type Model = ReadonlyMap<ByteString, TreeEntry>;

const TYPES = [TYPE.file, TYPE.file, TYPE.file, TYPE.directory, TYPE.symlink, TYPE.fifo, TYPE.blockDevice];

/** Makes trees of a few dozen entries, in which equal values are likely. */
export class RandomStates {
  readonly #random: Random;
  readonly #pool: readonly Chunk[];

  constructor(random: Random, store: MemoryStore) {
    this.#random = random;
    this.#pool = store.pack(...['a', 'b', 'c'].map((text) => Buffer.from(text)));
  }

  tree(): Model {
    const root = { entry: entryOf('', TYPE.directory), chunks: [] };
    return this.#grow(new Map<ByteString, TreeEntry>([[root.entry.path, root]]), 60);
  }

  /** `model` with some entries changed, some gone with all below them, some new. */
  edited(model: Model): Model {
    const next = new Map<ByteString, TreeEntry>();
    for (const [path, item] of inOrder(model)) {
      const parent = parentOf(path);
      if (parent !== undefined && next.get(parent)?.entry.type !== TYPE.directory) continue;
      if (parent !== undefined && this.#random.chance(0.05)) continue;
      const kind = this.#random.below(30);
      if (kind === 0 && parent !== undefined) next.set(path, this.#item(path));
      else if (kind === 1 && parent !== undefined) next.set(path, skipped(path));
      else if (kind < 6 && item.entry.type !== TYPE.skipped) next.set(path, this.#touched(item));
      else next.set(path, item);
    }
    return this.#grow(next, this.#random.below(4));
  }

  #grow(model: Map<ByteString, TreeEntry>, count: number): Model {
    for (let i = 0; i < count; i++) {
      const folders = [...model.values()].filter(({ entry }) => entry.type === TYPE.directory);
      const parent = this.#random.pick(folders).entry.path;
      const path = bytes(parent === '' ? this.#name() : `${parent}/${this.#name()}`);
      if (!model.has(path)) model.set(path, this.#random.chance(0.05) ? skipped(path) : this.#item(path));
    }
    return new Map(inOrder(model));
  }

  #name(): string {
    return `${this.#random.pick(['a', 'b', 'c', 'd'])}${this.#random.pick(['', '.', 'x', '-'])}${this.#random.below(3)}`;
  }

  #item(path: ByteString): TreeEntry {
    const type = this.#random.pick(TYPES);
    const item = { entry: { ...entryOf('', type), path }, chunks: [] };
    return this.#touched(this.#touched(this.#touched(item)));
  }

  /** One thing about an entry changed. */
  #touched({ entry, chunks }: TreeEntry): TreeEntry {
    const random = this.#random;
    const of = (fields: Partial<Entry>) => ({ entry: { ...entry, ...fields }, chunks });
    const mayLink = entry.type !== TYPE.directory && entry.type !== TYPE.skipped;
    switch (random.below(13)) {
      case 0:
        return of({ mode: random.pick([0o600, 0o644]) });
      case 1:
        return of({ uid: random.below(3) || undefined });
      case 2:
        return of({ gid: random.below(3) || undefined });
      case 3:
        return of({ mtime: { seconds: random.below(2), nanoseconds: random.below(2) } });
      case 4:
        return of({ attributes: random.pick([[], [{ name: bytes('user.x'), value: bytesOf(random) }]]) });
      case 5:
        return of({ inode: 1 + random.below(4), linked: mayLink && random.chance(0.7) });
      case 6:
        return of({ ctime: { seconds: random.below(100), nanoseconds: 0 } });
      case 7:
        return of(entry.type === TYPE.symlink ? { target: bytes(random.pick(['x', 'y'])) } : {});
      case 8:
        return of(entry.type === TYPE.blockDevice ? { device: [8, random.below(2)] } : {});
      case 9:
        return of(
          entry.type === TYPE.file || entry.type === TYPE.directory ? { flags: random.pick([0, 16]) } : {},
        );
      case 10:
        return entry.type === TYPE.file ? this.#rewritten(entry) : of({});
      default: // The last chunk only, of which the first leaf of many tells nothing.
        return {
          entry,
          chunks:
            chunks.length === 0
              ? []
              : chunks.with(-1, { ...this.#random.pick(this.#pool), gap: chunks.at(-1)?.gap ?? 0 }),
        };
    }
  }

  #rewritten(entry: Entry): TreeEntry {
    const unreadable = this.#random.chance(0.1);
    const count = unreadable ? 0 : this.#random.below(5);
    const chunks = Array.from({ length: count }, () => ({
      ...this.#random.pick(this.#pool),
      gap: this.#random.below(2),
    }));
    const size = chunks.reduce((sum, { gap, length }) => sum + gap + length, 0) + this.#random.below(2);
    return { entry: { ...entry, size, unreadable }, chunks };
  }
}

function bytesOf(random: Random): Uint8Array {
  return Buffer.from(random.pick(['1', '2']));
}

function skipped(path: ByteString): TreeEntry {
  const entry = { ...entryOf('', TYPE.skipped), path, mode: 0, uid: 0, gid: 0, target: bytes('pattern') };
  return {
    entry: {
      ...entry,
      mtime: { seconds: 0, nanoseconds: 0 },
      ctime: { seconds: 0, nanoseconds: 0 },
      inode: 0,
    },
    chunks: [],
  };
}

function inOrder(model: Model): [ByteString, TreeEntry][] {
  return [...model].sort(([a], [b]) => comparePaths(a, b));
}

/** Ends leaves at places that depend on the path alone, often, also within a file's chunks. */
export function cutsOften(path: ByteString, chunks: number): boolean {
  return (sha256(Buffer.from(`${path} ${chunks}`, 'latin1'))[0] ?? 0) < 60;
}

/** A difference as its path, the sides' types and sizes, and fields: as JSON. */
export type Expected = readonly [path: string, before: string, after: string, fields: readonly string[]];

const sideText = (entry: Entry | undefined) => (entry === undefined ? '' : `${entry.type} ${entry.size}`);

/** Every difference between two trees by definition, and how many entries were left out on one side only. */
export function differencesOf(before: Model, after: Model): { differences: Expected[]; leftOut: number } {
  const paths = [...new Set([...before.keys(), ...after.keys()])].sort(comparePaths);
  const skips = paths.filter((path) =>
    [before, after].some((model) => model.get(path)?.entry.type === TYPE.skipped),
  );
  const isLeftOut = (path: ByteString) => skips.some((skip) => isWithin(path, skip));
  const kept = (model: Model) =>
    [...model.values()].map(({ entry }) => entry).filter(({ path }) => !isLeftOut(path));
  const leaderOf = (model: Model, { path, linked, inode }: Entry) =>
    linked ? (kept(model).find((other) => other.linked && other.inode === inode)?.path ?? path) : path;
  const differences: Expected[] = [];
  for (const path of paths.filter((candidate) => !isLeftOut(candidate))) {
    const [a, b] = [before.get(path), after.get(path)];
    const sides = [sideText(a?.entry), sideText(b?.entry)] as const;
    if (a === undefined || b === undefined || a.entry.type !== b.entry.type)
      differences.push([path, ...sides, []]);
    else {
      const fields = fieldsOf(a, b);
      const sameInode = a.entry.inode === b.entry.inode && same(a.entry.ctime, b.entry.ctime);
      const sameGroup = sameInode || leaderOf(before, a.entry) === leaderOf(after, b.entry);
      if (!sameGroup || a.entry.linked !== b.entry.linked) fields.push('links');
      if (fields.length > 0) differences.push([path, ...sides, fields]);
    }
  }
  const there = (model: Model, path: ByteString) =>
    (model.get(path)?.entry.type ?? TYPE.skipped) !== TYPE.skipped;
  const leftOut = paths.filter(
    (path) => isLeftOut(path) && (there(before, path) || there(after, path)),
  ).length;
  return { differences, leftOut };
}

const same = (x: unknown, y: unknown) => JSON.stringify(x) === JSON.stringify(y);

/** What differs between two states of one path, without links. */
export function fieldsOf(a: TreeEntry, b: TreeEntry): string[] {
  const known = (x: number | undefined, y: number | undefined) =>
    x === undefined || y === undefined || x === y;
  const content = ({ entry, chunks }: TreeEntry) => [
    entry.size,
    entry.type === TYPE.file && entry.unreadable,
    chunks.map(({ gap, length, hash }) => [gap, length, [...hash]]),
  ];
  const checks: [string, boolean][] = [
    ['content', same(content(a), content(b))],
    ['target', a.entry.target === b.entry.target],
    ['device', same(a.entry.device, b.entry.device)],
    ['mode', a.entry.type === TYPE.symlink || a.entry.mode === b.entry.mode],
    ['owner', known(a.entry.uid, b.entry.uid)],
    ['group', known(a.entry.gid, b.entry.gid)],
    ['mtime', same(a.entry.mtime, b.entry.mtime)],
    ['attributes', same(attributesOf(a), attributesOf(b))],
    ['flags', a.entry.flags === b.entry.flags],
  ];
  return checks.filter(([, equal]) => !equal).map(([field]) => field);
}

const attributesOf = ({ entry }: TreeEntry) => entry.attributes.map(({ name, value }) => [name, [...value]]);
