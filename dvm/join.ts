/** Walks two sequences in path order side by side. */

import type { ByteString } from '../shared/bytes.ts';
import { comparePaths } from './tree.ts';

interface HasPath {
  readonly path: ByteString;
}

type Sequence<T> = AsyncIterable<T> | Iterable<T>;

/**
 * What is at each path in `before` and in `after`; at least one of the two is there. An item is taken from a sequence
 * only when the one before it was done with.
 */
export async function* joinByPath<A extends HasPath, B extends HasPath>(
  before: Sequence<A>,
  after: Sequence<B>,
): AsyncGenerator<readonly [A, B | undefined] | readonly [A | undefined, B]> {
  const left = iterate(before);
  const right = iterate(after);
  try {
    let a = await left.next();
    let b = await right.next();
    while (a.done !== true || b.done !== true) {
      const order = a.done === true ? 1 : b.done === true ? -1 : comparePaths(a.value.path, b.value.path);
      if (a.done !== true && b.done !== true && order === 0) yield [a.value, b.value];
      else if (a.done !== true && order < 0) yield [a.value, undefined];
      else if (b.done !== true) yield [undefined, b.value];
      if (order <= 0) a = await left.next();
      if (order >= 0) b = await right.next();
    }
  } finally {
    await left.return?.();
    await right.return?.();
  }
}

function iterate<T>(sequence: Sequence<T>): AsyncIterator<T, void> | Iterator<T, void> {
  return Symbol.asyncIterator in sequence ? sequence[Symbol.asyncIterator]() : sequence[Symbol.iterator]();
}
