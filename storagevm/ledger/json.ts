/** Small files of the ledger: JSON of a fixed shape that notices a byte that is wrong, replaced whole and durably. */

import { dirname } from 'node:path';
import type * as z from 'zod';
import { decodeChecked, encodeChecked } from '../../shared/checked-json.ts';
import { BackupError } from '../../shared/errors.ts';
import { readWhole, replaceFile, syncFolder } from '../files.ts';

/** Longest of them, in bytes. */
const MAX_JSON = 1024 * 1024;

/** The content of `file`, or undefined if there is none. Throws `store-damaged`, `store-version`. */
export async function readJson<S extends z.ZodType>(
  file: string,
  schema: S,
): Promise<z.output<S> | undefined> {
  const bytes = await readWhole(file, MAX_JSON);
  if (bytes === undefined) return undefined;
  const found = decodeChecked(bytes, schema);
  if (found.is === 'whole') return found.value;
  const { is, cause } = found;
  if (is === 'damaged') throw new BackupError('store-damaged', damagedLedger(file), { cause });
  const text = `${file} in the storage VM is of another version of this program: update it there`;
  throw new BackupError('store-version', text, { cause });
}

export async function writeJson<S extends z.ZodType<object>>(
  file: string,
  schema: S,
  value: z.output<S>,
): Promise<void> {
  const folder = dirname(file);
  await replaceFile(folder, file, encodeChecked(schema.parse(value)));
  await syncFolder(folder);
}

/** What to do about a file of the ledger that is not what we wrote. */
export function damagedLedger(file: string): string {
  return `${file} in the storage VM is damaged: move the folder ${dirname(file)} away there; then nothing is removed before another grace period has passed`;
}
