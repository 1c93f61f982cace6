/** R57: a snapshot against the live volume, by the real service. */

import {
  appendFileSync,
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { escapeText } from '../../shared/bytes.ts';
import type { ByteString } from '../../shared/bytes.ts';
import { compare } from '../../shared/protocol/browse.ts';
import type { ExcludeRules } from '../../shared/protocol/disposable.ts';
import type { Difference } from '../../shared/protocol/browse.ts';
import { TYPE_NAMES } from '../../dvm/list-entry.ts';
import type { EntryType } from '../../dvm/entry.ts';
import type { TreeEntry } from '../../dvm/tree.ts';
import { Random } from '../support/random.ts';
import { tempFolder } from '../support/temp.ts';
import { generateTree } from '../support/tree-generator.ts';
import { program, root, testNeeding } from '../support/needs.ts';
import { differencesOf } from './random-states.ts';
import { NO_EXCLUDES, ScanDom0 } from './scan-dom0.ts';
import { MemoryStore, callService } from './tree-kit.ts';

type After = { kind: 'volume'; content: boolean; excludes?: ExcludeRules } | { kind: 'tree'; top: number };

/** Compares the first snapshot of `dom0` with the volume as it is, or with another of its snapshots. */
async function compared(
  dom0: ScanDom0,
  before: { top: number; takenAt: number },
  folder: string,
  after: After,
  wrapper?: readonly string[],
) {
  const store = new MemoryStore();
  for (const [number, { kind, bytes }] of dom0.blobs) if (kind === 'tree') store.blobs.set(number, bytes);
  const job = {
    before: { top: before.top, takenAt: before.takenAt },
    after:
      after.kind === 'tree'
        ? after
        : { excludes: NO_EXCLUDES, ...after, volume: { kind: 'folder', path: folder } },
  };
  const { said, failure } = await callService(compare, job, store, { wrapper });
  expect(failure).toBeUndefined();
  const differences: Difference[] = [];
  const notes: string[] = [];
  let leftOut: number | undefined;
  for (const message of said) {
    if (message.name === 'differences') differences.push(...message.value.differences);
    if (message.name === 'note') notes.push(`${message.value.code} ${message.value.path}`);
    if (message.name === 'done') leftOut = message.value.leftOut;
  }
  return { differences, notes, leftOut };
}

const modelOf = (entries: readonly TreeEntry[]) => new Map(entries.map((item) => [item.entry.path, item]));

const sideOf = (text: string): Difference['before'] => {
  if (text === '') return null;
  const [type, size] = text.split(' ').map(Number);
  return { type: TYPE_NAMES[type as EntryType], size: size ?? 0 };
};

/** What the service has to say, from the model's differences. */
function expectedOf(before: readonly TreeEntry[], after: readonly TreeEntry[]) {
  const { differences, leftOut } = differencesOf(modelOf(before), modelOf(after));
  return {
    differences: differences.map(([path, a, b, fields]) => ({
      path: escapeText(path as ByteString),
      before: sideOf(a),
      after: sideOf(b),
      fields: [...fields],
    })),
    leftOut,
  };
}

/** Changes about every fourth entry of a tree in one of the ways in which volumes change. */
function edit(folder: string, names: readonly ByteString[], random: Random): void {
  for (const name of names.filter((path) => path !== '')) {
    const path = Buffer.from(`${folder}/${name}`, 'latin1');
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat === undefined || !random.chance(0.25)) continue;
    const kind = random.below(9);
    if (kind === 0) rmSync(path, { recursive: true });
    else if (kind === 1) renameSync(path, Buffer.concat([path, Buffer.from('~')]));
    else if (kind === 2 && !stat.isSymbolicLink()) chmodSync(path, stat.mode ^ 0o010);
    else if (kind === 3 && !stat.isSymbolicLink()) utimesSync(path, stat.atime, new Date(1e12));
    else if (stat.isFile() && isWritable(stat.mode)) editFile(path, stat.size, stat.mtime, kind);
    else if (stat.isDirectory())
      writeFileSync(Buffer.concat([path, Buffer.from('/new')]), random.bytes(1000));
  }
}

/** True if this process may write a file of its own that has this mode. */
function isWritable(mode: number): boolean {
  return root === undefined || (mode & 0o200) !== 0;
}

function editFile(path: Buffer, size: number, mtime: Date, kind: number): void {
  if (kind === 4) appendFileSync(path, 'more');
  else if (kind === 5) truncateSync(path, Math.floor(size / 2));
  else if (kind === 6) linkSync(path, Buffer.concat([path, Buffer.from('+')]));
  else if (kind === 7) {
    rmSync(path);
    symlinkSync('elsewhere', path);
  } else {
    writeFileSync(path, Buffer.alloc(size, 'z'));
    utimesSync(path, mtime, mtime);
  }
}

