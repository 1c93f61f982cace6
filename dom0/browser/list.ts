/** Rows of which one is chosen and as many are shown as there is room for. */

/** Keys that move the choice, as readline calls them, and the letters that vi has for them. */
const MOVES: Readonly<Record<string, (list: Pick<List<unknown>, 'height' | 'length'>) => number>> = {
  up: () => -1,
  k: () => -1,
  down: () => 1,
  j: () => 1,
  pageup: ({ height }) => -height,
  pagedown: ({ height }) => height,
  home: ({ length }) => -length,
  end: ({ length }) => length,
};

export class List<Row> {
  #rows: readonly Row[];
  #at = 0;
  /** The first row that is shown. */
  #first = 0;
  /** Rows that were shown last. */
  #height = 1;

  constructor(rows: readonly Row[]) {
    this.#rows = rows;
  }

  get rows(): readonly Row[] {
    return this.#rows;
  }

  get length(): number {
    return this.#rows.length;
  }

  get height(): number {
    return this.#height;
  }

  /** The row that is chosen; undefined if there is none at all. */
  get chosen(): Row | undefined {
    return this.#rows[this.#at];
  }

  /** Puts other rows in the place of the old ones; `chosen`, or the row at its place, is then chosen. */
  replace(rows: readonly Row[], chosen: Row | undefined = this.chosen): void {
    this.#rows = rows;
    const found = chosen === undefined ? -1 : rows.indexOf(chosen);
    this.#move(found === -1 ? 0 : found - this.#at);
  }

  choose(row: Row): void {
    this.replace(this.#rows, row);
  }

  /** Moves as the key says; false if it is no such key. */
  key(name: string): boolean {
    const move = Object.hasOwn(MOVES, name) ? MOVES[name] : undefined;
    if (move !== undefined) this.#move(move(this));
    return move !== undefined;
  }

  /** The rows for which there is room, the chosen one among them. */
  shown(height: number): readonly { readonly row: Row; readonly chosen: boolean }[] {
    this.#height = Math.max(height, 1);
    const last = Math.max(this.length - this.#height, 0);
    this.#first = Math.min(Math.max(this.#first, this.#at - this.#height + 1), this.#at, last);
    return this.#rows
      .slice(this.#first, this.#first + this.#height)
      .map((row, index) => ({ row, chosen: this.#first + index === this.#at }));
  }

  #move(by: number): void {
    this.#at = Math.max(Math.min(this.#at + by, this.length - 1), 0);
  }
}
