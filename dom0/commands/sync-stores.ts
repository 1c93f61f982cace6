/** Brings stores up to date, with progress and a line for each: for `storage sync`, and at the end of other commands. */

import { isBackupError } from '../../shared/errors.ts';
import type { App } from '../app.ts';
import { formatBytes, formatCount } from '../../shared/format.ts';
import type { Repository } from '../repository/repository.ts';
import { syncStore } from '../repository/sync.ts';
import type { SyncListener } from '../repository/sync.ts';
import type { Store } from '../storage/store.ts';

/** One after the other. One that fails is a warning, and keeps what it got. */
export async function syncStores(app: App, repository: Repository, stores: readonly Store[]): Promise<void> {
  for (const store of stores) {
    try {
      const synced = await syncStore(repository, store, listener(app, store));
      app.output.endProgress();
      app.output.line(
        `${store.name}: brought up to date: ${formatBytes(synced.bytes)} in ${formatCount(synced.objects)} objects copied.`,
      );
      app.output.event('synced', { store: store.name, root: repository.root.body.counter, ...synced });
    } catch (error) {
      app.output.endProgress();
      if (!isBackupError(error)) throw error;
      await store.client.abort();
      app.warn(
        `store ${store.name} could not be brought up to date: ${error.message}; what it got it keeps: run "qubes-backup storage sync ${store.name}" again`,
      );
    }
  }
}

/** Brings those up to date that only missed roots. */
export async function catchUp(app: App, repository: Repository): Promise<void> {
  const behind = app.storage.all.filter(({ standing }) => standing.is === 'behind');
  if (app.storage.primary.inStep) await syncStores(app, repository, behind);
}

function listener(app: App, { name }: Store): SyncListener {
  const show = app.meter(name, 'syncing');
  return {
    progress: ({ objects, bytes, total }) =>
      show({
        files: objects,
        bytes,
        totalFiles: total,
        totalBytes: Math.round((bytes / objects) * total), // Of objects that were not read the sizes are not known.
      }),
    lost: (id) => app.warn(`object ${id.slice(0, 16)}… is in no store: run "qubes-backup check"`),
  };
}
