/** Which store is the primary one: whose compare-and-set decides what is published. Chosen once, changed only by a person (R44). */

import { join } from 'node:path';
import { utf8 } from '../../shared/bytes.ts';
import { makePrivateFolder, readFileIfAny, replaceFile } from './files.ts';

export class PrimaryFile {
  readonly #file: string;

  constructor(stateFolder: string) {
    const folder = join(stateFolder, 'pins');
    makePrivateFolder(folder);
    this.#file = join(folder, 'primary');
  }

  /** The name of the store that was chosen, if one was. */
  read(): string | undefined {
    const bytes = readFileIfAny(this.#file);
    return bytes === undefined ? undefined : Buffer.from(bytes).toString('latin1').trim();
  }

  write(name: string): void {
    if (this.read() !== name) replaceFile(this.#file, utf8(`${name}\n`));
  }
}
