/** A bound on waiting (R56). */

/** Settles like `work`, or rejects with `error()` after `milliseconds`. The work itself goes on. */
export async function within<T>(milliseconds: number, work: Promise<T>, error: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(error()), milliseconds);
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
