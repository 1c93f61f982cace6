/**
 * Writes regular files. Files are collected, then written in the order of their packs, so that each pack is
 * fetched once in a batch; a file that goes on in the next batch stays open. Large chunks are written on the thread pool,
 * while what comes next is made ready.
 */

import { closeSync, ftruncateSync } from 'node:fs';
import type { ByteString } from '../shared/bytes.ts';
import type { Chunk, Entry } from './entry.ts';
import { createFileAt, renameAt, unlinkAt } from './libc.ts';
import type { PackReader } from './pack-reader.ts';
import type { Directories } from './restore-directories.ts';
import { attempt, refused, setOpenMetadata } from './restore-metadata.ts';
import type { Report } from './restore-report.ts';
import { writeSparse, writeSparseOnPool } from './sparse.ts';

/** Bytes of a chunk from which on its writing is handed to the thread pool: a smaller one is written sooner than that. */
const LARGE = 128 * 1024;
/** Chunks that may be under way to the disk: 8 MiB at most, which their packs hold. */
const MAX_UNDER_WAY = 4;

const WRITING = 'writing its content';

/** A place for a new entry: under `temporary` first if something of the final name is to be replaced. */
export interface Slot {
  readonly directory: ByteString;
  readonly name: ByteString;
  readonly temporary: ByteString | undefined;
}

/** A regular file to write, as far as its chunks are known. */
interface FileJob {
  readonly entry: Entry;
  readonly slot: Slot;
  /** Known and not written yet. */
  chunks: Chunk[];
  /** Not known yet. */
  chunksLeft: number;
  descriptor: number | undefined;
  /** Bytes of the file that were taken, and the end of what was written of them: zeros are left out. */
  position: number;
  written: number;
  /** Chunks that are under way, and the last of them. */
  writing: number;
  lastWrite: Promise<void>;
  /** Refused by the system, and noted. */
  failed: boolean;
}

export class ContentWriter {
  readonly #directories: Directories;
  readonly #packs: PackReader;
  readonly #report: Report;
  readonly #flags: boolean;
  #jobs: FileJob[] = [];
  /** The file that the next chunks belong to. */
  #current: FileJob | undefined;
  /** One that failed stays. */
  readonly #underWay = new Set<Promise<void>>();

  /** `flags`: whether chattr flags are restored as well; those of hard-linked files are left to the caller. */
  constructor(directories: Directories, packs: PackReader, report: Report, flags: boolean) {
    this.#directories = directories;
    this.#packs = packs;
    this.#report = report;
    this.#flags = flags;
  }

