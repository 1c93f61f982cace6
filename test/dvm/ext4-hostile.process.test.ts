/** Damaged and crafted ext4 images, read without mounting them: an answer or an error, in bounded time. */

import { copyFileSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TYPE } from '../../dvm/entry.ts';
import { walkExt4 } from '../../dvm/ext4.ts';
import { makeDirtyExt4, makeImage, shell } from '../support/images.ts';
import { program, testNeeding } from '../support/needs.ts';
import type { Outcome } from '../support/processes.ts';
import { run } from '../support/processes.ts';
import { Random } from '../support/random.ts';
import { makeTemp, removeTree, tempFolder } from '../support/temp.ts';

const missing = program('mkfs.ext4') ?? program('debugfs');
const needing = testNeeding(missing);
const READ = join(import.meta.dirname, 'read-volume.ts');
const KiB = 1024;
/** Milliseconds within which one small image is read or refused, on a busy machine. */
const BOUND = 60_000;

interface Report {
  readonly notes: readonly { readonly code: string; readonly path: string; readonly detail: string }[];
}

/** What a scan would read of the image. */
async function read(image: string): Promise<Outcome & { readonly report: Report | undefined }> {
  const ended = await run(process.execPath, [READ, 'ext4', image], { timeout: BOUND });
  const last = ended.stdout.toString('utf8').trim().split('\n').at(-1) ?? '';
  return { ...ended, report: ended.code === 0 ? (JSON.parse(last) as Report) : undefined };
}

/** A tree with a bit of everything that has structure of its own: made without root. */
function makeTree(image: string): void {
  const folder = `${image}.source`;
  shell(
    `mkdir -p "$1/many" "$1/a/b/c"; cd "$1"; (cd many; seq -f 'name-%g' 300 | xargs touch)
     head -c 300000 /dev/urandom >a/file; printf end | dd of=a/sparse bs=1 seek=5000000 status=none
     ln a/file a/b/linked; ln -s target a/b/short; ln -s "$(printf %0200d 1)" a/b/long; mkfifo a/b/c/fifo
     for i in $(seq 30); do printf x | dd of=a/b/pieces bs=1 seek=$((i * 9000)) conv=notrunc status=none; done`,
    folder,
  );
  makeImage(image, 'ext4', `-b 1024 -d ${folder}`);
}

let base = '';
beforeAll(() => {
  if (missing !== undefined) return;
  base = makeTemp();
  makeTree(join(base, 'image'));
});
afterAll(() => {
  if (base !== '') removeTree(base);
});

function freshCopy(): string {
  const image = join(tempFolder(), 'image');
  copyFileSync(join(base, 'image'), image);
  return image;
}

/** Damages an image where its structure is, in one of several ways. */
function damage(image: string, random: Random): void {
  const bytes = readFileSync(image);
  // The superblock, descriptors, inodes, folders and extents of this small tree lie in its first pieces.
  const place = () => (random.chance(0.3) ? 1024 + random.below(8 * KiB) : random.below(1500 * KiB));
  const kind = random.below(5);
  if (kind === 0) {
    truncateSync(image, random.below(bytes.length));
    return;
  }
  for (let i = 1 + random.below(60); i > 0; i--) {
    const at = place();
    const length = 1 << random.below(kind === 1 ? 1 : 11);
    if (kind <= 2) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
    else if (kind === 3) bytes.fill(random.below(3) === 0 ? 0xff : 0, at, at + length);
    else bytes.copyWithin(at & ~1023, place() & ~1023, (place() & ~1023) + 1024);
  }
  writeFileSync(image, bytes);
}

