/** What the kernel does with a new file, on file systems as storage VMs have them. */

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { makeImage, mountable, shell, withMounted } from '../support/images.ts';
import { namespaces, program, root, testNeeding } from '../support/needs.ts';
import { PROJECT } from '../support/processes.ts';
import { tempFolder } from '../support/temp.ts';

/** More than is written at a time, and not whole blocks. */
const SIZE = 5 * 1024 * 1024 + 100;
/** What the kernel holds of it for whoever set its length: the last block, of which it made zeros. */
const LAST_BLOCK = 4096;

/** Writes a file into the folder "$1", and tells the bytes of it that are in memory, its hash, and what else is in the folder. */
const SCRIPT = `
  "${process.execPath}" --input-type=module -e '
    import { writeNewFile } from "${join(PROJECT, 'storagevm', 'new-file.ts')}";
    await writeNewFile(process.argv[1], new Uint8Array(${String(SIZE)}).fill(55));
  ' "$1/file" >&2
  fincore --bytes --noheadings --output RES "$1/file"
  sha256sum <"$1/file"
  ls "$1"
`;
const HASH = createHash('sha256').update(new Uint8Array(SIZE).fill(55)).digest('hex');

interface Written {
  readonly inMemory: number;
  readonly hash: string;
  readonly names: readonly string[];
}

function parse(output: string): Written {
  const [inMemory = '', hash = '', ...names] = output.split('\n').filter((line) => line !== '');
  return { inMemory: Number(inMemory), hash: hash.slice(0, 64), names };
}

describe('a large new file', () => {
  for (const kind of ['ext4', 'xfs'] as const)
    testNeeding(mountable(kind), program('fincore'))(`on ${kind} is not in the kernel's memory`, () => {
      const image = join(tempFolder(), 'image');
      makeImage(image, kind, '', 300 * 1024 * 1024);
      const { inMemory, hash } = parse(withMounted(image, 'rw', SCRIPT));
      expect(hash).toBe(HASH);
      expect(inMemory).toBeLessThanOrEqual(LAST_BLOCK);
    });

  testNeeding(mountable('btrfs'), program('fincore'))('on btrfs is what was written', () => {
    const image = join(tempFolder(), 'image');
    makeImage(image, 'btrfs');
    expect(parse(withMounted(image, 'rw', SCRIPT))).toMatchObject({ hash: HASH, names: ['file'] });
  });

  testNeeding(namespaces(), program('fincore'))(
    'is written through memory where the file system knows no other way',
    () => {
      const asRoot = root === undefined ? [] : ['--user', '--map-root-user'];
      const mounted = `mount -t ramfs none "$1"; ${SCRIPT}`;
      const output = shell('unshare "$@"', ...asRoot, '--mount', 'sh', '-euc', mounted, 'sh', tempFolder());
      const { inMemory, hash, names } = parse(output);
      expect({ hash, names }).toEqual({ hash: HASH, names: ['file'] });
      expect(inMemory).toBeGreaterThanOrEqual(SIZE);
    },
  );
});
