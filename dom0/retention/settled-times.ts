/** When snapshots were taken, though a clock was wrong at times. */

/** What has a time by the clock that there was, in milliseconds since 1970. */
interface Taken {
  readonly takenAt: number;
}

/** One of a row of times that never goes back, and the one before it. */
interface Link<T> {
  readonly of: T;
  readonly before: Link<T> | undefined;
}

/**
 * When each counts as taken, of which `oldestFirst` are all in the order in which they were. Those of the longest row of times that never
 * goes back, and not beyond `latest`, are believed. Any other is of a clock that was wrong: it counts as taken with the one before it that
 * is believed, or else with the first one that is. Where none is, all have their own times.
 */
export function settleTimes<T extends Taken>(
  oldestFirst: readonly T[],
  latest: number,
): ReadonlyMap<T, number> {
  const believed = longestRow(oldestFirst.filter(({ takenAt }) => takenAt <= latest));
  let last = oldestFirst.find((one) => believed.has(one))?.takenAt;
  return new Map(
    oldestFirst.map((one) => {
      if (believed.has(one)) last = one.takenAt;
      return [one, last ?? one.takenAt];
    }),
  );
}

/** Patience sorting: of all rows of each length, the one that ends earliest may go on. */
function longestRow<T extends Taken>(all: readonly T[]): ReadonlySet<T> {
  const ends: Link<T>[] = [];
  for (const of of all) {
    const length = countNotAfter(ends, of.takenAt);
    ends[length] = { of, before: ends[length - 1] };
  }
  const row = new Set<T>();
  for (let link = ends.at(-1); link !== undefined; link = link.before) row.add(link.of);
  return row;
}

/** How many of `ends`, whose times never go back, end no later than `time`. */
function countNotAfter(ends: readonly Link<Taken>[], time: number): number {
  let [from, to] = [0, ends.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if ((ends[middle]?.of.takenAt ?? Infinity) <= time) from = middle + 1;
    else to = middle;
  }
  return from;
}
