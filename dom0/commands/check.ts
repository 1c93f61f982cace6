/**
 * `check`: every record opened, every object present with a possible size, and a chosen share of the data fetched and
 * verified; in each store by itself. Damage is reported by store, VM, snapshot and file; nothing that is missing is overlooked (R54).
 * With `repair`, what one store lost and another has whole is put again (R44).
 */

import { BackupError, isBackupError, messageOf } from '../../shared/errors.ts';
import type { VmId } from '../../shared/ids.ts';
import type { App } from '../app.ts';
import { formatBytes, formatCount } from '../../shared/format.ts';
import type { Repository } from '../repository/repository.ts';
import { readSchedule } from '../schedule/schedule.ts';
import { Listing } from '../storage/listing.ts';
import type { Store } from '../storage/store.ts';
import { CheckShare } from '../state/check-position.ts';
import { FaultyObjects, reportDamage } from './damage.ts';
import { StoreCheck } from './store-check.ts';
import { survey } from './survey.ts';
import { syncStores } from './sync-stores.ts';

/** `share`: percent of the objects to read, 0 to 100. */
export async function check(app: App, share: number, repair = false): Promise<void> {
  app.defer(() => app.storage.abort());
  if (repair) await app.lock();
  const repository = await app.open();
  if (repair) {
    const behind = ({ standing: { is }, lostRoot }: Store) =>
      is === 'behind' || is === 'rolled-back' || lostRoot;
    await syncStores(app, repository, app.storage.all.filter(behind));
  }
  let faults = 0;
  let found = 0;
  const faulty = new FaultyObjects();
  const faultsOf = new Map<VmId, number>();
  for (const store of app.storage.all) {
    const check = await checkStore(app, repository, store, share, repair);
    if (check === undefined) continue;
    found += check.faults;
    faults += check.faults - check.repaired;
    faulty.add(check);
    for (const [vm, ofVm] of check.faultsOf) faultsOf.set(vm, (faultsOf.get(vm) ?? 0) + ofVm);
  }
  if (found > 0) await nameDamage(app, repository, faulty);
  const at = Date.now();
  app.diary.record(
    'check',
    [...faultsOf].map(([vm, ofVm]) => [vm, { at, share, faults: ofVm }]),
  );
  await nameStale(app, repository, at);
  await app.closeStorage();
  if (faults > 0) {
    const what = `${formatCount(faults)} ${faults === 1 ? 'fault' : 'faults'} found${repair ? ' that could not be repaired' : ''}`;
    const hint =
      !repair && app.storage.all.length > 1
        ? '; what another store has whole, "check --repair" puts again'
        : '';
    throw new BackupError('store-damaged', `${what}${hint}`);
  }
}

/** A check that cannot name what is hit has found the faults all the same. */
async function nameDamage(app: App, repository: Repository, faulty: FaultyObjects): Promise<void> {
  try {
    await reportDamage(app, repository, faulty);
  } catch (error) {
    if (!isBackupError(error)) throw error;
    app.warn(`what the faults hit is not known in full: ${messageOf(error)}`);
  }
}

/**
 * A VM whose backups stopped is a finding, and so is one that has none and that the configuration or the schedule names. Another one
 * without any is told of: it may be new, and the next backup of all VMs has it.
 */
async function nameStale(app: App, repository: Repository, now: number): Promise<void> {
  const scheduled = readSchedule(app.config.stateFolder)?.vms ?? [];
  for (const { name, stale, newest } of await survey(app, repository, now)) {
    if (stale === undefined) continue;
    if (newest !== undefined || app.config.names(name) || scheduled.includes(name))
      app.warn(`${name}: ${stale}`);
    else app.warnOnly(`${name}: ${stale}`);
    app.output.event('stale', { vm: name, text: stale });
  }
}

/** Undefined if the store could not be checked. */
async function checkStore(
  app: App,
  repository: Repository,
  store: Store,
  share: number,
  repair: boolean,
): Promise<StoreCheck | undefined> {
  const { name } = store;
  if (!store.inStep) {
    const text = `store ${name} was not checked: it ${store.describe()}`;
    if (store.isAway) app.output.note(text);
    else app.warn(text);
    app.output.event('unchecked', { store: name, state: store.standing.is });
    return undefined;
  }
  const found = await examined(app, repository, store, share, repair);
  if (found === undefined) return undefined;
  const { objects, read, readBytes, faults, repaired } = found.check;
  const text = `${formatCount(objects)} objects expected, ${formatCount(read)} read and verified (${formatBytes(readBytes)})`;
  app.output.event('checked', {
    store: name,
    root: repository.root.body.counter,
    ...{ objects, read, readBytes, faults, repaired, present: found.present },
  });
  const verdict =
    faults === 0
      ? app.output.paint('good', 'no fault found')
      : app.output.paint('bad', `${formatCount(faults)} faults`);
  const all = `${name}: ${verdict}: ${text}`;
  app.output.line(repaired === 0 ? `${all}.` : `${all}, ${formatCount(repaired)} repaired.`);
  if (repaired > 0)
    app.warn(`store ${name}: ${formatCount(repaired)} of ${formatCount(faults)} faults were repaired`);
  return found.check;
}

/** Undefined if the store failed: with others, that ends nothing. */
async function examined(app: App, repository: Repository, store: Store, share: number, repair: boolean) {
  try {
    const present = await Listing.of(store.client);
    const part = new CheckShare(app.config.stateFolder, store.name, share);
    const check = new StoreCheck(app, repository, store, present, { share: part, repair });
    await check.run();
    if (share > 0) part.done();
    return { check, present: present.size };
  } catch (error) {
    if (!isBackupError(error) || app.storage.all.length === 1) throw error;
    await store.client.abort();
    app.output.endProgress();
    app.warn(`store ${store.name} could not be checked: ${error.message}`);
    return undefined;
  }
}