describe('R24: a damaged image is read, repaired with a warning, or refused', () => {
  for (let group = 0; group < 4; group++) {
    needing(
      `seeds from ${group * 8}`,
      async () => {
        const kinds = new Set<string>();
        for (let seed = group * 8; seed < group * 8 + 8; seed++) {
          const image = freshCopy();
          damage(image, new Random(seed));
          const { code, signal, stderr, report } = await read(image);
          expect([seed, signal]).toEqual([seed, null]);
          if (code !== 0) expect(stderr).toMatch(/Ext2fsError|BackupError/);
          kinds.add(report === undefined ? 'refused' : report.notes.length > 0 ? 'warned' : 'read');
        }
        expect(kinds.size).toBeGreaterThan(1);
      },
      8 * BOUND,
    );
  }
});

needing('R24: what only the journal has is read, and the journal is not left for later', async () => {
  const image = join(tempFolder(), 'image');
  const long = 'x'.repeat(2000);
  makeDirtyExt4(
    image,
    { first: `old ${long}`, second: 'old', third: 'same' },
    { first: `new ${long}`, second: 'new' },
  );
  expect(shell('debugfs -R "cat /second" "$1" 2>/dev/null', image)).toBe('old');
  const { code, report } = await read(image);
  expect([code, report?.notes]).toEqual([0, []]);
  expect(shell('debugfs -R "cat /second" "$1" 2>/dev/null', image)).toBe('new');
  expect(shell('dumpe2fs -h "$1" 2>/dev/null', image)).not.toContain('needs_recovery');
});

needing('a folder inside itself is taken apart by the check, and named', async () => {
  const image = freshCopy();
  shell('debugfs -w -R "link /a /a/b/c/loop" "$1" 2>/dev/null', image);
  const { code, report } = await read(image);
  expect(code).toBe(0);
  expect(report?.notes).toMatchObject([{ code: 'repaired' }]);
  expect(report?.notes[0]?.detail).toMatch(/loop/);
});

needing('a folder inside itself ends the walk also without the check', () => {
  const image = freshCopy();
  shell('debugfs -w -R "link /a /a/b/c/loop" "$1" 2>/dev/null', image);
  expect(() => [...walkExt4(image, () => undefined)]).toThrow(/directory inode \d+ has two names/);
});

needing('a file whose blocks lie beyond the image is named, and the rest is read', () => {
  const image = freshCopy();
  shell('debugfs -w -R "sif /a/file block[5] 0x00fffff0" "$1" 2>/dev/null', image);
  const notes: string[] = [];
  const paths: string[] = [];
  for (const found of walkExt4(image, (code, path) => notes.push(`${code} ${path}`))) {
    paths.push(found.path);
    if (found.path !== 'a/file' || found.type === TYPE.skipped) continue;
    expect(() => {
      const file = found.access.open();
      try {
        file.read(Buffer.alloc(4096), 0);
      } finally {
        file.close();
      }
    }).toThrow(/ext2fs|read/);
  }
  expect(paths).toContain('many/name-300');
});

needing('an encrypted folder is named as unreadable', () => {
  const image = freshCopy();
  shell('debugfs -w -R "sif /a/b flags 0x80800" "$1" 2>/dev/null', image);
  const notes: string[] = [];
  const found = [...walkExt4(image, (code, path, detail) => notes.push(`${code} ${path} ${detail}`))];
  expect(notes).toEqual(['unreadable a/b open: ENOKEY']);
  expect(found.find(({ path }) => path === 'a/b')).toMatchObject({ unreadable: true });
});

needing('something else than ext4 is refused, and says what to do', async () => {
  const image = join(tempFolder(), 'image');
  writeFileSync(image, new Random(1).bytes(1024 * KiB));
  const { code, stderr } = await read(image);
  expect(code).not.toBe(0);
  expect(stderr).toMatch(/the image holds no ext4 file system that e2fsck can repair/);
});

test('without e2fsck the error names the package', async () => {
  const image = join(tempFolder(), 'image');
  const file = openSync(image, 'w');
  writeSync(file, Buffer.alloc(4096));
  const { code, stderr } = await run(process.execPath, [READ, 'ext4', image], { env: { PATH: '/nowhere' } });
  expect(code).not.toBe(0);
  expect(stderr).toMatch(/install e2fsprogs/);
});
