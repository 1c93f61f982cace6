/** A bound on what is held, or under way, at a time. Whoever wants more waits until others gave theirs back, in the order of coming. */

export class Semaphore {
  readonly #limit: number;
  #held = 0;
  readonly #waiting: { readonly amount: number; readonly resolve: () => void }[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Resolves when `amount` may be held; what is larger than the limit, when nothing else is. */
  async take(amount: number): Promise<void> {
    if (this.#waiting.length === 0 && this.#fits(amount)) {
      this.#held += amount;
      return;
    }
    await new Promise<void>((resolve) => this.#waiting.push({ amount, resolve }));
  }

  /** A negative number: more is held than was asked for. */
  give(amount: number): void {
    this.#held -= amount;
    for (
      let first = this.#waiting[0];
      first !== undefined && this.#fits(first.amount);
      first = this.#waiting[0]
    ) {
      this.#waiting.shift();
      this.#held += first.amount;
      first.resolve();
    }
  }

  /** Does `work` while one is held. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    await this.take(1);
    try {
      return await work();
    } finally {
      this.give(1);
    }
  }

  #fits(amount: number): boolean {
    return this.#held <= 0 || this.#held + amount <= this.#limit;
  }
}
