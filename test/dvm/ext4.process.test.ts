/** The reader of ext4 images that are not mounted, held against the kernel's view of the same image. */

import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { makeImage, mountable, shell, withMounted } from '../support/images.ts';
import { testNeeding } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';

const MiB = 1024 * 1024;
const READ = join(import.meta.dirname, 'read-volume.ts');
const FILL = join(import.meta.dirname, 'fill-volume.ts');
const needing = testNeeding(mountable('ext4'));

/** Options of mkfs.ext4, by what they make different. */
const VARIANTS: Readonly<Record<string, string>> = {
  'as made by default': '',
  'with content in inodes': '-O inline_data -I 512',
  'with blocks of 1 KiB': '-b 1024',
  'with clusters of 64 KiB': '-O bigalloc -C 65536 -N 8192',
  'without extents': '-O ^extents,^64bit',
  'with a meta block group, no sparse superblocks': '-O meta_bg,^resize_inode,^sparse_super',
  'with small inodes': '-I 128',
  'with large attributes': '-O ea_inode',
  'without checksums': '-O ^metadata_csum',
  'as ext3': '-t ext3 -I 256',
  'as ext2': '-t ext2 -I 256',
};

function lines(text: string): readonly string[] {
  return text.trim().split('\n');
}

describe('R24: an image that is not mounted reads as the mounted one does', () => {
  Object.entries(VARIANTS).forEach(([title, options], index) => {
    needing(title, () => {
      const image = join(tempFolder(), 'image');
      makeImage(image, 'ext4', options, 160 * MiB);
      withMounted(image, 'rw', '"$2" "$3" "$1" "$4"', process.execPath, FILL, String(index));
      // Without CAP_SYS_ADMIN, as in a disposable.
      const read = 'exec setpriv --bounding-set -sys_admin --inh-caps -sys_admin "$2" "$3" folder "$1"';
      const mounted = withMounted(image, 'ro', `(${read})`, process.execPath, READ);
      const unmounted = shell('"$1" "$2" ext4 "$3"', process.execPath, READ, image);
      expect(lines(mounted).length).toBeGreaterThan(3300);
      expect(lines(unmounted)).toEqual(lines(mounted));
    });
  });
});
