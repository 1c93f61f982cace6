/** Entries are told in the order of the walk with what is in the files at the end, whoever reads them. */

import { appendFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Access } from '../../dvm/access.ts';
import { ContentReader } from '../../dvm/content.ts';
import { Describer } from '../../dvm/describe.ts';
import { TYPE } from '../../dvm/entry.ts';
import { EntryReader } from '../../dvm/entry-reader.ts';
import type { ReadEntry } from '../../dvm/entry-reader.ts';
import { LibcError, overflowIdMapped } from '../../dvm/libc.ts';
import { walk } from '../../dvm/walk.ts';
import type { Found } from '../../dvm/walk.ts';
import { hex } from '../../shared/bytes.ts';
import { Random } from '../support/random.ts';
import { tempFolder } from '../support/temp.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const EIO = 5;

interface Kit {
  readonly entries: EntryReader;
  readonly read: ReadEntry[];
  readonly notes: string[];
}

function readers(): Kit & { readonly reader: ContentReader } {
  const read: ReadEntry[] = [];
  const notes: string[] = [];
  const note = (code: string, path: string) => notes.push(`${code} ${path}`);
  const reader = new ContentReader(note, () => undefined, 'idle');
  const describer = new Describer(note, overflowIdMapped());
  return { reader, read, notes, entries: new EntryReader(describer, reader, (entry) => read.push(entry)) };
}

/** What one reader alone finds in `folder`. */
async function readAlone(folder: string): Promise<readonly ReadEntry[]> {
  const { reader } = readers();
  const describer = new Describer(() => undefined, overflowIdMapped());
  const all: ReadEntry[] = [];
  for (const found of walk(folder, () => undefined)) {
    if (found.type === TYPE.skipped) continue;
    const content = found.type === TYPE.file ? await reader.read(found, (chunk) => chunk) : undefined;
    const entry = describer.describe(found);
    if (entry !== undefined) all.push({ entry, chunks: content?.kind === 'read' ? content.chunks : [] });
  }
  return all;
}

/** Reads `folder`; `meanwhile` happens once all was handed over, before it is waited for. */
async function readTogether(
  folder: string,
  { meanwhile = (): void => undefined, as = (found: Found) => found } = {},
): Promise<Kit> {
  const kit = readers();
  try {
    for (const found of walk(folder, () => undefined))
      if (found.type !== TYPE.skipped) await kit.entries.add(as(found));
    meanwhile();
    await kit.entries.finish();
  } finally {
    await kit.entries.close();
  }
  return kit;
}

/** A folder with files around the sizes at which another thread gets them. */
function someFiles(): string {
  const folder = tempFolder();
  const random = new Random(3);
  mkdirSync(join(folder, 'below'));
  for (let i = 0; i < 60; i++) {
    const size = random.pick([0, 1, 100, 128 * KiB, 128 * KiB + 1, 300 * KiB, 2 * MiB]);
    writeFileSync(join(folder, i % 3 === 0 ? 'below' : '.', `file ${i}`), random.bytes(size));
  }
  return folder;
}

/** To compare: hashes may be views of different kinds. */
const shown = (read: readonly ReadEntry[]) =>
  read.map(({ entry, chunks }) => ({
    ...entry,
    chunks: chunks.map(({ gap, length, hash }) => `${gap}+${length} ${hex(hash)}`),
  }));

const openDescriptors = () => readdirSync('/proc/self/fd').length;

describe('entries that two threads read', () => {
  it('are those that one reads, in the same order', async () => {
    const folder = someFiles();
    const { read, notes } = await readTogether(folder);
    expect(shown(read)).toEqual(shown(await readAlone(folder)));
    expect(notes).toEqual([]);
  });

  it('have what a file consists of once it has grown meanwhile', async () => {
    const folder = someFiles();
    const file = join(folder, 'last of all');
    writeFileSync(file, new Random(4).bytes(3 * MiB));
    const meanwhile = () => appendFileSync(file, 'more');
    const { read } = await readTogether(folder, { meanwhile });
    expect(shown(read)).toEqual(shown(await readAlone(folder)));
  });

  it('have what was there of a file that is gone meanwhile', async () => {
    const folder = someFiles();
    const file = join(folder, 'last of all');
    writeFileSync(file, new Random(4).bytes(3 * MiB));
    const alone = await readAlone(folder);
    const { read, notes } = await readTogether(folder, { meanwhile: () => rmSync(file) });
    const chunksOf = (all: readonly ReadEntry[]) => shown(all).map(({ path, chunks }) => ({ path, chunks }));
    expect(chunksOf(read)).toEqual(chunksOf(alone)); // Its ctime is that of its end.
    expect(notes).toEqual([]);
  });

  it('are read here where the other thread gets nothing, and noted where nobody does', async () => {
    const folder = someFiles();
    const failing = (isForBoth: boolean) => (found: Found) => {
      if (found.type !== TYPE.file) return found;
      const open = () => {
        const file = found.access.open();
        return {
          descriptor: 1_000_000, // Not open.
          read: (target: Uint8Array, position: number) => {
            if (isForBoth) throw new LibcError('read', EIO);
            return file.read(target, position);
          },
          seekData: (position: number) => file.seekData(position),
          stat: () => file.stat(),
          flags: () => file.flags(),
          close: () => file.close(),
        };
      };
      const access: Access = {
        open,
        readLink: () => found.access.readLink(),
        attributes: () => found.access.attributes(),
        flags: () => found.access.flags(),
      };
      return { ...found, access };
    };
    const alone = await readAlone(folder);
    const here = await readTogether(folder, { as: failing(false) });
    expect(shown(here.read)).toEqual(shown(alone));
    const nowhere = await readTogether(folder, { as: failing(true) });
    const withContent = alone.filter(({ chunks }) => chunks.length > 0).map(({ entry }) => entry.path);
    expect(nowhere.read.filter(({ entry }) => entry.unreadable).map(({ entry }) => entry.path)).toEqual(
      withContent,
    );
    expect(nowhere.notes.sort()).toEqual(withContent.map((path) => `unreadable ${path}`).sort());
  });

  it('leave no descriptor open, also if nobody waits for them', async () => {
    const folder = someFiles();
    const before = openDescriptors();
    await readTogether(folder);
    expect(openDescriptors()).toBe(before);
    const failed = readTogether(folder, {
      meanwhile: () => {
        throw new Error('something else failed');
      },
    });
    await expect(failed).rejects.toThrow('something else failed');
    expect(openDescriptors()).toBe(before);
  });
});
