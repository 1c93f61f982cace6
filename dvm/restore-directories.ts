/**
 * Descriptors of directories below one root, opened component by component without following symlinks. A
 * bounded number is kept open, so that a volume may have any number of directories, nested however deeply.
 */

import type { ByteString } from '../shared/bytes.ts';
import { nameOf, parentOf } from './leaf.ts';
import { close, openDirectoryAt } from './libc.ts';

/** Half of the customary limit of 1,024 descriptors a process would still do. */
const MAX_OPEN = 128;

export class Directories {
  /** The root's descriptor; who opened it closes it. */
  readonly root: number;
  /** Without the root, the least recently used first. */
  readonly #open = new Map<ByteString, number>();
  #lastPath = '' as ByteString;
  #last: number;

  constructor(root: number) {
    this.root = root;
    this.#last = root;
  }

  /**
   * A descriptor of the directory at `path`, good until the next call; `pinned`, from an earlier call, stays good.
   * Throws LibcError: ELOOP or ENOTDIR if a component is no directory.
   */
  open(path: ByteString, pinned?: number): number {
    if (path === this.#lastPath) return this.#last;
    const missing: ByteString[] = [];
    let descriptor = this.root;
    for (let at: ByteString | undefined = path; at !== undefined && at !== ''; at = parentOf(at)) {
      const cached = this.#open.get(at);
      if (cached !== undefined) {
        descriptor = cached;
        this.#open.delete(at);
        this.#open.set(at, cached);
        break;
      }
      missing.push(at);
    }
    for (let at = missing.pop(); at !== undefined; at = missing.pop()) {
      descriptor = openDirectoryAt(descriptor, nameOf(at));
      this.#open.set(at, descriptor);
      this.#evict(descriptor, pinned);
    }
    this.#lastPath = path;
    this.#last = descriptor;
    return descriptor;
  }

  /** Closes the directory at `path`: it is not needed soon. */
  release(path: ByteString): void {
    const descriptor = this.#open.get(path);
    if (descriptor === undefined) return;
    this.#open.delete(path);
    this.#forgetLast(path);
    close(descriptor);
  }

  /** Closes all but the root. */
  closeAll(): void {
    for (const path of [...this.#open.keys()]) this.release(path);
  }

  #evict(current: number, pinned: number | undefined): void {
    for (const [path, descriptor] of this.#open) {
      if (this.#open.size <= MAX_OPEN) return;
      if (descriptor !== current && descriptor !== pinned) this.release(path);
    }
  }

  #forgetLast(path: ByteString): void {
    if (path !== this.#lastPath) return;
    this.#lastPath = '' as ByteString;
    this.#last = this.root;
  }
}
