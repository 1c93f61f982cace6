/**
 * File systems in images. What an image holds is told by its magic numbers: fixed bytes at fixed places, compared
 * with constants. Nothing else of an image is looked at here: reading it is for the kernel or a disposable.
 */

import { open } from 'node:fs/promises';
import { runTool } from './files.ts';

export const FILE_SYSTEMS = ['ext4', 'xfs', 'btrfs'] as const;
export type FileSystem = (typeof FILE_SYSTEMS)[number];

/** The superblocks' `magic` fields; ext2 and ext3 have that of ext4, whose code reads them. */
const MAGIC: Readonly<Record<FileSystem, { readonly at: number; readonly bytes: string }>> = {
  xfs: { at: 0, bytes: 'XFSB' },
  btrfs: { at: 0x10040, bytes: '_BHRfS_M' },
  ext4: { at: 0x438, bytes: '\x53\xef' },
};

/** Programs that make one, quietly, on what is no block device and whatever was there. */
const MAKE: Readonly<Record<FileSystem, readonly [string, ...string[]]>> = {
  // Inodes of 256 bytes also on small images: nanoseconds need them.
  ext4: ['mkfs.ext4', '-q', '-F', '-m', '0', '-I', '256'],
  xfs: ['mkfs.xfs', '-q', '-f'],
  btrfs: ['mkfs.btrfs', '-q', '-f'],
};

/** What the image at `path` holds; undefined if it is none of those. */
export async function fileSystemOf(path: string): Promise<FileSystem | undefined> {
  const file = await open(path, 'r');
  try {
    for (const kind of FILE_SYSTEMS) {
      const { at, bytes } = MAGIC[kind];
      const found = Buffer.alloc(bytes.length);
      await file.read(found, 0, found.length, at);
      if (found.toString('latin1') === bytes) return kind;
    }
    return undefined;
  } finally {
    await file.close();
  }
}

/** Makes an empty file system of `size` bytes in a new, sparse file. Throws `io` with what the tool said. */
export async function makeImage(path: string, size: number, kind: FileSystem): Promise<void> {
  await runTool('truncate', ['--size', String(size), '--', path]);
  const [program, ...options] = MAKE[kind];
  await runTool(program, [...options, '--', path]);
}
