/** Images of ours: snapshots of volumes that lie in files, each a file of its own in a private folder. */

import { rm, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import * as z from 'zod';
import { makePrivateFolder } from '../../../state/files.ts';
import { statOf } from '../../stat.ts';
import type { Journal, StepKind, Transaction, Undone } from '../journal.ts';
import { OWN_NAME, QUBES, checkedVid, newName, setting } from './pool-driver.ts';
import type { Places } from './pool-driver.ts';
import type { PoolVolume } from './pool-volume.ts';

const imageData = z.strictObject({
  vm: z.string(),
  folder: z.string().startsWith('/'),
  name: z.string().regex(OWN_NAME),
});
type ImageData = z.output<typeof imageData>;

/** Ours in the folder of a pool. */
const FOLDER = 'qubes-backup';

export class Images {
  readonly #places: Places;
  readonly #images: StepKind<ImageData>;

  constructor(journal: Journal, places: Places) {
    this.#places = places;
    this.#images = journal.register({
      name: 'image',
      schema: imageData,
      survivesReboot: true,
      undo: removeImage,
    });
  }

  /** A path for a snapshot of `volume`, on the file system of its pool; there is nothing yet. */
  async newPath(volume: PoolVolume, transaction: Transaction): Promise<string> {
    const folder = await this.#folder(poolFolder(volume));
    makePrivateFolder(folder);
    const data = { vm: volume.vm, folder, name: newName() };
    await transaction.write(this.#images, data);
    return pathOf(data);
  }

  /** The image of the committed state, as Qubes names it in pools of files. */
  imageOf(volume: PoolVolume): string {
    return this.#places.file(`${join(poolFolder(volume), checkedVid(volume))}.img`);
  }

  /**
   * Blocks are shared within one file system only: the images of a pool that lies on another one than ours lie there too, whether it is
   * `/var/lib/qubes` itself that does.
   */
  async #folder(pool: string): Promise<string> {
    const { images } = this.#places;
    const own = this.#places.file(join(pool, FOLDER));
    if (relative(QUBES, pool).startsWith('..')) return own;
    makePrivateFolder(images);
    return (await deviceOf(images)) === (await deviceOf(this.#places.file(pool))) ? images : own;
  }
}

/** Of a file system, or of a subvolume of one. */
async function deviceOf(folder: string): Promise<number> {
  return (await stat(folder)).dev;
}

/** The folder of a pool of files. */
function poolFolder(volume: PoolVolume): string {
  return setting(volume, 'dir_path', /^(?:\/(?!\.{1,2}(?:\/|$))[^/\0]+)+$/);
}

function pathOf({ folder, name }: ImageData): string {
  return join(folder, `${name}.img`);
}

async function removeImage(data: ImageData): Promise<Undone> {
  const path = pathOf(data);
  const stats = await statOf(path);
  if (stats === undefined) return { outcome: 'nothing', line: `${path} is gone` };
  if (!stats.isFile())
    return { outcome: 'left', line: `left ${path} alone: it is no regular file, so it is not ours` };
  await rm(path);
  return { outcome: 'undone', line: `removed ${path}, a snapshot of VM ${data.vm}` };
}
