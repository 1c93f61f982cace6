/** Which store is the primary one: whose compare-and-set decides what is published. Chosen once, changed only by a person (R44). */

import { join } from 'node:path';
import * as z from 'zod';
import { printable } from '../../shared/schema.ts';
import { readChecked, writeChecked } from './checked-file.ts';
import { makePrivateFolder } from './files.ts';

/** The name of a store of the configuration. */
const schema = z.strictObject({ primary: printable(64) });

export class PrimaryFile {
  readonly #file: string;

  constructor(stateFolder: string) {
    const folder = join(stateFolder, 'pins');
    makePrivateFolder(folder);
    this.#file = join(folder, 'primary.json');
  }

  /** The name of the store that was chosen, if one was. Throws `io`. */
  read(): string | undefined {
    const advice = 'remove it, then the first store of the configuration is the primary one';
    return readChecked(this.#file, schema, advice)?.primary;
  }

  write(name: string): void {
    if (this.read() !== name) writeChecked(this.#file, { primary: name });
  }
}
