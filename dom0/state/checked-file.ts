/** dom0's state as files of JSON that notice a byte that is wrong (shared/checked-json.ts). */

import type * as z from 'zod';
import { BackupError } from '../../shared/errors.ts';
import { decodeChecked, encodeChecked } from '../../shared/checked-json.ts';
import { readFileIfAny, replaceFile } from './files.ts';

/** What is in `file`, or undefined if there is none. Throws `io`; `advice` says what to do where it is damaged. */
export function readChecked<S extends z.ZodType>(
  file: string,
  schema: S,
  advice: string,
): z.output<S> | undefined {
  const bytes = readFileIfAny(file);
  if (bytes === undefined) return undefined;
  const found = decodeChecked(bytes, schema);
  if (found.is === 'whole') return found.value;
  const text =
    found.is === 'damaged'
      ? `${file} is damaged: ${advice}`
      : `${file} is whole, and not of this version of the program: update it, or ${advice}`;
  throw new BackupError('io', text, { cause: found.cause });
}

/** Replaces `file`, durably. */
export function writeChecked(file: string, value: object): void {
  replaceFile(file, encodeChecked(value));
}
