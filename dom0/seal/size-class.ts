/** Size classes of padded plaintexts (docs/format.md, section 2): storage learns a class, not a length (R07). */

import { MIN_PADDED } from '../../shared/limits.ts';

const PADME_LIMIT = 1024 * 1024;
const STEP = 256 * 1024;

/**
 * The padded size, in bytes, for `length` bytes: at least 4 KiB; Padmé (Nikitin et al. 2019) up to 1 MiB, then
 * multiples of 256 KiB. Never smaller than `length`, and its own size class.
 */
export function sizeClass(length: number): number {
  if (length <= MIN_PADDED) return MIN_PADDED;
  if (length > PADME_LIMIT) return Math.ceil(length / STEP) * STEP;
  const exponent = Math.floor(Math.log2(length));
  const significant = Math.floor(Math.log2(exponent)) + 1;
  const step = 2 ** (exponent - significant);
  return Math.ceil(length / step) * step;
}
