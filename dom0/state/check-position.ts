/**
 * How far the checks of a store have read its data. Each goes on where the last one ended, in the order of names, which are hashes: a
 * share of the names is a share of the data. So N checks of 100/N percent read all that is there throughout.
 */

import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import { utf8 } from '../../shared/bytes.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { makePrivateFolder, readFileIfAny, replaceFile } from './files.ts';

/** Names are told apart by so many first values. */
const ALL = 2 ** 32;

/** The part of a store that one check reads. */
export class CheckShare {
  /** Where it begins, and how much it is: of ALL. */
  readonly #from: number;
  readonly #size: number;
  readonly #file: string;

  /** `percent`: 0 to 100. The first of a store begins anywhere. */
  constructor(stateFolder: string, store: string, percent: number) {
    const folder = join(stateFolder, 'check');
    makePrivateFolder(folder);
    this.#file = join(folder, store);
    const text = Buffer.from(readFileIfAny(this.#file) ?? []).toString('latin1');
    this.#from = /^\d{1,10}\n$/.test(text) ? Number(text) % ALL : randomInt(ALL);
    this.#size = Math.ceil((percent / 100) * ALL);
  }

  has(id: ObjectId): boolean {
    const position = Number.parseInt(id.slice(0, 8), 16);
    return (position - this.#from + ALL) % ALL < this.#size;
  }

  /** The next one begins where this one ends. Until this was called it would read the same again. */
  done(): void {
    replaceFile(this.#file, utf8(`${(this.#from + this.#size) % ALL}\n`));
  }
}