  /** A file that will have `chunkCount` chunks. */
  begin(entry: Entry, slot: Slot, chunkCount: number): void {
    this.#current = {
      entry,
      slot,
      chunks: [],
      chunksLeft: chunkCount,
      descriptor: undefined,
      position: 0,
      written: 0,
      writing: 0,
      lastWrite: Promise.resolve(),
      failed: false,
    };
    this.#jobs.push(this.#current);
  }

  /** A chunk of the last file; ignored if that one is not to be written. */
  add(chunk: Chunk): void {
    if (this.#current === undefined) return;
    this.#current.chunks.push(chunk);
    this.#current.chunksLeft -= 1;
  }

  /** The next chunks belong to no file of ours. */
  endFile(): void {
    this.#current = undefined;
  }

  /** Writes what was collected. */
  async flush(): Promise<void> {
    const jobs = this.#jobs.sort((a, b) => placeOf(a) - placeOf(b));
    this.#packs.prefetch(jobs.flatMap((job) => (job.failed ? [] : job.chunks)));
    for (const job of jobs) {
      await this.#write(job);
      await this.#report.tick();
    }
    await Promise.all(this.#underWay);
    this.#jobs = jobs.filter((job) => job.chunksLeft > 0);
  }

  /** Closes what a failure left open, and removes what has no proper name. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#underWay); // A descriptor that is written to must not become another file's.
    for (const job of this.#jobs) this.#discard(job, job.slot.temporary !== undefined);
  }

  async #write(job: FileJob): Promise<void> {
    if (job.descriptor === undefined && !job.failed) this.#create(job);
    for (const chunk of job.chunks) {
      if (job.descriptor === undefined || job.failed) break;
      const found = this.#packs.read(chunk);
      const bytes = found instanceof Uint8Array ? found : await found;
      const start = job.position + chunk.gap;
      job.position = start + bytes.length;
      if (bytes.length < LARGE) this.#writeChunk(job, job.descriptor, bytes, start);
      else await this.#handOn(job, job.descriptor, bytes, start);
      this.#report.bytes += chunk.gap;
      if (job.chunks.length > 1) await this.#report.tick();
    }
    job.chunks = [];
    if (job.writing === 0) this.#settle(job);
  }

  #create(job: FileJob): void {
    const { entry, slot } = job;
    job.failed = !attempt(this.#report, entry.path, 'creating it', () => {
      job.descriptor = createFileAt(
        this.#directories.open(slot.directory),
        slot.temporary ?? slot.name,
        0o600,
      );
    });
  }

  #writeChunk(job: FileJob, descriptor: number, bytes: Uint8Array, start: number): void {
    const written = attempt(this.#report, job.entry.path, WRITING, () => {
      this.#wrote(job, bytes, writeSparse(descriptor, bytes, start));
    });
    if (!written) job.failed = true;
  }

  /**
   * Hands a chunk on once few enough are under way. Those of one file are written one after the other: the kernel lets no two threads
   * write a file, and the second would spin until the first is done. Rejects if one of those failed for good.
   */
  async #handOn(job: FileJob, descriptor: number, bytes: Uint8Array, start: number): Promise<void> {
    while (this.#underWay.size >= MAX_UNDER_WAY) await Promise.race(this.#underWay);
    job.writing += 1;
    const writing = job.lastWrite.then(() => this.#writeOnPool(job, descriptor, bytes, start));
    job.lastWrite = writing;
    this.#underWay.add(writing);
    writing.then(
      () => this.#underWay.delete(writing),
      () => undefined,
    );
  }

  async #writeOnPool(job: FileJob, descriptor: number, bytes: Uint8Array, start: number): Promise<void> {
    try {
      this.#wrote(job, bytes, await writeSparseOnPool(descriptor, bytes, start));
    } catch (error) {
      const isFirst = !job.failed;
      job.failed = true;
      if (isFirst) refused(this.#report, job.entry.path, WRITING, error);
    } finally {
      job.writing -= 1;
    }
    if (job.writing === 0 && job.chunks.length === 0) this.#settle(job);
  }

  #wrote(job: FileJob, { length }: Uint8Array, end = 0): void {
    job.written = Math.max(job.written, end);
    this.#report.bytes += length;
  }

  /** All chunks that are known were written, or one was refused. */
  #settle(job: FileJob): void {
    if (job.failed) this.#discard(job, true);
    else if (job.chunksLeft === 0 && job.descriptor !== undefined) this.#complete(job, job.descriptor);
  }

  #complete(job: FileJob, descriptor: number): void {
    const { entry, slot } = job;
    const rest = entry.size - job.position;
    // A hole, not zeros, up to the end.
    if (
      entry.size > job.written &&
      !attempt(this.#report, entry.path, 'setting its size', () => ftruncateSync(descriptor, entry.size))
    ) {
      this.#discard(job, true);
      return;
    }
    const { temporary } = slot;
    const directory = this.#directories.open(slot.directory);
    const flags = this.#flags && !entry.linked;
    setOpenMetadata(this.#report, entry, descriptor, directory, temporary ?? slot.name, flags);
    if (temporary !== undefined) {
      const replaced = attempt(this.#report, entry.path, 'replacing what was there', () =>
        renameAt(directory, temporary, directory, slot.name),
      );
      if (!replaced) {
        this.#discard(job, true);
        return;
      }
    }
    job.descriptor = undefined;
    closeSync(descriptor);
    this.#report.bytes += rest;
    this.#report.entries += 1;
    this.#report.files += 1;
  }

  #discard(job: FileJob, remove: boolean): void {
    if (job.descriptor === undefined) return;
    closeSync(job.descriptor);
    job.descriptor = undefined;
    if (remove) unlinkAt(this.#directories.open(job.slot.directory), job.slot.temporary ?? job.slot.name);
  }
}

/**
 * Where to stand in the order of writing: by the place of the first chunk, files without chunks first, before them
 * the file that is open already. Packs have less than 2^26 bytes.
 */
function placeOf(job: FileJob): number {
  if (job.descriptor !== undefined) return -2;
  const first = job.chunks[0];
  return first === undefined ? -1 : first.place.blob + first.place.offset / 2 ** 26;
}
