import { describe, expect, test } from 'vitest';
import type { ByteString } from '../../shared/bytes.ts';
import { compareTrees } from '../../dvm/compare-trees.ts';
import { LeftOut } from '../../dvm/comparison.ts';
import type { Side } from '../../dvm/comparison.ts';
import { TYPE } from '../../dvm/entry.ts';
import type { Entry } from '../../dvm/entry.ts';
import { entriesAt } from '../../dvm/browse.ts';
import { compileFilter } from '../../dvm/find.ts';
import { readHistory } from '../../dvm/history.ts';
import { leavesOf } from '../../dvm/states.ts';
import { decodeTop } from '../../dvm/tree.ts';
import type { Filter } from '../../shared/protocol/browse.ts';
import { Random } from '../support/random.ts';
import { RandomStates, cutsOften, differencesOf, fieldsOf } from './random-states.ts';
import type { Expected, Model } from './random-states.ts';
import { MemoryStore, bytes, directory } from './tree-kit.ts';

const SEEDS = Array.from({ length: 150 }, (_, seed) => seed);

const sideText = (side: Side | undefined) => (side === undefined ? '' : `${side.type} ${side.size}`);

async function compared(store: MemoryStore, before: number, after: number) {
  const leftOut = new LeftOut();
  const differences: Expected[] = [];
  const tops = [before, after].map((number) => decodeTop(store.blobs.get(number)!));
  store.got.length = 0;
  for await (const found of compareTrees(tops[0]!, tops[1]!, store, leftOut))
    differences.push([found.path, sideText(found.before), sideText(found.after), found.fields]);
  return { differences, leftOut: leftOut.count };
}

describe('R57: two trees', () => {
  test('differ as is said by definition: random trees, random edits, leaves cut anywhere', async () => {
    let found = 0;
    let unread = 0;
    for (const seed of SEEDS) {
      const store = new MemoryStore();
      const states = new RandomStates(new Random(seed), store);
      const before = states.tree();
      const after = states.edited(before);
      const tops = [
        await store.cutTree([...before.values()], cutsOften),
        await store.cutTree([...after.values()], cutsOften),
      ] as const;
      const expected = differencesOf(before, after);
      expect(await compared(store, ...tops), `seed ${seed}`).toEqual(expected);
      found += expected.differences.length;
      const leaves = tops.flatMap((top) => decodeTop(store.blobs.get(top)!).leaves);
      unread += leaves.length - store.got.length;
      expect(await compared(store, tops[0], tops[0])).toEqual({ differences: [], leftOut: 0 });
      expect(store.got).toEqual([]);
    }
    expect(found).toBeGreaterThan(1000);
    expect(unread).toBeGreaterThan(500);
  });

  test('that share nearly everything are compared by a few leaves', async () => {
    const store = new MemoryStore();
    const files = Array.from({ length: 40_000 }, (_, i) => {
      const name = `file-${String(i).padStart(6, '0')}`;
      return store.file(name, [], { inode: i });
    });
    const before = await store.tree([directory(''), ...files]);
    const changed = files.map((item, i) =>
      i === 20_000 ? { ...item, entry: { ...item.entry, mode: 0o600 } } : item,
    );
    const after = await store.tree([directory(''), ...changed]);
    const { differences } = await compared(store, before, after);
    expect(differences).toEqual([['file-020000', '1 0', '1 0', ['mode']]]);
    expect(store.got.length).toBeLessThanOrEqual(4);
  });
});

describe('R57: the history of a path', () => {
  test('is what each tree has: random paths, random edits', async () => {
    for (const seed of SEEDS.slice(0, 60)) {
      const random = new Random(seed);
      const store = new MemoryStore();
      const states = new RandomStates(random, store);
      const models: Model[] = [states.tree()];
      while (models.length < 8) models.unshift(random.chance(0.3) ? models[0]! : states.edited(models[0]!));
      const tops: number[] = [];
      for (const model of models) tops.push(await store.cutTree([...model.values()], cutsOften));
      const everSeen = [...new Set(models.flatMap((model) => [...model.keys()]))];
      const paths = ['', 'nowhere', ...Array.from({ length: 6 }, () => random.pick(everSeen))];
      for (const path of paths as ByteString[]) {
        store.got.length = 0;
        const versions: unknown[] = [];
        for await (const { newest, oldest, entry, changed } of readHistory(tops, path, store))
          versions.push([newest, oldest, entry, changed]);
        expect(versions, `seed ${seed}, ${path}`).toEqual(versionsOf(models, path));
        const runs = tops.map((top) =>
          leavesOf(decodeTop(store.blobs.get(top)!), path).map((leaf) => leaf.number),
        );
        const distinct = new Map(runs.map((run) => [run.join(), run]));
        const leaves = store.got.filter((number) => !tops.includes(number));
        expect(leaves).toEqual([...distinct.values()].flat().slice(0, leaves.length));
      }
    }
  });
});

