/**
 * Volumes that were made to harm whoever reads them: file systems with damaged, crafted and contradictory tables, and names that fool a
 * terminal or a path. Made with the machine's own tools; the same ones each time.
 */

import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import type { FileSystem } from '../../dom0/domains/local/file-system.ts';
import { KINDS, makeImage, shell, withMounted } from '../support/images.ts';
import { Random } from '../support/random.ts';

const MiB = 1024 * 1024;

/** What becomes of a VM's backup: it has all files, it tells which ones it has not, or there is none. */
export type Ending = 'whole' | 'warned' | 'failed';

export interface HostileVolume {
  /** Makes it at a path. */
  readonly make: (image: string) => void;
  /** As its kernel likes, one of these. */
  readonly endings: readonly Ending[];
}

/** Of a volume from which files are gone. */
const TOLD = ['warned', 'failed'] as const;

/** Changes bytes of a file between two places. */
function edit(image: string, [from, to]: readonly [number, number], change: (bytes: Buffer) => void): void {
  const file = openSync(image, 'r+');
  try {
    const bytes = Buffer.alloc(to - from);
    readSync(file, bytes, 0, bytes.length, from);
    change(bytes);
    writeSync(file, bytes, 0, bytes.length, from);
  } finally {
    closeSync(file);
  }
}

/** Changes `count` bytes between two places of a buffer. */
function damage(bytes: Buffer, count: number, from = 0, to = bytes.length): void {
  const random = new Random(1);
  for (let i = 0; i < count; i++) {
    const at = from + random.below(to - from);
    bytes.writeUInt8(bytes.readUInt8(at) ^ (1 + random.below(255)), at);
  }
}

/** Of btrfs and xfs (RFC 3720, appendix B.4). */
function crc32c(bytes: Uint8Array): number {
  let sum = 0xffffffff;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0x82f63b78 : 0);
  }
  return ~sum >>> 0;
}

/** With folders and files; for ext4 also `options` of its mkfs. */
function filled(image: string, kind: FileSystem, options = ''): void {
  makeImage(image, kind, options, Math.max(KINDS[kind].size, 64 * MiB));
  const files = 'for i in $(seq 300); do echo "file $i" >"$1/a/$i"; ln -s "$i" "$1/a/b/$i"; done';
  const large = 'for i in 1 2 3; do head -c 100000 /dev/zero | tr "\\0" x >"$1/large-$i"; done';
  withMounted(image, 'rw', `mkdir -p "$1/a/b/c"; ${files}; ${large}`);
}

/** Without checksums, so that what debugfs writes is believed; without a journal, whose replay would undo it. */
function craftedExt4(image: string, ...commands: readonly string[]): void {
  filled(image, 'ext4', '-O ^metadata_csum,^has_journal');
  shell('printf "%s\\n" "$2" | debugfs -w -f - "$1" >/dev/null 2>&1', image, commands.join('\n'));
}

/** Links of each kind that lead nowhere, round in circles or out, and names that are options, commands of a terminal or too long. */
const NAMES = `(cd "$1"
ln -s y x; ln -s x y; ln -s . self; ln -s ../../../../etc/passwd out; ln -s /proc/self/root/etc/shadow further
mkdir folder; ln -s ../folder folder/again
touch -- "$(printf 'line\\nbreak')" "$(printf '\\033[2J\\033]0;owned\\007')" '-rf' ' ' '$(reboot)' '\`reboot\`' "$(head -c 255 /dev/zero | tr '\\0' n)" "$(printf 'not\\377utf8')")`;

const SUPERBLOCK = { ext4: [1024, 2048], xfs: [0, 512], btrfs: [64 * 1024, 68 * 1024] } as const;

/** By the file system whose tools make them, by the VM that has one. */
export const HOSTILE_VOLUMES: Readonly<Record<FileSystem, Readonly<Record<string, HostileVolume>>>> = {
  ext4: {
    'ext4-superblock': {
      make: (image) => {
        filled(image, 'ext4');
        edit(image, SUPERBLOCK.ext4, (bytes) => damage(bytes, 40));
      },
      endings: TOLD,
    },
    'ext4-tables': {
      make: (image) => {
        craftedExt4(image);
        edit(image, [4096, MiB], (bytes) => damage(bytes, 400));
      },
      endings: TOLD,
    },
    'ext4-crafted': {
      make: (image) =>
        craftedExt4(
          image,
          ...['link /a /a/b/c/again', 'link / /a/b/c/root'], // Folders that hold themselves.
          'set_inode_field /large-1 block[5] 0xfffffff0', // Content beyond the disk,
          'set_inode_field /large-2 block[3] 0xffffffff', // at the end of all files,
          'set_inode_field /large-3 block[1] 0x00050004', // and by an index of five levels that is none.
          'set_inode_field /a/1 size 0x7fffffffffffffff',
          'set_inode_field /a/2 mode 0177777',
        ),
      endings: TOLD,
    },
    'ext4-names': {
      make: (image) => {
        makeImage(image, 'ext4');
        withMounted(image, 'rw', NAMES);
      },
      endings: ['whole'],
    },
    noise: {
      make: (image) =>
        edit(emptied(image), [0, 16 * MiB], (bytes) => new Random(1).bytes(bytes.length).copy(bytes)),
      endings: ['failed'],
    },
  },
  xfs: {
    'xfs-superblock': {
      make: (image) => {
        filled(image, 'xfs');
        edit(image, SUPERBLOCK.xfs, (bytes) => {
          damage(bytes, 6, 4, 200);
          bytes.writeUInt32LE(0, 224);
          bytes.writeUInt32LE(crc32c(bytes), 224);
        });
      },
      endings: TOLD,
    },
    'xfs-tables': {
      make: (image) => {
        filled(image, 'xfs');
        edit(image, [512, 256 * 1024], (bytes) => damage(bytes, 400));
      },
      endings: TOLD,
    },
    'xfs-size': {
      make: (image) => {
        makeImage(image, 'xfs');
        withMounted(image, 'rw', 'truncate -s 9223372036854775807 "$1/endless"; echo small >"$1/small"');
      },
      endings: ['warned'],
    },
  },
  btrfs: {
    'btrfs-superblock': {
      make: (image) => {
        filled(image, 'btrfs');
        edit(image, SUPERBLOCK.btrfs, (bytes) => {
          damage(bytes, 6, 0x50, 0xa4); // Roots, sizes and counts.
          bytes.writeUInt32LE(crc32c(bytes.subarray(0x20)), 0);
        });
      },
      endings: TOLD,
    },
    'btrfs-tables': {
      make: (image) => {
        filled(image, 'btrfs');
        edit(image, [16 * MiB, 64 * MiB], (bytes) => damage(bytes, 20_000));
      },
      endings: TOLD,
    },
  },
};

/** A file of zeros. */
function emptied(image: string): string {
  shell('truncate -s 0 "$1"; truncate -s 16M "$1"', image);
  return image;
}
