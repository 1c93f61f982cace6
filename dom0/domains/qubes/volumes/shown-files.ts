/**
 * Images where udev does not hide them: a loop device over an image below /var/lib/qubes, or of any `appvms` folder, is offered to
 * no VM. An image that lies there, that of a temporary VM or a snapshot of ours that has to be beside it, is bound to a file of ours; the
 * kernel then names that one as the device's.
 */

import { lstat, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { BackupError } from '../../../../shared/errors.ts';
import { makePrivateFolder } from '../../../state/files.ts';
import { isFile, statOf } from '../../stat.ts';
import type { Journal, StepKind, Transaction, Undone } from '../journal.ts';
import type { ToolRunner } from '../tools/tools.ts';
import { insist } from './patience.ts';
import { newName, notThere, subjectOf } from './pool-driver.ts';
import type { Places, Source } from './pool-driver.ts';
import type { PoolVolume } from './pool-volume.ts';

const shownData = z.strictObject({
  vm: z.string(),
  place: z.string().regex(/^\/(?:[^\0]+\/)?qib-[0-9a-f]{8}\.img$/),
});
type ShownData = z.output<typeof shownData>;

export class ShownFiles {
  readonly #tools: ToolRunner;
  readonly #places: Places;
  readonly #patience: number;
  readonly #shown: StepKind<ShownData>;

  constructor(tools: ToolRunner, journal: Journal, places: Places, patience: number) {
    this.#tools = tools;
    this.#places = places;
    this.#patience = patience;
    this.#shown = journal.register({
      name: 'shown-file',
      schema: shownData,
      survivesReboot: true, // The mount does not, its mount point does.
      undo: (data) => this.#hide(data),
    });
  }

  /** An image that nothing else uses, by a path that Qubes does not hide. Throws `refused` if it is not there. */
  async source(volume: PoolVolume, image: string, transaction: Transaction): Promise<Source> {
    if (!(await isFile(image))) throw notThere(volume, image);
    const path = this.#places.hides(image) ? await this.#show(volume, image, transaction) : image;
    return { path, offered: false };
  }

  /** Another path of the same file. */
  async #show(volume: PoolVolume, file: string, transaction: Transaction): Promise<string> {
    if ((await lstat(file)).size === 0)
      throw new BackupError('io', `${subjectOf(volume)}: ${file} is empty: give the volume a size`);
    const { images } = this.#places;
    makePrivateFolder(images);
    const place = join(images, `${newName()}.img`);
    await transaction.write(this.#shown, { vm: volume.vm, place });
    await (await open(place, 'wx', 0o600)).close();
    await this.#tools.run('mount', ['--bind', '--', file, place], { subject: subjectOf(volume) });
    return place;
  }

  async #hide({ vm, place }: ShownData): Promise<Undone> {
    const subject = `VM ${vm}`;
    const found = await statOf(place);
    if (found === undefined) return { outcome: 'nothing', line: `${place} is gone` };
    if (!found.isFile())
      return { outcome: 'left', line: `left ${place} alone: it is no regular file, so it is not ours` };
    // The mount point is empty, and what is shown never is.
    if (found.size > 0n)
      await insist(() => this.#tools.run('umount', ['--', place], { subject }), this.#patience);
    if ((await lstat(place)).size > 0)
      return { outcome: 'left', line: `left ${place} alone: it is not empty, so it is not ours` };
    await rm(place);
    return { outcome: 'undone', line: `took ${place} away, which showed the image of VM ${vm}` };
  }
}
