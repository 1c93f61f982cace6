/**
 * Which bytes of a volume one scan reads again although they did not change: a window over all files' bytes in path
 * order that moves on from run to run (dom0 chooses where it starts) and wraps around at the end.
 */
export class RecheckWindow {
  readonly #start: number;
  readonly #length: number;
  readonly #total: number;
  #position = 0;

  /** `from` is a share of 2^32 of the `total` bytes. */
  constructor(total: number, length: number, from: number) {
    this.#total = total;
    this.#length = length < total ? length : Infinity; // All of it: also what it has grown by.
    this.#start = Math.floor((total * from) / 2 ** 32);
  }

  /** Moves past a file of `size` bytes; answers where it starts. */
  advance(size: number): number {
    const start = this.#position;
    this.#position += size;
    return start;
  }

  /** True if some of the `length` bytes at `start` are in the window. */
  overlaps(start: number, length: number): boolean {
    if (this.#length === 0 || length === 0) return false;
    const end = start + length;
    const over = this.#start + this.#length;
    return (start < over && end > this.#start) || start < over - this.#total;
  }
}