describe('a volume', () => {
  test.each([1, 2, 3])('is told from its snapshot as two snapshots are: seed %i', async (seed) => {
    const folder = tempFolder();
    generateTree(folder, { seed, entries: 200, maxFile: 200_000 });
    const dom0 = new ScanDom0();
    await dom0.scan(folder);
    const before = dom0.newest!;
    expect(await compared(dom0, before, folder, { kind: 'volume', content: true })).toMatchObject({
      differences: [],
      leftOut: 0,
    });
    const names = (await dom0.entries()).map(({ entry }) => entry.path);
    edit(folder, names, new Random(seed));
    await dom0.scan(folder);
    const expected = expectedOf(await dom0.entries(before), await dom0.entries());
    expect(expected.differences.length).toBeGreaterThan(20);
    const afters: After[] = [
      { kind: 'volume', content: false },
      { kind: 'volume', content: true },
      { kind: 'tree', top: dom0.newest!.top },
    ];
    for (const after of afters) expect(await compared(dom0, before, folder, after)).toMatchObject(expected);
  });

  test('of which content changed while no time did is told only by reading it', async () => {
    const folder = tempFolder();
    writeFileSync(join(folder, 'file'), 'what is on the disk');
    const dom0 = new ScanDom0();
    await dom0.scan(folder);
    // As if the disk had changed it: the tree says other content under the same times.
    await dom0.rewrite(({ entry, chunks }) => ({
      entry,
      chunks: chunks.map((chunk) => ({ ...chunk, hash: new Uint8Array(32) })),
    }));
    const before = dom0.newest!;
    const cheap = await compared(dom0, before, folder, { kind: 'volume', content: false });
    expect(cheap.differences).toEqual([]);
    const { differences } = await compared(dom0, before, folder, { kind: 'volume', content: true });
    expect(differences).toMatchObject([{ path: 'file', fields: ['content'] }]);
  });

  testNeeding(program('setpriv'))(
    'of which something cannot be read is not called different there',
    async () => {
      const folder = tempFolder();
      mkdirSync(join(folder, 'closed'));
      writeFileSync(join(folder, 'closed/inside'), 'x');
      writeFileSync(join(folder, 'file'), 'y');
      const dom0 = new ScanDom0();
      chmodSync(folder, 0o755);
      await dom0.scan(folder);
      chmodSync(join(folder, 'closed'), 0);
      chmodSync(join(folder, 'file'), 0);
      // A reader who may not; for others their own files will do.
      const reader =
        root === undefined ? ['setpriv', '--reuid=65533', '--regid=65533', '--clear-groups'] : undefined;
      const told = await compared(dom0, dom0.newest!, folder, { kind: 'volume', content: true }, reader);
      chmodSync(join(folder, 'closed'), 0o700);
      expect(told.differences.map(({ path, fields }) => [path, fields])).toEqual([
        ['closed', ['mode']],
        ['file', ['mode']],
      ]);
      expect(told.leftOut).toBe(1);
      expect(told.notes.sort()).toEqual(['unreadable closed', 'unreadable file']);
    },
  );

  test('R23: what either the snapshot or the rules of now leave out is no difference', async () => {
    const folder = tempFolder();
    for (const path of ['then', 'now', 'always']) mkdirSync(join(folder, path));
    for (const path of ['then/a', 'then/b', 'now/a', 'always/a', 'kept'])
      writeFileSync(join(folder, path), 'x');
    const leaveOut = (...patterns: string[]) => ({
      ...NO_EXCLUDES,
      lists: [{ source: '[backup]', patterns }],
    });
    const dom0 = new ScanDom0();
    await dom0.scan(folder, { excludes: leaveOut('/then', '/always') });
    const before = dom0.newest!;
    for (const path of ['then/a', 'now/a', 'always/a', 'kept']) writeFileSync(join(folder, path), 'changed');
    rmSync(join(folder, 'then/b'));
    const excludes = leaveOut('/now', '/always');
    const live = await compared(dom0, before, folder, { kind: 'volume', content: true, excludes });
    expect(live.differences.map(({ path }) => path)).toEqual(['kept']);
    // then and a in it, now and a in it: there on one side.
    expect(live.leftOut).toBe(4);
    await dom0.scan(folder, { excludes });
    const trees = await compared(dom0, before, folder, { kind: 'tree', top: dom0.newest!.top });
    expect(trees.differences).toEqual(live.differences);
    expect(trees.leftOut).toBe(4);
  });
});
