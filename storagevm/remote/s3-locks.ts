/** Object lock of an S3 bucket: how long files may not be deleted, put off for those that are still needed. */

import type { StoreName } from '../back-end.ts';
import type { Locks } from '../ledger/renew.ts';
import { Attempts } from './retry.ts';
import { DAY } from './s3-connection.ts';
import type { S3Connection } from './s3-connection.ts';
import { isGone } from './s3-errors.ts';

export class S3Locks implements Locks {
  readonly period: number;
  readonly #s3: S3Connection;
  readonly #lock: { readonly days: number; readonly mode: 'GOVERNANCE' | 'COMPLIANCE' };
  readonly #attempts: Attempts;

  constructor(
    s3: S3Connection,
    lock: { readonly days: number; readonly mode: 'GOVERNANCE' | 'COMPLIANCE' },
    attempts = new Attempts(),
  ) {
    this.#s3 = s3;
    this.#lock = lock;
    this.#attempts = attempts;
    this.period = (lock.days * DAY) / 2;
  }

  async renew(names: readonly StoreName[], now: number): Promise<void> {
    const until = new Date(now + this.#lock.days * DAY);
    await Promise.all(names.map((name) => this.#attempts.run(() => this.#renew(name, until))));
  }

  async #renew(name: StoreName, until: Date): Promise<void> {
    const { sdk, client } = await this.#s3.load();
    const Retention = { Mode: this.#lock.mode, RetainUntilDate: until };
    try {
      await client.send(new sdk.PutObjectRetentionCommand({ ...this.#s3.file(name), Retention }));
    } catch (error) {
      if (!isGone(error)) throw this.#s3.failure('renewing the object lock', error);
    }
  }
}
