/**
 * State as one JSON object with the SHA-256 of its text as the last field, `sum`. A schema notices a byte that breaks the form; the
 * sum notices one that makes another number of a number. It is no seal: who can write the file can write the sum.
 */

import { hash } from 'node:crypto';
import type * as z from 'zod';
import { utf8 } from './bytes.ts';

/** What {@link decodeChecked} found: a value; other bytes than were written; or a form that only another version of this program writes. */
export type Checked<T> =
  | { readonly is: 'whole'; readonly value: T }
  | { readonly is: 'damaged' | 'foreign'; readonly cause?: unknown };

const SUMMED = /^(\{.*?),?"sum":"([0-9a-f]{64})"\}\n$/s;

export function encodeChecked(value: object): Uint8Array {
  const text = JSON.stringify(value);
  return utf8(`${text.slice(0, -1)}${text === '{}' ? '' : ','}"sum":"${sumOf(text)}"}\n`);
}

/** A file without a sum is taken as it is, if it has the form of `schema`: a person, or a version that wrote none, made it. */
export function decodeChecked<S extends z.ZodType>(untrusted: Uint8Array, schema: S): Checked<z.output<S>> {
  const whole = Buffer.from(untrusted).toString('utf8');
  const [, start, sum] = SUMMED.exec(whole) ?? [];
  const text = start === undefined ? whole : `${start}}`;
  if (sum !== undefined && sum !== sumOf(text)) return { is: 'damaged' };
  try {
    return { is: 'whole', value: schema.parse(JSON.parse(text)) };
  } catch (cause) {
    return { is: sum === undefined ? 'damaged' : 'foreign', cause };
  }
}

const sumOf = (text: string) => hash('sha256', text, 'hex');
