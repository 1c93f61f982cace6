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
  /** Told after each shard how many of SHARDS are done with this step. */
  readonly progress?: SweepProgress | undefined;
}

/** Going over all shards takes three steps: what would a list leave out, mark it, remove what was dead long enough. */
export type SweepProgress = (step: 'weigh' | 'mark' | 'remove', shards: number) => void;
