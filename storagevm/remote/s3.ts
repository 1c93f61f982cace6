/**
 * An S3 bucket, or a part of one, as a place for files: keys are a prefix and the store's names, so a copy of the bucket is a
 * store in a folder. One request for each file: no object is so large that it had to be sent in parts.
 */

import { createHash } from 'node:crypto';
import { BackupError } from '../../shared/errors.ts';
import { objectOf, rootNumber } from '../back-end.ts';
import type { Listed, StoreName } from '../back-end.ts';
import type { Page, Remote } from './remote.ts';
import { DAY, S3Connection, readBody } from './s3-connection.ts';
import type { S3Options } from './s3-connection.ts';
import { isCondition, isGone, isLocked, isUnknownCondition } from './s3-errors.ts';

export class S3Remote implements Remote {
  readonly place: string;
  readonly #s3: S3Connection;

  constructor(options: S3Options | S3Connection) {
    this.#s3 = options instanceof S3Connection ? options : new S3Connection(options);
    this.place = this.#s3.place;
  }

  async read(name: StoreName, max: number): Promise<Uint8Array | undefined> {
    const { sdk, client } = await this.#s3.load();
    try {
      const answer = await client.send(new sdk.GetObjectCommand(this.#s3.file(name)));
      return await readBody(answer, name, max);
    } catch (error) {
      if (isGone(error)) return undefined;
      throw this.#s3.failure('reading', error);
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
    const { sdk, client } = await this.#s3.load();
    const { bucket, prefix } = this.#s3.options;
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
      throw this.#s3.failure('listing', error);
    }
  }

  async remove(name: StoreName): Promise<boolean> {
    const { sdk, client } = await this.#s3.load();
    try {
      await client.send(new sdk.DeleteObjectCommand(this.#s3.file(name)));
      return true;
    } catch (error) {
      if (isGone(error)) return true;
      if (this.#s3.options.lock !== undefined && isLocked(error)) return false;
      throw this.#s3.failure('removing', error);
    }
  }

  /** A bucket has no end that it would tell. */
  room(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  async #put(name: StoreName, bytes: Uint8Array, condition: { readonly IfNoneMatch?: '*' }): Promise<void> {
    const { sdk, client } = await this.#s3.load();
    try {
      await client.send(
        new sdk.PutObjectCommand({
          ...this.#s3.file(name),
          Body: Buffer.from(bytes), // A request that was answered early, or given up, may still be sending it.
          ContentLength: bytes.length,
          ...condition,
          ...this.#retention(name, bytes),
        }),
      );
    } catch (error) {
      throw this.#s3.failure('storing', error);
    }
  }

  /** Requests with a retention must carry a checksum of their own. */
  #retention(name: StoreName, bytes: Uint8Array) {
    const { lock } = this.#s3.options;
    if (lock === undefined || (objectOf(name) === undefined && rootNumber(name) === undefined)) return {};
    return {
      ObjectLockMode: lock.mode,
      ObjectLockRetainUntilDate: new Date(Date.now() + lock.days * DAY),
      ContentMD5: createHash('md5').update(bytes).digest('base64'),
    };
  }
}
