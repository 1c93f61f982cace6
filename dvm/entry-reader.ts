/**
 * Reads all of a volume's entries, each with its chunks. Some files are cut by a second thread meanwhile: entries come back in the
 * order of the walk all the same, a few behind it.
 */

import type { OpenFile } from './access.ts';
import type { ContentReader } from './content.ts';
import { sameState } from './describe.ts';
import type { Describer } from './describe.ts';
import type { ChunkContent } from './digest.ts';
import { TYPE } from './entry.ts';
import type { Entry } from './entry.ts';
import { FileCutter } from './file-cutter.ts';
import { isLibcError } from './libc.ts';
import type { Found } from './walk.ts';

/** An entry and what it consists of. */
export interface ReadEntry {
  readonly entry: Entry;
  readonly chunks: readonly ChunkContent[];
}

/** A file that the other thread has. */
interface Lent {
  readonly found: Found;
  readonly file: OpenFile;
  readonly entry: Entry;
  readonly cutting: Promise<readonly ChunkContent[] | undefined>;
  isCut: boolean;
}

/** Entries that may wait for a file before them. */
const MAX_WAITING = 4096;

export class EntryReader {
  readonly #describer: Describer;
  readonly #reader: ContentReader;
  readonly #done: (read: ReadEntry) => void;
  readonly #cutter = new FileCutter();
  /** In the order of the walk. */
  readonly #waiting: (ReadEntry | Lent)[] = [];

  /** `done` is told of every entry that is there and read. */
  constructor(describer: Describer, reader: ContentReader, done: (read: ReadEntry) => void) {
    this.#describer = describer;
    this.#reader = reader;
    this.#done = done;
  }

  /** Reads the next entry of a walk, or has it read. */
  async add(found: Found): Promise<void> {
    const entry = this.#lend(found) ?? (await this.#read(found));
    if (entry === undefined) return;
    this.#waiting.push(entry);
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      if (isLent(first) && !first.isCut && this.#waiting.length < MAX_WAITING) return;
      await this.#takeFirst(first);
    }
  }

  /** Waits for what others read. */
  async finish(): Promise<void> {
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0])
      await this.#takeFirst(first);
  }

  /** Ends the other thread. */
  async close(): Promise<void> {
    await this.#cutter.close();
    for (const waiting of this.#waiting.splice(0)) if (isLent(waiting)) waiting.file.close();
  }

  async #takeFirst(first: ReadEntry | Lent): Promise<void> {
    const read = isLent(first) ? await this.#takeBack(first) : first;
    this.#waiting.shift();
    if (read !== undefined) this.#done(read);
  }

  /** Undefined if the file is to be read here. */
  #lend(found: Found): Lent | undefined {
    if (found.type !== TYPE.file || !this.#cutter.takes(found.stat)) return undefined;
    const file = this.#reader.reopen(found);
    if (file === undefined) return undefined;
    const { descriptor } = file;
    const entry = descriptor === undefined ? undefined : this.#describeOpen(found, file);
    if (descriptor === undefined || entry === undefined) {
      file.close();
      return undefined;
    }
    const cutting = this.#cutter.cut({ descriptor, size: entry.size });
    const lent = { found, file, entry, cutting, isCut: false };
    const settle = () => (lent.isCut = true);
    cutting.then(settle, settle);
    return lent;
  }

  /** Undefined if it is not what was found, or does not tell. */
  #describeOpen(found: Found, file: OpenFile): Entry | undefined {
    try {
      return sameState(file.stat(), found.stat)
        ? this.#describer.describe({ ...found, flags: file.flags() })
        : undefined;
    } catch (error) {
      if (isLibcError(error)) return undefined; // A full read follows, which names the reason.
      throw error;
    }
  }

  async #takeBack(lent: Lent): Promise<ReadEntry | undefined> {
    const { entry, file, cutting } = lent;
    const chunks = await cutting;
    const read =
      chunks !== undefined && sameState(entry, file.stat()) ? { entry, chunks } : await this.#readAgain(lent);
    file.close();
    return read;
  }

  /** What the other thread could not read, or what changed meanwhile. Its folder may be closed by now. */
  async #readAgain({ found, file, entry }: Lent): Promise<ReadEntry | undefined> {
    const content = await this.#reader.read(found, (chunk) => chunk, { opened: file });
    if (content.kind === 'vanished') return undefined;
    if (content.kind === 'unreadable') return { entry: { ...entry, unreadable: true }, chunks: [] };
    const { size, mtime, ctime } = content.stat;
    return { entry: { ...entry, size, mtime, ctime, flags: content.flags }, chunks: content.chunks };
  }

  async #read(found: Found): Promise<ReadEntry | undefined> {
    if (found.type !== TYPE.file) return this.#described(found, []);
    const content = await this.#reader.read(found, (chunk) => chunk);
    if (content.kind === 'vanished') return undefined;
    if (content.kind === 'unreadable') return this.#described({ ...found, unreadable: true }, []);
    return this.#described({ ...found, stat: content.stat, flags: content.flags }, content.chunks);
  }

  #described(found: Found, chunks: readonly ChunkContent[]): ReadEntry | undefined {
    const entry = this.#describer.describe(found);
    return entry && { entry, chunks };
  }
}

function isLent(waiting: ReadEntry | Lent): waiting is Lent {
  return 'cutting' in waiting;
}
