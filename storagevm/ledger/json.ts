/** Small files of the ledger: JSON of a fixed shape, replaced whole and durably. */

import { dirname } from 'node:path';
import type { z } from 'zod';
import { utf8 } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { readWhole, replaceFile, syncFolder } from '../files.ts';

/** Longest of them, in bytes. */
const MAX_JSON = 1024 * 1024;

/** The content of `file`, or undefined if there is none. Throws `store-damaged`. */
export async function readJson<S extends z.ZodType>(
  file: string,
  schema: S,
): Promise<z.output<S> | undefined> {
  const bytes = await readWhole(file, MAX_JSON);
  if (bytes === undefined) return undefined;
  try {
    return schema.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch (cause) {
    throw new BackupError('store-damaged', damagedLedger(file), { cause });
  }
}

export async function writeJson<S extends z.ZodType>(
  file: string,
  schema: S,
  value: z.output<S>,
): Promise<void> {
  const folder = dirname(file);
  await replaceFile(folder, file, utf8(`${JSON.stringify(schema.parse(value))}\n`));
  await syncFolder(folder);
}

/** What to do about a file of the ledger that is not what we wrote. */
export function damagedLedger(file: string): string {
  return `${file} in the storage VM is damaged: move the folder ${dirname(file)} away there; then nothing is removed before another grace period has passed`;
}
