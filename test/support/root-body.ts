/** A root as a repository of these keys and slots would have it. */

import type { Keyring } from '../../dom0/keys/keyring.ts';
import { utf8 } from '../../shared/bytes.ts';
import { NO_ROOT, objectIdOf } from '../../shared/ids.ts';
import { FORMAT_VERSION } from '../../shared/root.ts';
import type { KeySlot, RootBody } from '../../shared/root.ts';

export function rootBodyOf(keyring: Keyring, slots: KeySlot[], change: Partial<RootBody> = {}): RootBody {
  return {
    version: FORMAT_VERSION,
    repository: keyring.repository,
    counter: 1,
    time: 0,
    previous: NO_ROOT,
    publicKey: keyring.publicKey,
    rotations: [],
    signingSeed: keyring.wrapSeed(),
    slots,
    catalog: objectIdOf(utf8('catalog')),
    live: null,
    ...change,
  };
}
