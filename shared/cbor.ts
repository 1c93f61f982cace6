/**
 * Strict CBOR (RFC 8949, section 4.2.1 "core deterministic encoding"), narrowed to what our messages need:
 * unsigned integers up to 2^53 - 1, byte strings, UTF-8 text, arrays, maps with identifier keys, true, false,
 * null. {@link scan} rejects everything else before a decoder sees it; schemas reject the rest.
 */

import { Encoder } from 'cbor-x/index-no-eval';
import type * as z from 'zod';
import { compareBytes, utf8 } from './bytes.ts';
import { BackupError } from './errors.ts';
import { MAX_CBOR_DEPTH } from './limits.ts';

const codec = new Encoder({
  useRecords: false,
  mapsAsObjects: true,
  variableMapSize: true,
  tagUint8Array: false,
  int64AsNumber: true,
});

/** Map keys are field names: nothing that an object treats specially, such as `__proto__`. */
const KEY = /^[a-z][A-Za-z0-9]{0,31}$/;
const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }); // A byte order mark is kept, and no key.

/** Encodes `value` deterministically. Throws `internal` on a value outside the narrowed data model. */
export function encodeCbor(value: unknown): Uint8Array {
  const bytes = codec.encode(canonical(value));
  return new Uint8Array(bytes); // The encoder reuses its buffer.
}

/** Encodes `value`, checked and converted by `schema`. Throws `internal` on one that does not fit it. */
export function encodeWith<S extends z.ZodType>(schema: S, value: z.output<S>): Uint8Array {
  const result = schema.safeEncode(value);
  if (result.success) return encodeCbor(result.data);
  throw new BackupError(
    'internal',
    `a message to be sent does not fit its schema (${issuesOf(result.error)})`,
  );
}

/**
 * Decodes untrusted bytes through `schema`. The result shares no memory with the input.
 * Throws `protocol` on anything but exactly one well-formed, canonical, schema-conforming item.
 */
export function decodeWith<S extends z.ZodType>(schema: S, untrustedBytes: Uint8Array): z.output<S> {
  scan(untrustedBytes);
  const untrusted: unknown = codec.decode(new Uint8Array(untrustedBytes)); // A copy: byte strings alias their input.
  const result = schema.safeParse(untrusted);
  if (result.success) return result.data;
  throw new BackupError('protocol', `a message does not fit its schema (${issuesOf(result.error)})`);
}

/** Where the first of them are, and what they are. */
function issuesOf({ issues }: z.ZodError): string {
  const where = issues.map((issue) => `${issue.path.join('.') || 'message'}: ${issue.code}`);
  return where.slice(0, 3).join(', ');
}

/** Checks that `bytes` hold exactly one item of the narrowed, deterministic encoding. Throws `protocol`. */
export function scan(bytes: Uint8Array): void {
  const end = scanItem(bytes, 0, 0);
  if (end !== bytes.length) throw malformed('bytes follow the item');
}

function scanItem(bytes: Uint8Array, at: number, depth: number): number {
  if (depth > MAX_CBOR_DEPTH) throw malformed('nested too deeply');
  const { major, value, next } = scanHead(bytes, at);
  switch (major) {
    case 0:
      return next;
    case 2:
    case 3: {
      if (value > bytes.length - next) throw malformed('a string is longer than the message');
      if (major === 3) scanText(bytes.subarray(next, next + value));
      return next + value;
    }
    case 4: {
      if (value > bytes.length - next) throw malformed('an array is longer than the message');
      let cursor = next;
      for (let i = 0; i < value; i++) cursor = scanItem(bytes, cursor, depth + 1);
      return cursor;
    }
    case 5:
      return scanMap(bytes, next, value, depth);
    default:
      return next; // major 7, limited to false, true and null by scanHead
  }
}

function scanMap(bytes: Uint8Array, start: number, pairs: number, depth: number): number {
  if (pairs > bytes.length - start) throw malformed('a map is longer than the message');
  let cursor = start;
  let previous: Uint8Array | undefined;
  for (let i = 0; i < pairs; i++) {
    if (scanHead(bytes, cursor).major !== 3) throw malformed('a map key is not text');
    const end = scanItem(bytes, cursor, depth + 1);
    const key = bytes.subarray(cursor, end);
    if (previous !== undefined && compareBytes(previous, key) >= 0)
      throw malformed('map keys are not sorted and unique');
    const { next } = scanHead(bytes, cursor);
    if (!KEY.test(utf8Decoder.decode(bytes.subarray(next, end))))
      throw malformed('a map key is not an identifier');
    previous = key;
    cursor = scanItem(bytes, end, depth + 1);
  }
  return cursor;
}

/** Major type, argument and where the content starts; refuses indefinite lengths, tags, negatives, floats and long forms. */
function scanHead(bytes: Uint8Array, at: number): { major: number; value: number; next: number } {
  const first = bytes[at];
  if (first === undefined) throw malformed('the message ends too early');
  const major = first >> 5;
  const info = first & 0x1f;
  if (major === 1 || major === 6) throw malformed('negative numbers and tags are not used');
  if (major === 7) {
    if (info < 20 || info > 22) throw malformed('only false, true and null are used');
    return { major, value: info, next: at + 1 };
  }
  if (info < 24) return { major, value: info, next: at + 1 };
  if (info > 27) throw malformed('indefinite lengths are not used');
  const size = 1 << (info - 24);
  if (size > bytes.length - at - 1) throw malformed('the message ends too early');
  let value = 0;
  for (let i = 1; i <= size; i++) value = value * 256 + (bytes[at + i] ?? 0);
  const smallest = size === 1 ? 24 : 2 ** (4 * size);
  if (value < smallest) throw malformed('an integer is not minimal');
  if (value > Number.MAX_SAFE_INTEGER) throw malformed('an integer is out of range');
  return { major, value, next: at + 1 + size };
}

function scanText(bytes: Uint8Array): void {
  try {
    utf8Decoder.decode(bytes);
  } catch (cause) {
    throw new BackupError('protocol', 'malformed message: text is not UTF-8', { cause });
  }
}

/** The same value with map keys in encoding order and integers in the form the encoder writes minimally. */
function canonical(value: unknown): unknown {
  if (value === null || typeof value === 'boolean' || value instanceof Uint8Array) return value;
  if (typeof value === 'string') {
    if (!value.isWellFormed()) throw new BackupError('internal', 'cannot encode half a surrogate pair');
    return value;
  }
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value) || value < 0)
      throw new BackupError('internal', `cannot encode the number ${value}`);
    return value < 2 ** 32 ? value : BigInt(value);
  }
  if (Array.isArray(value)) return value.map(canonical);
  if (typeof value === 'object') {
    const entries = Object.entries(value).filter(([, item]) => item !== undefined);
    entries.sort(([a], [b]) => a.length - b.length || compareBytes(utf8(a), utf8(b)));
    return Object.fromEntries(
      entries.map(([key, item]) => {
        if (!KEY.test(key)) throw new BackupError('internal', `cannot encode the key ${key}`);
        return [key, canonical(item)];
      }),
    );
  }
  throw new BackupError('internal', `cannot encode a ${typeof value}`);
}

function malformed(what: string): BackupError {
  return new BackupError('protocol', `malformed message: ${what}`);
}
