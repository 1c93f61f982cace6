/** Whether enough stores have what a run published. */

import type { Store } from './store.ts';

/**
 * What a person is told if fewer stores than `quorum` are in step: which are not, and what to do. `all` are those that are
 * configured, without removable ones that are absent.
 */
export function lackingStores(stores: readonly Store[], quorum: number | 'all'): string | undefined {
  const complete = stores.filter(({ inStep }) => inStep).length;
  const wanted = quorum === 'all' ? stores.filter(({ isAway }) => !isAway).length : quorum;
  if (complete >= wanted) return undefined;
  const lacking = stores.filter(({ inStep }) => !inStep);
  const which = lacking.map((store) => `${store.name} ${store.describe()}`).join('; ');
  return `only ${complete} of ${stores.length} stores have it all, ${wanted} are wanted (quorum): ${which}. When that is mended, run "qubes-backup storage sync"`;
}
