/** Runs that stop for ever at one instant, as a killed one does. */

/**
 * Instants of a run at which the machine is another than at the one before: after each call of a program or of qubesd that changes
 * something, and after each change of the journal.
 */
export class Instants {
  readonly #last: number;
  passed = 0;
  #dead: () => void = () => undefined;
  /** Settles when the run has stopped for ever, as a killed one has. */
  readonly died = new Promise<void>((resolve) => {
    this.#dead = resolve;
  });

  /** The run goes no further than its instant number `last`. */
  constructor(last: number) {
    this.#last = last;
  }

  readonly pass = (): Promise<void> => {
    this.passed++;
    if (this.passed < this.#last) return Promise.resolve();
    this.#dead();
    return new Promise(() => undefined);
  };

  /** `object` with an instant after each call that `changes` something. */
  around<T extends object>(object: T, changes: (method: string, args: readonly unknown[]) => boolean): T {
    return new Proxy(object, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== 'function') return value;
        return async (...args: unknown[]): Promise<unknown> => {
          const answer: unknown = await (Reflect.apply(value, target, args) as Promise<unknown>);
          if (changes(String(name), args)) await this.pass();
          return answer;
        };
      },
    });
  }
}
