/** Parts of events that many of them have, each with what it means. */

import * as z from 'zod';
import { count } from '../../shared/schema.ts';
import { VOLUME_MODES, VOLUME_NAMES } from '../domains/domains.ts';

/** An event: what it tells, and its fields beside `event`, none of which may be another. */
export interface EventSpec {
  readonly about: string;
  readonly schema: z.ZodType;
}

export function event(about: string, shape: z.core.$ZodLooseShape): EventSpec {
  return { about, schema: z.strictObject(shape) };
}

export const text = (about: string) => z.string().describe(about);
export const number = (about: string) => count.describe(about);
export const flag = (about: string) => z.boolean().describe(about);
export const seconds = z.number().min(0).describe('How long it took, in seconds.');
/** ISO 8601, UTC. */
export const time = (about: string) => z.iso.datetime().describe(`${about} ISO 8601, UTC.`);

export const vm = text('The VM.');
export const store = text('The store, as the configuration names it.');
export const snapshot = z.int().min(1).describe('The number of the snapshot.');
export const numbers = (about: string) => z.array(z.int().min(1)).describe(about);
export const texts = (about: string) => z.array(z.string()).describe(about);
export const volume = z.enum(VOLUME_NAMES).describe('The volume of the VM.');
export const mode = z
  .enum(VOLUME_MODES)
  .describe('How the volume was backed up: as files, or as one device of blocks.');
export const root = z.int().min(1).describe('The number of the root.');
export const fingerprint = text('Eight words that name the root.');

/** Of a volume, or of a whole snapshot. */
export const counts = {
  entries: number('Files, folders and all else that has a name.'),
  files: number('Regular files.'),
  bytes: number('Bytes of all regular files.'),
  changedFiles: number('Files that are new, or differ from the snapshot before in content or times.'),
  newFiles: number('Of these: files that were not there before.'),
  rewrittenFiles: number('Of these: files that have other content than before.'),
  deletedFiles: number('Files of the snapshot before that are there no more, or are something else.'),
  readBytes: number('Bytes that were read.'),
  storedBytes: number('Bytes that were added to the store.'),
  skipped: number('Paths that were left out, each with all below it.'),
};

export const volumes = z
  .array(
    z.strictObject({
      name: volume,
      mode,
      size: number('Bytes of the device or image; 0 of a folder.'),
      warnings: number('Warnings while it was read.'),
      ...counts,
    }),
  )
  .describe('Each volume of the snapshot.');

export const anomaly = z
  .strictObject({
    files: number('Files of the snapshot before.'),
    deleted: number('Of these: deleted.'),
    rewritten: number('Of these: with other content.'),
    acknowledged: flag('Whether a person has seen it.'),
  })
  .nullable()
  .describe('Much was deleted or rewritten at once; null if not.');
