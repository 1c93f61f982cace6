/** `storage list|sync|primary`: the stores of the repository, and how they stand to its newest root (R44). */

import { BackupError, isBackupError } from '../../shared/errors.ts';
import { requireUsage } from '../app.ts';
import type { App } from '../app.ts';
import { formatBytes, formatCount, formatTable, formatTime } from '../../shared/format.ts';
import { Listing } from '../storage/listing.ts';
import type { Store } from '../storage/store.ts';
import { syncStores } from './sync-stores.ts';

/** A table of all stores. */
export async function storageList(app: App): Promise<void> {
  app.defer(() => app.storage.abort());
  await app.open();
  const rows = [['STORE', 'ROOT', 'OBJECTS', 'SIZE', 'LAST SEEN', 'STATE']];
  for (const store of app.storage.all) {
    const { name, root, standing, removable } = store;
    const held = root === undefined ? undefined : await listingOf(app, store);
    const seen = store.pin.seen();
    const primary = store === app.storage.primary;
    rows.push([
      name,
      root === undefined ? '' : String(root.body.counter),
      held === undefined ? '' : formatCount(held.size),
      held === undefined ? '' : formatBytes(held.bytes),
      seen === undefined ? 'never' : formatTime(seen),
      [
        stateOf(store),
        ...(primary ? ['primary'] : []),
        ...(removable ? ['removable'] : []),
        ...(store.waits ? ['waits for its owner'] : []),
      ].join(', '),
    ]);
    app.output.event('store', {
      store: name,
      state: standing.is,
      behind: standing.is === 'behind' ? standing.roots : 0,
      root: root?.body.counter ?? null,
      objects: held?.size ?? null,
      bytes: held?.bytes ?? null,
      seen: seen === undefined ? null : new Date(seen).toISOString(),
      primary,
      removable,
      waits: store.waits,
    });
  }
  await app.closeStorage();
  for (const line of formatTable(rows, [1, 2, 3])) app.output.line(line);
}

/** Undefined, with a warning, if that fails. */
export async function listingOf(app: App, { client, name }: Store): Promise<Listing | undefined> {
  try {
    return await Listing.of(client);
  } catch (error) {
    if (!isBackupError(error)) throw error;
    app.warn(`store ${name} could not be listed: ${error.message}`);
    return undefined;
  }
}

/** For people. */
export function stateOf({ standing }: Store): string {
  if (standing.is === 'behind') return `behind by ${standing.roots}`;
  return standing.is.replaceAll('-', ' ');
}

/**
 * Brings up to date the store of that name, or all that missed roots. One that was put back to an older root, or is empty, is only
 * touched if it is named; one that this machine knew and is empty now, only with `refill`.
 */
export async function storageSync(app: App, name: string | undefined, refill: boolean): Promise<void> {
  requireUsage(!refill || name !== undefined, 'name the store that --refill is to fill');
  await app.lock();
  app.defer(() => app.storage.abort());
  const named = name === undefined ? undefined : app.storage.named(name);
  const config = app.config.stores.find((store) => store.name === name);
  const isNew = named?.pin.read() === undefined;
  if (config?.folder === undefined && name !== undefined && isNew) await app.domains.prepareStorage(name);
  const repository = await app.open();
  if (named === undefined) {
    const behind = app.storage.all.filter(({ standing }) => standing.is === 'behind');
    await syncStores(app, repository, behind);
    if (behind.length === 0) app.output.line('No store is behind.');
  } else if (named.inStep) {
    app.output.line(`${named.name} is in step.`);
  } else {
    requireFillable(named, refill);
    await syncStores(app, repository, [named]);
  }
  app.warnOfLacking();
  await app.closeStorage();
}

/** Throws unless a person said enough for `store` to be written to. */
function requireFillable(store: Store, refill: boolean): void {
  const { standing, name, root } = store;
  if (!('error' in standing) || standing.is === 'rolled-back' || store.lostRoot) return;
  const { code } = standing.error;
  const isEmptied = root === undefined && code === 'store-missing';
  if (isEmptied && refill) return;
  const hint = isEmptied
    ? `. If it is a new one, "qubes-backup storage sync ${name} --refill" fills it`
    : ': it is not written to';
  throw new BackupError(code, `store ${name} ${store.describe()}${hint}`, { cause: standing.error });
}

/** Makes the store of that name the primary one. It must have all that was published. */
export async function storagePrimary(app: App, name: string): Promise<void> {
  await app.lock();
  app.defer(() => app.storage.abort());
  const store = app.storage.named(name);
  const repository = await app.open();
  if (!store.inStep)
    throw new BackupError(
      'usage',
      `${name} ${store.describe()}: only a store that is in step can become the primary one`,
    );
  app.pin.dropPending(); // It was for the old one: this one may lack what it refers to.
  app.primary.write(name);
  await app.closeStorage();
  app.output.line(`${name} is the primary store from now on, with root ${repository.root.body.counter}.`);
  app.output.event('primary', { store: name, root: repository.root.body.counter });
}
