/**
 * Rotation: new master key, new signing key, and for every VM a data key of a new epoch (docs/format.md, section 3). What was
 * sealed under VM keys stays as it is; those keys are wrapped anew. What was sealed under the catalog key is sealed anew.
 */

import { randomBytes } from 'node:crypto';
import { BackupError } from '../../shared/errors.ts';
import type { VmId } from '../../shared/ids.ts';
import type { KeySlot } from '../../shared/root.ts';
import { Keyring } from '../keys/keyring.ts';
import { CatalogStore } from './catalog.ts';
import type { CatalogEntry, VmRecord } from './records.ts';
import type { Repository } from './repository.ts';

/** `forget`: VMs whose records and keys are left behind. `makeSlots` wraps the new master key; at least one slot. */
export async function rekey(
  repository: Repository,
  makeSlots: (keyring: Keyring) => Promise<KeySlot[]>,
  forget: ReadonlySet<VmId>,
  now: number,
): Promise<void> {
  const keyring = Keyring.create(repository.keyring.repository);
  try {
    const slots = await makeSlots(keyring);
    if (slots.length === 0) throw new BackupError('usage', 'no key slot would be left: nothing was changed');
    const catalog = await resealed(repository, keyring, forget);
    await repository.publishRekeyed({ keyring, slots, catalog }, now);
  } catch (error) {
    keyring.close();
    throw error;
  }
}

/** The catalog as it will be under `keyring`, with all that it names. */
async function resealed(repository: Repository, keyring: Keyring, forget: ReadonlySet<VmId>) {
  const records = new CatalogStore(keyring, repository.store);
  const { catalog, root } = repository;
  const vms: CatalogEntry[] = [];
  for (const entry of catalog.vms.filter(({ id }) => !forget.has(id))) {
    const record = rewrapped(await repository.readVm(entry), repository.keyring, keyring);
    vms.push({ ...entry, record: await records.putVm(record) });
  }
  const earlier = await repository.earlierRoots();
  const roots = await records.putRoots([...earlier, { counter: root.body.counter, hash: root.hash }]);
  return { ...catalog, vms, forgotten: [...catalog.forgotten, ...forget].sort(), ...roots };
}

function rewrapped(record: VmRecord, from: Keyring, to: Keyring): VmRecord {
  const { id } = record;
  const keys = record.keys.map(({ epoch, wrapped }) => ({
    epoch,
    wrapped: to.wrapVmKey(id, epoch, from.unwrapVmKey(id, epoch, wrapped)),
  }));
  const epoch = Math.max(...keys.map((key) => key.epoch)) + 1;
  const fresh = randomBytes(32);
  keys.push({ epoch, wrapped: to.wrapVmKey(id, epoch, fresh) });
  fresh.fill(0);
  return { ...record, keys };
}
