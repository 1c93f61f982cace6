/** A fresh file system, mounted by loop, for tests that have to see how it behaves. Root only. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { FileSystem } from '../../dom0/domains/local/file-system.ts';
import { makeImage, shell } from '../support/images.ts';
import { tempFolder } from '../support/temp.ts';

const SIZE = 2 ** 30;

/** The empty root folder of a new file system; unmounted when the running test finishes. */
export function mountedFileSystem(kind: FileSystem): string {
  const work = tempFolder();
  const [image, folder] = [join(work, 'image'), join(work, 'mounted')];
  makeImage(image, kind, kind === 'ext4' ? '-I 256' : '', SIZE);
  mkdirSync(folder);
  shell('mount -o loop "$1" "$2"; rm -rf "$2"/lost+found', image, folder);
  onTestFinished(() => {
    shell('umount "$1"', folder);
  });
  return folder;
}
