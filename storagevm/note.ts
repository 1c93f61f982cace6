/** Notes for the storage VM's owner and for dom0's log: what went wrong without failing the session. */

import { writeSync } from 'node:fs';
import { messageOf, systemCode } from '../shared/errors.ts';
import { printableText } from '../shared/format.ts';

/** Notes of one process. A store full of damage must not fill a pipe that nobody reads. */
const MAX_NOTES = 16;
let notes = 0;

/** Writes what `error` says to stderr as one line, the first few times. */
export function note(error: unknown): void {
  notes += 1;
  if (notes > MAX_NOTES) return;
  try {
    writeSync(2, `${printableText(messageOf(error)).slice(0, 500)}\n`);
  } catch (failure) {
    if (systemCode(failure) === undefined) throw failure; // A closed or full stderr: nobody is there to be told.
  }
}
