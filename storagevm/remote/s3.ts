/**
 * An S3 bucket, or a part of one, as a place for files: keys are a prefix and the store's names, so a copy of the bucket is a
 * store in a folder. One request for each file: no object is so large that it had to be sent in parts.
 */

import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import type * as Sdk from '@aws-sdk/client-s3';
import { concat } from '../../shared/bytes.ts';
import { BackupError, messageOf } from '../../shared/errors.ts';
import { objectOf, rootNumber } from '../back-end.ts';
import type { Listed, StoreName } from '../back-end.ts';
import { Transient } from './remote.ts';
import type { Page, Remote } from './remote.ts';
import { failureOf, isCondition, isGone, isLocked, isUnknownCondition } from './s3-errors.ts';

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
const DAY = 24 * 3600_000;

export class S3Remote implements Remote {
  readonly place: string;
  readonly #options: S3Options;
  #loaded: Promise<{ readonly sdk: typeof Sdk; readonly client: Sdk.S3Client }> | undefined;

  constructor(options: S3Options) {
    this.#options = options;
    const { bucket, prefix, endpoint = 'Amazon' } = options;
    this.place = `the S3 bucket ${prefix === '' ? bucket : `${bucket}/${prefix}`} at ${endpoint}`;
  }

  async read(name: StoreName, max: number): Promise<Uint8Array | undefined> {
    const { sdk, client } = await this.#load();
    try {
      const answer = await client.send(new sdk.GetObjectCommand(this.#file(name)));
      return await readBody(answer, name, max);
    } catch (error) {
      if (isGone(error)) return undefined;
      throw this.#failure('reading', error);
    }
  }

  async put(name: StoreName, bytes: Uint8Array): Promise<void> {
    await this.#put(name, bytes, {});
  }

  readonly putIfAbsent = async (name: StoreName, bytes: Uint8Array): Promise<boolean> => {
    try {
      await this.#put(name, bytes, { IfNoneMatch: '*' });
    } catch (error) {
      if (isCondition(error)) return false;
      if (!isUnknownCondition(error)) throw error;
      await this.put(name, bytes);
    }
    return true;
  };

  async page(what: Listed, start: string | undefined): Promise<Page> {
    const { sdk, client } = await this.#load();
    const { bucket, prefix } = this.#options;
    try {
      const answer = await client.send(
        new sdk.ListObjectsV2Command({
          Bucket: bucket,
          Prefix: `${prefix}${what}/`,
          ContinuationToken: start,
        }),
      );
      const files = (answer.Contents ?? []).map(({ Key = '', Size = 0 }) => ({
        name: Key.slice(prefix.length) as StoreName,
        size: Size,
      }));
      const next = answer.IsTruncated === true ? answer.NextContinuationToken : undefined;
      if (answer.IsTruncated === true && next === undefined)
        throw new BackupError('io', `${this.place} ends a listing in the middle`);
      return {
        files: files.filter(({ name }) => objectOf(name) !== undefined || rootNumber(name) !== undefined),
        next,
      };
    } catch (error) {
      throw this.#failure('listing', error);
    }
  }

  async remove(name: StoreName): Promise<boolean> {
    const { sdk, client } = await this.#load();
    try {
      await client.send(new sdk.DeleteObjectCommand(this.#file(name)));
      return true;
    } catch (error) {
      if (isGone(error)) return true;
      if (this.#options.lock !== undefined && isLocked(error)) return false;
      throw this.#failure('removing', error);
    }
  }

  /** A bucket has no end that it would tell. */
  room(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  async #put(name: StoreName, bytes: Uint8Array, condition: { readonly IfNoneMatch?: '*' }): Promise<void> {
    const { sdk, client } = await this.#load();
    try {
      await client.send(
        new sdk.PutObjectCommand({
          ...this.#file(name),
          Body: Buffer.from(bytes), // A request that was answered early, or given up, may still be sending it.
          ContentLength: bytes.length,
          ...condition,
          ...this.#retention(name, bytes),
        }),
      );
    } catch (error) {
      throw this.#failure('storing', error);
    }
  }

  /** Requests with a retention must carry a checksum of their own. */
  #retention(name: StoreName, bytes: Uint8Array) {
    const { lock } = this.#options;
    if (lock === undefined || (objectOf(name) === undefined && rootNumber(name) === undefined)) return {};
    return {
      ObjectLockMode: lock.mode,
      ObjectLockRetainUntilDate: new Date(Date.now() + lock.days * DAY),
      ContentMD5: createHash('md5').update(bytes).digest('base64'),
    };
  }

  #file(name: StoreName): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.#options.bucket, Key: this.#options.prefix + name };
  }

  #failure(doing: string, error: unknown): unknown {
    return failureOf(error, doing, this.place);
  }

  /** Half a second of loading that a storage VM with another back end does not have. */
  #load(): Promise<{ readonly sdk: typeof Sdk; readonly client: Sdk.S3Client }> {
    this.#loaded ??= import('@aws-sdk/client-s3').then((sdk) => ({ sdk, client: this.#connect(sdk) }));
    return this.#loaded;
  }

  #connect(sdk: typeof Sdk): Sdk.S3Client {
    const { endpoint, region, accessKeyId, secretAccessKey, pathStyle, silence = SILENCE } = this.#options;
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

async function readBody(
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
