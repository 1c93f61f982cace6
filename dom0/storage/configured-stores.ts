/** The stores that the configuration names, each with its own limits and its share of what dom0 holds. */

import { FRAME_COST, DOM0_DOWNLOAD_SHARE, MAX_OBJECT } from '../../shared/limits.ts';
import type { Domains } from '../domains/domains.ts';
import type { StorePinFile } from '../state/store-pin.ts';
import type { StoreConfig } from '../config/stores.ts';
import { Limiter } from './limited.ts';
import { Storage } from './storage.ts';
import { Store } from './store.ts';

/** What stores need of the driver. */
type Caller = Pick<Domains, 'callStorage' | 'callFolder'>;

export function configuredStores(
  domains: Caller,
  configs: readonly StoreConfig[],
  pinOf: (name: string) => StorePinFile,
): Store[] {
  // A share of its own for each: what one sends ahead must not take the room of another. One object must fit.
  const share = Math.max(DOM0_DOWNLOAD_SHARE / configs.length, MAX_OBJECT + FRAME_COST);
  return configs.map(({ name, folder, removable, limits }) => {
    const limiter = new Limiter(limits);
    const callStorage = async (_name: string, service: string) =>
      limiter.limit(
        await (folder === undefined
          ? domains.callStorage(name, service)
          : domains.callFolder(name, folder, service)),
      );
    return new Store(new Storage({ callStorage }, name, share), pinOf(name), removable);
  });
}
