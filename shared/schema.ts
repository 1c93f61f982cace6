/** Schemas that messages, records and roots share. */

import * as z from 'zod';
import { MAX_BLOB_NUMBER } from './limits.ts';

/** A number of things, or milliseconds since 1970. */
export const count = z.int().min(0);

export const blobNumber = z.int().min(0).max(MAX_BLOB_NUMBER);

/** Text that may reach a terminal or a log: printable ASCII only, whoever sent it. */
export const printable = (max: number) =>
  z
    .string()
    .max(max)
    .regex(/^[\x20-\x7e]*$/);

/** Exactly `length` raw bytes. */
export const bytesOfLength = (length: number) =>
  z.custom<Uint8Array>(
    (value) => value instanceof Uint8Array && value.length === length,
    `must be ${length} bytes`,
  );

/** At most `max` raw bytes. */
export const bytesUpTo = (max: number) =>
  z.custom<Uint8Array>(
    (value) => value instanceof Uint8Array && value.length <= max,
    `must be at most ${max} bytes`,
  );
