/** What a sweep works on. */

import type { BackEnd } from '../back-end.ts';
import type { Roots } from '../roots.ts';
import type { Ledger } from './ledger.ts';

export interface SweepOptions {
  readonly backEnd: BackEnd;
  readonly ledger: Ledger;
  readonly roots: Roots;
  /** Seconds. */
  readonly grace: number;
}
