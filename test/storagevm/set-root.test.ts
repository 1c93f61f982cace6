import { readFile, readdir, unlink, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { NO_ROOT, newRepositoryId } from '../../shared/ids.ts';
import { decodeRoot } from '../../shared/root.ts';
import type { Root } from '../../shared/root.ts';
import { rootName } from '../../storagevm/back-end.ts';
import { publish } from '../../storagevm/set-root.ts';
import { failure, rejection } from '../support/failure.ts';
import { tempFolder } from '../support/temp.ts';
import { TestRepository, object } from './fixtures.ts';
import { storeIn } from './stores.ts';

let folder: string;
let repository: TestRepository;

beforeEach(() => {
  folder = join(tempFolder(), 'store');
  repository = new TestRepository();
});

function set(root: Root, expected = root.body.previous) {
  return publish(storeIn(folder), root, expected);
}

async function setAll(roots: readonly Root[]): Promise<Root> {
  for (const root of roots) expect(await set(root)).toBe(root.hash);
  return roots.at(-1)!;
}

/** Fails unless `root` is refused with `code` and nothing changed. */
async function expectRefused(root: Root, code: string, expected = root.body.previous): Promise<void> {
  const before = await storeIn(folder).currentRoot();
  const roots = before === undefined ? [] : await readdir(join(folder, 'roots'));
  expect((await rejection(set(root, expected))).code).toBe(code);
  expect(await storeIn(folder).currentRoot()).toEqual(before);
  if (before !== undefined) expect(await readdir(join(folder, 'roots'))).toEqual(roots);
}

describe('R41: setRoot', () => {
  test('accepts a chain, one root after the other, and pins the first one’s key', async () => {
    const last = await setAll(repository.chain(5));
    expect(await storeIn(folder).currentRoot()).toEqual(last.bytes);
    expect(await readFile(join(folder, 'key'), 'latin1')).toBe(
      `${Buffer.from(repository.publicKey).toString('hex')}\n`,
    );
  });

  test('answers done for the current root again, whatever was expected', async () => {
    const [first, second] = repository.chain(2);
    await setAll([first!, second!]);
    expect(await set(second!)).toBe(second!.hash);
    expect(await set(second!, NO_ROOT)).toBe(second!.hash);
    expect(await set(second!, second!.hash)).toBe(second!.hash);
  });

  test('answers the current root in a conflict', async () => {
    const [first, second] = repository.chain(2);
    await setAll([first!, second!]);
    expect(await set(first!)).toBe(second!.hash); // An older one, sent again too late.
    expect(await set(repository.root(first))).toBe(second!.hash);
    expect(await set(repository.root())).toBe(second!.hash);
    expect(await storeIn(folder).currentRoot()).toEqual(second!.bytes);
  });

  test('answers NO_ROOT where another root was expected of an empty store, and creates nothing', async () => {
    const [, second] = repository.chain(2);
    expect(await set(second!)).toBe(NO_ROOT);
    expect(existsSync(folder)).toBe(false);
  });

  test('lets one of several rivals win that saw the same root', async () => {
    const first = await setAll(repository.chain(1));
    const rivals = Array.from({ length: 6 }, () => repository.root(first));
    const answers = await Promise.all(rivals.map((root) => set(root)));
    expect(new Set(answers).size).toBe(1);
    expect(rivals.map(({ hash }) => hash)).toContain(answers[0]);
  });

  test('R44: accepts a later root than the next where the caller knows which one it replaces', async () => {
    const roots = repository.chain(9);
    await setAll(roots.slice(0, 2));
    expect(await set(roots[6]!, roots[5]!.hash)).toBe(roots[1]!.hash);
    expect(await set(roots[6]!, roots[1]!.hash)).toBe(roots[6]!.hash);
    await expectRefused(roots[4]!, 'store-rolled-back', roots[6]!.hash);
    await setAll(roots.slice(7));
  });

  test('R44: accepts any root as its first, and pins its key', async () => {
    const last = repository.chain(4).at(-1)!;
    expect(await set(last)).toBe(NO_ROOT);
    expect(await set(last, NO_ROOT)).toBe(last.hash);
    await expectRefused(new TestRepository().root(last), 'store-replaced');
    await setAll([repository.root(last)]);
  });

  test.each([1, 4, 5])('refuses the counter %i after 5', async (counter) => {
    const last = await setAll(repository.chain(5));
    await expectRefused(repository.root(last, { counter }), 'store-rolled-back');
  });

  test.each([1, 2, 2 ** 16])('accepts a step of the counter by %i', async (step) => {
    const last = await setAll([repository.root(undefined, { counter: step })]);
    await setAll([repository.root(last, { counter: step + step })]);
  });

  test.each([2 ** 16 + 1, Number.MAX_SAFE_INTEGER - 10])(
    'refuses a step of the counter by %i',
    async (step) => {
      const first = await setAll(repository.chain(1));
      await expectRefused(repository.root(first, { counter: 1 + step }), 'refused');
    },
  );

  test('refuses a root of another key, even one that follows', async () => {
    const first = await setAll(repository.chain(1));
    const thief = new TestRepository();
    await expectRefused(thief.root(first), 'store-replaced');
    await expectRefused(thief.root(first, { repository: first.body.repository }), 'store-replaced');
    await expectRefused(thief.root(), 'store-replaced');
  });

  test('refuses a root of another repository under the same key', async () => {
    const first = await setAll(repository.chain(1));
    await expectRefused(repository.root(first, { repository: newRepositoryId() }), 'store-replaced');
  });

  describe('a key that replaces another', () => {
    test('is accepted where both signed, and the old one never again', async () => {
      const first = await setAll(repository.chain(1));
      const { next, root } = repository.replaceKey(first);
      await setAll([root]);
      await expectRefused(repository.root(root), 'store-replaced');
      await expectRefused(repository.root(root, { rotations: [] }), 'store-replaced');
      const later = await setAll([next.root(root)]);
      const third = next.replaceKey(later);
      await setAll([third.root]);
      await expectRefused(next.root(third.root), 'store-replaced');
      await expectRefused(next.root(third.root, { rotations: root.body.rotations }), 'store-replaced');
      await setAll([third.next.root(third.root)]);
    });

    test('is refused unless it replaces the current key', async () => {
      const [first, second] = repository.chain(2);
      await setAll([first!, second!]);
      const stale = repository.replaceKey(first!).root; // Follows an older root.
      expect(await set(stale)).toBe(second!.hash);
      // An earlier replacement proves nothing of a key that came later.
      const { next, root } = repository.replaceKey(second!);
      await setAll([root]);
      const { repository: id, rotations } = root.body;
      await expectRefused(new TestRepository(id).root(root, { rotations }), 'store-replaced');
      await expectRefused(repository.root(root, { rotations }), 'store-replaced');
      await setAll([next.root(root)]);
    });

    test('R44: is accepted with those between that this store missed, and by none of them afterwards', async () => {
      const first = await setAll(repository.chain(1));
      const second = repository.replaceKey(first);
      const third = second.next.replaceKey(second.next.root(second.root));
      const later = third.next.root(third.root);
      expect(await set(later, first.hash)).toBe(later.hash);
      await expectRefused(second.next.root(later), 'store-replaced');
      await setAll([third.next.root(later)]);
    });

    test('is refused from one that was replaced before the store knew its repository', async () => {
      const [first, second] = repository.chain(2);
      await setAll([first!, second!]);
      const { next, root } = repository.replaceKey(first!); // At counter 2, which this store has seen signed by the first key.
      await expectRefused(next.root(root), 'store-replaced', second!.hash);
    });

    test('R44: is pinned also where a run died that skipped some', async () => {
      const first = await setAll(repository.chain(1));
      const second = repository.replaceKey(first);
      const third = second.next.replaceKey(second.root);
      expect(await storeIn(folder).roots.add(2, third.root.bytes)).toBe(true);
      await setAll([third.next.root(third.root)]);
    });

    test('is pinned also where a run died before it was', async () => {
      const first = await setAll(repository.chain(1));
      const { next, root } = repository.replaceKey(first);
      expect(await storeIn(folder).roots.add(2, root.bytes)).toBe(true);
      await setAll([next.root(root)]);
      expect(await storeIn(folder).pinKey(new Uint8Array(32))).toEqual(Buffer.from(next.publicKey));
    });
  });

  test('keeps to the key that it knows where its roots were lost', async () => {
    await storeIn(folder).pinKey(repository.publicKey);
    await expectRefused(new TestRepository().root(), 'store-replaced');
    await setAll(repository.chain(2));
  });

  test('R41: is anybody’s still where a run died before the first root was there', async () => {
    const store = storeIn(folder);
    store.roots.add = () => Promise.reject(new Error('the process died'));
    await expect(publish(store, repository.root(), NO_ROOT)).rejects.toThrow('the process died');
    const other = new TestRepository();
    const first = other.root();
    expect(await publish(storeIn(folder), first, NO_ROOT)).toBe(first.hash);
    await expectRefused(repository.root(), 'store-replaced', first.hash);
  });

  test('R41: pins the first key also where a run died right after its root', async () => {
    const first = repository.root();
    await storeIn(folder).prepare();
    expect(await storeIn(folder).roots.add(1, first.bytes)).toBe(true);
    await expectRefused(new TestRepository().root(), 'store-replaced', first.hash);
    await setAll([repository.root(first)]);
    expect(await storeIn(folder).pinnedKey()).toEqual(Buffer.from(repository.publicKey));
  });

  test('pins the key again where its file was lost, by the current root', async () => {
    const first = await setAll(repository.chain(1));
    await unlink(join(folder, 'key'));
    await expectRefused(
      new TestRepository().root(first, { repository: first.body.repository }),
      'store-replaced',
    );
    await setAll([repository.root(first)]);
    expect(existsSync(join(folder, 'key'))).toBe(true);
  });

  test('adds nothing to a damaged root', async () => {
    const [first, second] = repository.chain(2);
    await setAll([first!]);
    const path = join(folder, rootName(1));
    await unlink(path);
    await writeFile(path, first!.bytes.subarray(1));
    await expectRefused(second!, 'store-damaged');
  });

  describe('R41: in the place of a damaged root', () => {
    /** A store whose newest root has a byte that is wrong. */
    async function damaged(count: number): Promise<Root[]> {
      const roots = repository.chain(count + 3);
      await setAll(roots.slice(0, count));
      const path = join(folder, rootName(count));
      await unlink(path);
      const bytes = Buffer.from(roots[count - 1]!.bytes);
      bytes[20]! ^= 1;
      await writeFile(path, bytes);
      return roots;
    }

    test('takes the same again, or a later one, from who expects none', async () => {
      const roots = await damaged(3);
      expect(await set(roots[2]!, NO_ROOT)).toBe(roots[2]!.hash);
      await setAll(roots.slice(3));
    });

    test('takes none that is older than those before it, nor of another key', async () => {
      const roots = await damaged(3);
      await expectRefused(roots[1]!, 'store-rolled-back', NO_ROOT);
      await expectRefused(new TestRepository().root(), 'store-replaced', NO_ROOT);
      await expectRefused(
        repository.root(roots[2], { repository: newRepositoryId() }),
        'store-replaced',
        NO_ROOT,
      );
      expect(await set(roots[4]!, NO_ROOT)).toBe(roots[4]!.hash);
    });

    test('goes by the pinned key alone where no root is whole, and takes none where that is lost, too', async () => {
      const roots = await damaged(1);
      await expectRefused(new TestRepository().root(), 'store-replaced', NO_ROOT);
      const key = await readFile(join(folder, 'key'));
      await unlink(join(folder, 'key'));
      await expectRefused(roots[0]!, 'store-damaged', NO_ROOT);
      await writeFile(join(folder, 'key'), key);
      await setAll([roots[0]!, roots[1]!]);
    });

    test('takes none in the place of one of a newer version', async () => {
      const [first, second] = repository.chain(2);
      await setAll([first!]);
      const path = join(folder, rootName(1));
      const last = first!.bytes.at(-1) ?? 0;
      await unlink(path);
      await writeFile(
        path,
        Buffer.concat([Buffer.from('QIBROOT5'), first!.bytes.subarray(8, -1), Buffer.of(last ^ 1)]),
      );
      await expectRefused(second!, 'store-version', NO_ROOT);
    });
  });

  test('refuses a root that is not signed by the key it carries', () => {
    const { bytes } = repository.root();
    for (const at of [40, bytes.length - 64, bytes.length - 1]) {
      const forged = bytes.map((byte, index) => (index === at ? byte ^ 1 : byte));
      expect(failure(() => decodeRoot(forged)).code).toBe('store-damaged');
    }
    expect(failure(() => decodeRoot(object(200).bytes)).code).toBe('store-damaged');
  });
});
