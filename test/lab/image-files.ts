/** What guests boot, as files of this machine; image.ts makes it. */

import { join } from 'node:path';

export interface Image {
  readonly kernel: string;
  readonly initramfs: string;
  /** Read-only, for all guests. */
  readonly root: string;
}

export function imageIn(folder: string): Image {
  return {
    kernel: join(folder, 'kernel'),
    initramfs: join(folder, 'initramfs'),
    root: join(folder, 'root.ext4'),
  };
}
