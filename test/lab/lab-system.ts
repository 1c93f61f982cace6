/** The machine of the suite in the lab: images as the local driver has them, and a storage VM that is a guest and outlives every dom0. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { Sandboxes } from '../../dom0/domains/local/sandbox.ts';
import { homeSystem } from '../e2e/drivers/local-system.ts';
import type { System } from '../e2e/drivers/system.ts';
import { shell } from '../support/images.ts';
import { tempFolder } from '../support/temp.ts';
import { Guest } from './guest.ts';
import { imageIn } from './image-files.ts';
import { storageSocket } from './lab-domains.ts';
import { imageFolder } from './needs.ts';
import { serveGuest } from './served-guest.ts';

/** The storage VM that a home has unless its configuration says otherwise. */
const STORAGE = 'main';

export interface LabSystem extends System {
  /** The storage VM. */
  readonly storage: Guest;
}

/** `folder`: an empty one, for the home. */
export async function labSystem(folder = tempFolder()): Promise<LabSystem> {
  const image = imageFolder();
  const system = homeSystem({ driver: 'lab', folder, keyFile: join(folder, 'key'), image });
  const own = join(folder, 'storage', STORAGE);
  const [file, scratch, root] = ['private.img', 'scratch', 'root'].map((name) => join(own, name)) as [
    string,
    string,
    string,
  ];
  for (const path of [scratch, root]) mkdirSync(path, { recursive: true });
  shell('truncate -s 2G "$1"', file);
  const sandboxes = new Sandboxes('auto', root);
  const drives = [{ file, serial: 'private', access: 'write' }] as const;
  const storage = await Guest.start({ name: STORAGE, image: imageIn(image), sandboxes, drives, scratch });
  onTestFinished(() => storage.kill());
  const server = await serveGuest(storage, storageSocket(folder, STORAGE));
  onTestFinished(() => void server.close());
  return { ...system, storage };
}