/** The versions of `path` by definition; `models` are newest first. */
function versionsOf(models: readonly Model[], path: ByteString): unknown[] {
  const changeAt = (index: number): string[] | undefined => {
    const [after, before] = [models[index]?.get(path), models[index + 1]?.get(path)];
    if (index + 1 === models.length) return [];
    if (after === undefined && before === undefined) return undefined;
    if (after === undefined || before === undefined) return [];
    if (after.entry.type !== before.entry.type) return ['type'];
    const fields = fieldsOf(before, after);
    if (before.entry.linked !== after.entry.linked) fields.push('links');
    return fields.length === 0 ? undefined : fields;
  };
  const versions: unknown[] = [];
  let newest = 0;
  for (let index = 0; index < models.length; index++) {
    const changed = changeAt(index);
    if (changed === undefined) continue;
    versions.push([newest, index, models[newest]?.get(path)?.entry, changed]);
    newest = index + 1;
  }
  return versions;
}

describe('R57: find', () => {
  const NAMES: Readonly<Record<number, string>> = {
    [TYPE.file]: 'file',
    [TYPE.directory]: 'directory',
    [TYPE.symlink]: 'symlink',
    [TYPE.fifo]: 'fifo',
    [TYPE.blockDevice]: 'block-device',
    [TYPE.skipped]: 'skipped',
  };

  test('finds what a look at each entry finds', async () => {
    let hits = 0;
    for (const seed of SEEDS) {
      const random = new Random(seed);
      const store = new MemoryStore();
      const model = new RandomStates(random, store).tree();
      const top = decodeTop(store.blobs.get(await store.cutTree([...model.values()], cutsOften))!);
      const filter = randomFilter(random);
      const below = random.chance(0.5) ? ('' as ByteString) : random.pick([...model.keys()]);
      const matches = compileFilter(filter);
      const found: string[] = [];
      for await (const entry of entriesAt(top, store, below, true))
        if (matches(entry)) found.push(entry.path);
      const expected = [...model.values()]
        .map(({ entry }) => entry)
        .filter((entry) => entry.path === below || below === '' || entry.path.startsWith(`${below}/`))
        .filter((entry) => meets(entry, filter));
      expect(found, `seed ${seed}`).toEqual(expected.map(({ path }) => path));
      hits += found.length;
    }
    expect(hits).toBeGreaterThan(200);
  });

  function randomFilter(random: Random): Filter {
    const maybe = <T>(value: T) => (random.chance(0.3) ? value : null);
    const moment = () => ({ seconds: random.below(3), beforeEpoch: false });
    return {
      names: random.chance(0.3) ? [bytesOf('a*'), bytesOf('?x?')] : [],
      paths: random.chance(0.2) ? [bytesOf('a*/**')] : [],
      types: random.chance(0.3) ? [random.pick(['file', 'directory', 'skipped', 'fifo'] as const)] : [],
      minSize: maybe(random.below(4)),
      maxSize: maybe(random.below(8)),
      newer: maybe(moment()),
      older: maybe(moment()),
      doubtful: random.chance(0.1),
    };
  }

  function meets(entry: Entry, filter: Filter): boolean {
    const name = entry.path.split('/').at(-1) ?? '';
    const time = entry.mtime.seconds + entry.mtime.nanoseconds / 1e9;
    const bySize = filter.minSize !== null || filter.maxSize !== null;
    return [
      filter.types.length === 0
        ? entry.type !== TYPE.skipped
        : filter.types.some((type) => NAMES[entry.type] === type),
      !bySize || entry.type === TYPE.file,
      !bySize || (entry.size >= (filter.minSize ?? 0) && entry.size <= (filter.maxSize ?? Infinity)),
      filter.newer === null || time > filter.newer.seconds,
      filter.older === null || time < filter.older.seconds,
      !filter.doubtful || entry.doubtful || entry.unreadable,
      filter.names.length === 0 || name.startsWith('a') || (name.length === 3 && name[1] === 'x'),
      filter.paths.length === 0 || /^a[^/]*\//.test(entry.path),
    ].every(Boolean);
  }

  const bytesOf = (text: string) => Buffer.from(bytes(text), 'latin1');
});
