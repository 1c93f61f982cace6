/**
 * What lies below the files of an S3 bucket that keeps versions: whoever writes over a file adds a version, and whoever deletes one
 * without naming a version adds a marker that hides it. Only a sweeper looks at these (docs/back-ends.md), with a key that
 * the storage VM does not have. One call is one attempt, as of a Remote.
 */

import type { StoreName } from '../back-end.ts';
import { BackupError } from '../../shared/errors.ts';
import { readBody } from './s3-connection.ts';
import type { S3Connection } from './s3-connection.ts';
import { isGone, isLocked } from './s3-errors.ts';

/** One version of a file. */
export interface Version {
  readonly name: StoreName;
  readonly id: string;
  /** In bytes; 0 of a marker. */
  readonly size: number;
  /** When it was stored, milliseconds since 1970 by the clock of the service. */
  readonly storedAt: number;
}

/** A piece of a listing. */
export interface VersionPage {
  /** Sorted by name over all pages; of one name the newest first. */
  readonly versions: readonly Version[];
  /** What hides files. */
  readonly markers: readonly Version[];
  /** Where the next page starts; undefined if there is none. */
  readonly next: VersionPlace | undefined;
}

interface VersionPlace {
  readonly key: string | undefined;
  readonly id: string | undefined;
}

export class S3Versions {
  readonly #s3: S3Connection;

  constructor(s3: S3Connection) {
    this.#s3 = s3;
  }

  get place(): string {
    return this.#s3.place;
  }

  /** Throws `usage` unless the bucket keeps versions: where it does not, what is written over is gone. */
  async require(): Promise<void> {
    const { sdk, client } = await this.#s3.load();
    const { bucket } = this.#s3.options;
    try {
      const { Status } = await client.send(new sdk.GetBucketVersioningCommand({ Bucket: bucket }));
      if (Status === 'Enabled') return;
    } catch (error) {
      throw this.#s3.failure('asking for its versioning', error);
    }
    throw new BackupError('usage', `${this.place} keeps no versions: switch its versioning on`);
  }

  /** All versions of the files whose names start with `start`. */
  async page(start: string, from: VersionPlace | undefined): Promise<VersionPage> {
    const { sdk, client } = await this.#s3.load();
    const { bucket, prefix } = this.#s3.options;
    try {
      const answer = await client.send(
        new sdk.ListObjectVersionsCommand({
          Bucket: bucket,
          Prefix: prefix + start,
          KeyMarker: from?.key,
          VersionIdMarker: from?.id,
        }),
      );
      const place = { key: answer.NextKeyMarker, id: answer.NextVersionIdMarker };
      if (answer.IsTruncated === true && place.key === undefined)
        throw new BackupError('io', `${this.place} ends a listing in the middle`);
      const rows = (entries: readonly Entry[] = []): readonly Version[] =>
        entries.map(({ Key = '', VersionId = 'null', Size = 0, LastModified }) => ({
          name: Key.slice(prefix.length) as StoreName,
          id: VersionId,
          size: Size,
          storedAt: LastModified?.getTime() ?? Infinity,
        }));
      return {
        versions: rows(answer.Versions),
        markers: rows(answer.DeleteMarkers),
        next: answer.IsTruncated === true ? place : undefined,
      };
    } catch (error) {
      throw this.#s3.failure('listing versions', error);
    }
  }

  /** The bytes of a version; undefined if it is gone. Throws `io` if they are more than `max`. */
  async read({ name, id }: Version, max: number): Promise<Uint8Array | undefined> {
    const { sdk, client } = await this.#s3.load();
    try {
      const answer = await client.send(new sdk.GetObjectCommand({ ...this.#s3.file(name), VersionId: id }));
      return await readBody(answer, name, max);
    } catch (error) {
      if (isGone(error)) return undefined;
      throw this.#s3.failure('reading a version', error);
    }
  }

  /** Removes a version or a marker, which need not be there, for good. False if a lock against deletion keeps it. */
  async remove({ name, id }: Version): Promise<boolean> {
    const { sdk, client } = await this.#s3.load();
    try {
      const command = new sdk.DeleteObjectCommand({ ...this.#s3.file(name), VersionId: id });
      // Swift waits for a body, unless told that there is none, when it has to bring back the version below.
      command.middlewareStack.add(
        (next) => (args) => {
          if (isRequest(args.request)) args.request.headers['content-length'] = '0';
          return next(args);
        },
        { step: 'build' },
      );
      await client.send(command);
      return true;
    } catch (error) {
      if (isGone(error)) return true;
      if (this.#s3.options.lock !== undefined && isLocked(error)) return false;
      throw this.#s3.failure('removing a version', error);
    }
  }
}

function isRequest(request: unknown): request is { readonly headers: Record<string, string> } {
  return typeof request === 'object' && request !== null && 'headers' in request;
}

/** A row of such a listing, as the library has it. */
interface Entry {
  readonly Key?: string | undefined;
  readonly VersionId?: string | undefined;
  readonly Size?: number | undefined;
  readonly LastModified?: Date | undefined;
}
