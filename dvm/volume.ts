/** A volume as its entries, however it was attached. */

import type { Volume } from '../shared/protocol/disposable.ts';
import { walk } from './walk.ts';
import type { Found, Noter } from './walk.ts';

/** All entries in path order, the root first; what cannot be read goes to `note`. Throws LibcError if that is the root. */
export function entriesOf(volume: Volume, note: Noter): Iterable<Found> {
  return walk(volume.path, note);
}
