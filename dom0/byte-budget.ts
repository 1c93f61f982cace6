/** A bound on the bytes that are held at a time. Whoever wants to hold more waits until others gave theirs back. */

export class ByteBudget {
  readonly #limit: number;
  #held = 0;
  #change = Promise.withResolvers<undefined>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Resolves when `bytes` may be held; what is larger than the budget, when nothing else is. */
  async take(bytes: number): Promise<void> {
    while (this.#held > 0 && this.#held + bytes > this.#limit) await this.#change.promise;
    this.#held += bytes;
  }

  /** A negative number: more is held than was asked for. */
  give(bytes: number): void {
    this.#held -= bytes;
    this.#change.resolve(undefined);
    this.#change = Promise.withResolvers();
  }
}
