/**
 * The connection to an S3 service, and what is the same for all requests about one bucket: S3Remote reads and writes files,
 * S3Versions what lies below them, S3Locks how long they are kept.
 */

import type { Readable } from 'node:stream';
import type * as Sdk from '@aws-sdk/client-s3';
import { concat } from '../../shared/bytes.ts';
import { BackupError, messageOf } from '../../shared/errors.ts';
import type { StoreName } from '../back-end.ts';
import { Transient } from './remote.ts';
import { failureOf } from './s3-errors.ts';

export interface S3Options {
  readonly bucket: string;
  /** URL of the service; undefined: that of Amazon. */
  readonly endpoint: string | undefined;
  readonly region: string;
  /** What all keys start with; empty, or ends with a slash. */
  readonly prefix: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** The bucket's name in the path of a request rather than in the name of the host. */
  readonly pathStyle: boolean;
  /** Retention put on each object and root. */
  readonly lock: { readonly days: number; readonly mode: 'GOVERNANCE' | 'COMPLIANCE' } | undefined;
  /** Milliseconds without a byte after which a request has failed. */
  readonly silence?: number;
}

/** Milliseconds to reach the service, and without a byte of a request or an answer. */
const CONNECT_TIMEOUT = 15_000;
const SILENCE = 30_000;
/** Milliseconds. */
export const DAY = 24 * 3600_000;

/** Key and bucket of a file, as requests name it. */
export interface S3File {
  readonly Bucket: string;
  readonly Key: string;
}

export class S3Connection {
  readonly options: S3Options;
  /** See Remote. */
  readonly place: string;
  #loaded: Promise<{ readonly sdk: typeof Sdk; readonly client: Sdk.S3Client }> | undefined;

  constructor(options: S3Options) {
    this.options = options;
    const { bucket, prefix, endpoint = 'Amazon' } = options;
    this.place = `the S3 bucket ${prefix === '' ? bucket : `${bucket}/${prefix}`} at ${endpoint}`;
  }

  file(name: StoreName): S3File {
    return { Bucket: this.options.bucket, Key: this.options.prefix + name };
  }

  /** `error` as {@link Transient} or BackupError. `doing`: what was tried. */
  failure(doing: string, error: unknown): unknown {
    return failureOf(error, doing, this.place);
  }

  /** Half a second of loading that a storage VM with another back end does not have. */
  load(): Promise<{ readonly sdk: typeof Sdk; readonly client: Sdk.S3Client }> {
    this.#loaded ??= import('@aws-sdk/client-s3').then((sdk) => ({ sdk, client: this.#connect(sdk) }));
    return this.#loaded;
  }

  #connect(sdk: typeof Sdk): Sdk.S3Client {
    const { endpoint, region, accessKeyId, secretAccessKey, pathStyle, silence = SILENCE } = this.options;
    return new sdk.S3Client({
      ...(endpoint === undefined ? {} : { endpoint }),
      region,
      credentials: { accessKeyId, secretAccessKey },
      forcePathStyle: pathStyle,
      maxAttempts: 1, // Attempts are ours: the library's end where the body of an answer begins.
      requestHandler: { connectionTimeout: CONNECT_TIMEOUT, socketTimeout: silence },
      // The signature covers the SHA-256 of what is sent. Newer checksums are unknown to many services.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      logger: { trace: ignore, debug: ignore, info: ignore, warn: ignore, error: ignore },
    });
  }
}

/** What the library has to say besides errors is for programmers. */
function ignore(): void {
  return undefined;
}

/** All of an answer, of at most `max` bytes. Throws {@link Transient} if it was cut off, `io` if it is longer. */
export async function readBody(
  answer: Sdk.GetObjectCommandOutput,
  name: StoreName,
  max: number,
): Promise<Uint8Array> {
  const body = answer.Body as Readable; // On Node.js, by the library's documentation.
  const tooLarge = (size: number) => {
    body.destroy();
    return new BackupError('io', `${name} has ${size} bytes or more, ${max} are allowed`);
  };
  const expected = answer.ContentLength;
  if (expected !== undefined && expected > max) throw tooLarge(expected);
  const pieces: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const piece of body as AsyncIterable<Uint8Array>) {
      size += piece.length;
      if (size > max) throw tooLarge(size);
      pieces.push(piece);
    }
  } catch (cause) {
    if (cause instanceof BackupError) throw cause;
    throw new Transient(
      new BackupError('io', `${name} was cut off after ${size} bytes: ${messageOf(cause)}`, { cause }),
    );
  }
  if (expected !== undefined && size !== expected)
    throw new Transient(new BackupError('io', `${name} ended after ${size} of ${expected} bytes`));
  return concat(pieces);
}
