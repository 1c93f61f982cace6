/**
 * What was put lately: one file for each put session, with a row for each object before it is written, and another after
 * it came to the store. By them an
 * object that was put again is kept, however long it was dead, and a fresh one is not taken for dead by a list that was made
 * before it came.
 *
 *     name (32) · store-age in seconds (u32) · bytes that it added to the store, 0 if none, or not yet (u32)
 */

import { randomBytes } from 'node:crypto';
import { lstat, open, readdir, unlink } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BackupError } from '../../shared/errors.ts';
import { idBytes } from '../../shared/ids.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { SESSION_TIMEOUT } from '../../shared/limits.ts';
import { explained, makeFolder, syncFolder, unless } from '../files.ts';
import { PutRows, ROW } from './put-rows.ts';

/** Rows read at once: 2.6 MB. */
const ROWS_AT_ONCE = 64 * 1024;
/** Files and rows above which it is time to read them. */
const MANY_FILES = 256;
const MANY_ROWS = 32 * 1024;
/** Milliseconds that a session goes by the age it knows. */
const AGE_KEPT = 60_000;
/** Seconds after which no session still writes to its file: a session's longest time, and a day for a clock that stood. */
const ENDED = SESSION_TIMEOUT / 1000 + 24 * 3600;

/** The rows of one put session. */
export class PutJournal {
  readonly #folder: string;
  readonly #handle: FileHandle;
  readonly #clock: () => Promise<number>;
  /** The store-age, and until when it is not asked for again, by the process's own clock. */
  #age = { seconds: 0, until: -Infinity };
  #named = false;

  private constructor(folder: string, handle: FileHandle, clock: () => Promise<number>) {
    this.#folder = folder;
    this.#handle = handle;
    this.#clock = clock;
  }

  /** `clock` answers the store-age. */
  static async create(folder: string, clock: () => Promise<number>): Promise<PutJournal> {
    await makeFolder(folder);
    const file = join(folder, randomBytes(8).toString('hex'));
    return new PutJournal(folder, await open(file, 'ax', 0o600), clock);
  }

  /** When it resolves, every other process sees that the object is being put. */
  async add(id: ObjectId, size: number): Promise<void> {
    const row = Buffer.alloc(ROW);
    row.set(idBytes(id));
    if (performance.now() > this.#age.until)
      this.#age = { seconds: await this.#clock(), until: performance.now() + AGE_KEPT };
    row.writeUInt32BE(this.#age.seconds, 32);
    row.writeUInt32BE(size, 36);
    const { bytesWritten } = await explained('noting what is put', () => this.#handle.write(row));
    if (bytesWritten !== ROW)
      throw new BackupError('store-full', 'the storage VM has no room left for its ledger');
  }

  /** Makes all rows durable. */
  async sync(): Promise<void> {
    await this.#handle.datasync();
    // A session that slept for days may come back to a file that was taken for a dead one's.
    if ((await this.#handle.stat()).nlink === 0)
      throw new BackupError('timeout', 'the session took too long: start again');
    if (this.#named) return;
    for (const folder of [this.#folder, dirname(this.#folder)]) await syncFolder(folder);
    this.#named = true;
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/** How far each file was read, in bytes. */
export type Offsets = Readonly<Record<string, number>>;

/** Reads what was added to all files since it last did. */
export class PutReader {
  readonly #folder: string;
  #offsets: Map<string, number>;

  constructor(folder: string, offsets: Offsets = {}) {
    this.#folder = folder;
    this.#offsets = new Map(Object.entries(offsets));
  }

  get offsets(): Offsets {
    return Object.fromEntries(this.#offsets);
  }

  /** New rows of all files, at most ROWS_AT_ONCE at a time. */
  async *rows(): AsyncGenerator<PutRows> {
    const files = new Set(await this.#files());
    for (const file of this.#offsets.keys()) if (!files.has(file)) this.#offsets.delete(file);
    for (const file of files) yield* this.#rowsOf(file);
  }

  /** True if so much was put that it should be taken in, even if nothing else is to do. */
  async isFull(): Promise<boolean> {
    const files = await this.#files();
    let bytes = 0;
    for (const file of files)
      bytes +=
        ((await unless('ENOENT', lstat(join(this.#folder, file))))?.size ?? 0) -
        (this.#offsets.get(file) ?? 0);
    return files.length > MANY_FILES || bytes > MANY_ROWS * ROW;
  }

  /** Removes files that were read to their end and that nobody writes to any more. `age`: the store-age. */
  async removeEnded(age: number): Promise<void> {
    for (const file of await this.#files()) {
      const path = join(this.#folder, file);
      const last = await this.#lastAge(path);
      const size = (await unless('ENOENT', lstat(path)))?.size ?? 0;
      if (last !== undefined && age - last > ENDED && (this.#offsets.get(file) ?? 0) + ROW > size) {
        await unless('ENOENT', unlink(path));
        this.#offsets.delete(file);
      }
    }
  }

  async #files(): Promise<string[]> {
    const names = (await unless('ENOENT', readdir(this.#folder))) ?? [];
    return names.filter((name) => /^[0-9a-f]{16}$/.test(name)).sort();
  }

  async *#rowsOf(file: string): AsyncGenerator<PutRows> {
    const handle = await unless('ENOENT', open(join(this.#folder, file), 'r'));
    if (handle === undefined) return;
    try {
      for (;;) {
        const at = this.#offsets.get(file) ?? 0;
        const left = Math.max(0, (await handle.stat()).size - at);
        // No more than there is: rows of hundreds of files may be held at once.
        const bytes = Buffer.alloc(Math.min(left, ROWS_AT_ONCE * ROW));
        const { bytesRead } = await handle.read(bytes, 0, bytes.length, at);
        const rows = new PutRows(bytes.subarray(0, bytesRead));
        if (rows.count === 0) return; // At the end; what is less than a row, a crash cut short before it was acknowledged.
        yield rows;
        this.#offsets.set(file, at + rows.count * ROW);
      }
    } finally {
      await handle.close();
    }
  }

  /** The store-age at the last row of a file, 0 if it has none. */
  async #lastAge(path: string): Promise<number | undefined> {
    const handle = await unless('ENOENT', open(path, 'r'));
    if (handle === undefined) return undefined;
    try {
      const { size } = await handle.stat();
      const whole = Math.floor(size / ROW) * ROW;
      if (whole === 0) return 0;
      const { buffer } = await handle.read(Buffer.alloc(ROW), 0, ROW, whole - ROW);
      return [...new PutRows(buffer)][0]?.at;
    } finally {
      await handle.close();
    }
  }
}
