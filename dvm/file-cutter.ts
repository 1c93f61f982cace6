/**
 * Files that a second thread reads, cuts and hashes, while the first one reads others: that takes most of the time of a reader that
 * stores nothing, and this program's own code is no work for the thread pool.
 */

import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { BackupError, messageOf } from '../shared/errors.ts';
import { MIN_CHUNK } from '../shared/limits.ts';
import type { ChunkContent } from './digest.ts';
import type { Stat } from './stat.ts';

/** Bytes of the largest file that is handed over: of a larger one the progress is shown. */
const LARGEST = 64 * 1024 * 1024;
/** Files and bytes that may wait for the thread: it shall never wait itself, nor all the rest for it. */
const MAX_FILES = 64;
const MAX_BYTES = 128 * 1024 * 1024;

/** Times that the thread is started, until it runs. */
const STARTS = 3;

/** What the thread is sent. It answers, in the same order, with the chunks, or with undefined. */
export interface FileToCut {
  /** Open for reading. */
  readonly descriptor: number;
  /** Bytes. */
  readonly size: number;
}

interface Waiting {
  readonly file: FileToCut;
  readonly resolve: (chunks: readonly ChunkContent[] | undefined) => void;
  readonly reject: (error: Error) => void;
}

export class FileCutter {
  #worker: Worker | undefined;
  readonly #waiting: Waiting[] = [];
  #bytes = 0;
  #starts = 0;
  #failure: Error | undefined;

  /** Whether a file is better cut there: it is worth the way, has no holes to be passed over, and the thread has time for it. */
  takes({ size, blocks }: Pick<Stat, 'size' | 'blocks'>): boolean {
    const isSuitable = size > MIN_CHUNK && size <= LARGEST && blocks * 512 >= size;
    const hasTime = this.#waiting.length < MAX_FILES && this.#bytes + size <= MAX_BYTES;
    return isSuitable && (hasTime || this.#waiting.length === 0);
  }

  /**
   * The chunks of a file, which stays open until this settles; undefined if it cannot be read. Rejects with `internal` if the thread
   * ended.
   */
  cut(file: FileToCut): Promise<readonly ChunkContent[] | undefined> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) {
        reject(this.#failure);
        return;
      }
      this.#bytes += file.size;
      this.#waiting.push({ file, resolve, reject });
      (this.#worker ??= this.#start()).postMessage(file);
    });
  }

  /** Ends the thread. */
  async close(): Promise<void> {
    this.#starts = STARTS;
    await this.#worker?.terminate();
  }

  /**
   * Node.js asks for the working directory while a thread starts. Reading attributes changes it (libc.ts), and whichever it is by then
   * may be gone from a live volume: then the thread is started again.
   */
  #start(): Worker {
    process.chdir('/');
    this.#starts += 1;
    // Its streams would be tied to those of the process, which belong to the session.
    const worker = new Worker(new URL(`./cutting-thread${extname(import.meta.url)}`, import.meta.url), {
      stdout: true,
      stderr: true,
    });
    let runs = false;
    const ended = (why: string) => {
      if (this.#worker !== worker) return; // It was replaced when it failed, of which its end is told as well.
      if (runs || this.#starts >= STARTS) {
        this.#fail(why);
        return;
      }
      this.#worker = this.#start();
      for (const { file } of this.#waiting) this.#worker.postMessage(file);
    };
    worker.once('online', () => (runs = true));
    worker.on('message', (chunks: readonly ChunkContent[] | undefined) => {
      const first = this.#waiting.shift();
      this.#bytes -= first?.file.size ?? 0;
      first?.resolve(chunks);
    });
    worker.on('error', (error) => ended(messageOf(error)));
    worker.on('exit', () => ended('it ended'));
    return worker;
  }

  #fail(why: string): void {
    this.#failure ??= new BackupError('internal', `the thread that reads files failed: ${why}`);
    for (const { reject } of this.#waiting.splice(0)) reject(this.#failure);
  }
}
