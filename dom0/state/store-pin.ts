/**
 * What this machine remembers of each store by itself, beside the newest root of all (pin.ts): the last root that it was seen
 * with. A store that is put back, or replaced, is so told from one that only missed roots (R44).
 */

import { statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import type { RepositoryId, RootHash } from '../../shared/ids.ts';
import type { Root } from '../../shared/root.ts';
import { readChecked, writeChecked } from './checked-file.ts';
import { makePrivateFolder } from './files.ts';
import { hexText } from './pin.ts';

const storePinSchema = z.strictObject({
  repository: hexText<RepositoryId>(32),
  counter: z.int().min(1),
  hash: hexText<RootHash>(64),
  /** True if the store said that a live list waits for its owner; absent if it did not. */
  waits: z.literal(true).optional(),
});

export type StorePin = z.output<typeof storePinSchema>;

export class StorePinFile {
  readonly #file: string;

  constructor(stateFolder: string, store: string) {
    const folder = join(stateFolder, 'pins', 'stores');
    makePrivateFolder(folder);
    this.#file = join(folder, `${store}.json`);
  }

  read(): StorePin | undefined {
    return readChecked(this.#file, storePinSchema, 'move it away to trust that store anew');
  }

  /** Remembers that the store has `root` now, and whether it waits for its owner; as before if that is not known. */
  write({ hash, body: { repository, counter } }: Root, waits?: boolean): void {
    const [now, before] = [new Date(), this.read()];
    const waiting = (waits ?? before?.waits === true) ? { waits: true } : {};
    if (before?.hash === hash && (before.waits === true) === 'waits' in waiting)
      utimesSync(this.#file, now, now);
    else writeChecked(this.#file, { repository, counter, hash, ...waiting });
  }

  /** When write() was last called, in milliseconds since 1970; undefined if never. */
  seen(): number | undefined {
    return statSync(this.#file, { throwIfNoEntry: false })?.mtimeMs;
  }
}
