/** Where each run begins to read unchanged files again, so that all of a volume has its turn. */

/** The golden ratio's fraction: its multiples, taken without their whole part, are spread evenly however many there are. */
const STEP = (Math.sqrt(5) - 1) / 2;

/**
 * Where the run of snapshot `number` begins, as a share of 2^32 of the volume. A run that reads the share `s` from there
 * leaves nothing unread for 2/s runs in a row, even if the volume grows and shrinks meanwhile (the largest gap among n
 * points is under 2/n: Swierczkowski, "On successive settings of an arc on the circumference of a circle", 1958).
 */
export function recheckStart(number: number): number {
  return Math.floor(((number * STEP) % 1) * 2 ** 32);
}
