/**
 * Writes the one file of a device's tree (device.ts) onto a device or image, bit for bit. That may be larger, as Qubes OS makes no
 * volume smaller: all after the file becomes zeros. Zeros become
 * holes of an image. A device is asked first: what reads as zeros there already is not written, so that a fresh thin one
 * stays thin; anything else, say of an earlier owner, is overwritten.
 */

import { closeSync, fsync, ftruncateSync, readSync } from 'node:fs';
import { promisify } from 'node:util';
import { BackupError, messageOf, systemCode } from '../shared/errors.ts';
import { MAX_SEGMENT } from '../shared/limits.ts';
import { DEVICE_ENTRY, openDevice } from './device.ts';
import { TYPE } from './entry.ts';
import type { Chunk, Entry } from './entry.ts';
import { damagedTree } from './leaf.ts';
import { sizeOf } from './libc.ts';
import type { PackReader } from './pack-reader.ts';
import type { Report } from './restore-report.ts';
import { runsOf, writeRun } from './sparse.ts';
import type { TreeRecord } from './tree.ts';

/** Bytes of a device looked at in one go. */
const PIECE = MAX_SEGMENT;
const ZEROS = new Uint8Array(PIECE);

const sync = promisify(fsync);

export class DeviceWriter {
  readonly #descriptor: number;
  readonly #isDevice: boolean;
  readonly #size: number;
  readonly #packs: PackReader;
  readonly #report: Report;
  readonly #piece = Buffer.alloc(PIECE);
  #entry: Entry | undefined;
  #position = 0;

  /** Throws `io` if there is no device or image to write at `path`. */
  constructor(path: string, packs: PackReader, report: Report) {
    try {
      const { descriptor, isDevice } = openDevice(path, 'r+');
      this.#descriptor = descriptor;
      this.#isDevice = isDevice;
    } catch (cause) {
      throw new BackupError('io', `the device to write to cannot be opened: ${messageOf(cause)}`, { cause });
    }
    this.#size = sizeOf(this.#descriptor);
    this.#packs = packs;
    this.#report = report;
  }

  /** Writes a batch of records, which continue those before. Throws `store-damaged`, or `io`. */
  async write(records: readonly TreeRecord[]): Promise<void> {
    this.#packs.prefetch(records.flatMap((record) => (record.kind === 'chunk' ? [record.chunk] : [])));
    for (const record of records) {
      if (record.kind === 'entry') this.#begin(record.entry);
      else await this.#write(record.chunk);
    }
  }

  /** Writes what follows the last chunk, and makes everything durable. Throws as {@link write}. */
  async finish(): Promise<void> {
    if (this.#entry === undefined) throw damagedTree('it is not that of a device');
    await this.#clear(this.#position, this.#size);
    await this.#attempt(() => sync(this.#descriptor));
    this.#report.entries += 1;
    this.#report.files += 1;
    this.#report.bytes = this.#size;
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  #begin(entry: Entry): void {
    if (entry.path === '') return;
    if (entry.path !== DEVICE_ENTRY || entry.type !== TYPE.file || this.#entry !== undefined)
      throw damagedTree('it is not that of a device');
    if (entry.size > this.#size)
      throw new BackupError(
        'io',
        `the device to write to has ${this.#size} bytes, fewer than its backup, which has ${entry.size}`,
      );
    this.#entry = entry;
    if (this.#isDevice) return;
    ftruncateSync(this.#descriptor, 0); // Whatever it had is gone, and all of it is one hole.
    ftruncateSync(this.#descriptor, this.#size);
  }

  async #write(chunk: Chunk): Promise<void> {
    const start = this.#position + chunk.gap;
    await this.#clear(this.#position, start);
    const bytes = await this.#packs.read(chunk);
    for (const run of runsOf(bytes, start)) {
      if (run.isZero) await this.#clear(start + run.from, start + run.to);
      else await this.#attempt(() => writeRun(this.#descriptor, bytes, run, start));
    }
    this.#position = start + bytes.length;
    this.#report.bytes = this.#position;
    await this.#report.tick();
  }

  /** Makes the bytes `from` up to `to` zero, by writing only where they are not. */
  async #clear(from: number, to: number): Promise<void> {
    if (!this.#isDevice) return;
    for (let at = from; at < to;) {
      const piece = this.#piece.subarray(0, Math.min(PIECE, to - at));
      const count = await this.#attempt(() => readSync(this.#descriptor, piece, 0, piece.length, at));
      if (count === 0) throw new BackupError('io', `the device to write to ends at ${at}`);
      for (const run of runsOf(piece.subarray(0, count), at)) {
        if (!run.isZero) await this.#attempt(() => writeRun(this.#descriptor, ZEROS, run, at));
      }
      at += count;
      this.#report.bytes = at;
      await this.#report.tick();
    }
  }

  async #attempt<T>(call: () => T | Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (cause) {
      const full = systemCode(cause) === 'ENOSPC' ? ': make room and restore again' : '';
      throw new BackupError('io', `the device cannot be written (${messageOf(cause)})${full}`, { cause });
    }
  }
}
