/** `VM@SNAPSHOT` on the command line, looked up: the history, the snapshot, and what a reader of it may get. */

import { parseVmName } from '../../shared/ids.ts';
import type { App } from '../app.ts';
import { findSnapshot, splitTarget } from '../repository/find-snapshot.ts';
import { historyNamed } from '../repository/find-vm.ts';
import type { Snapshot } from '../repository/records.ts';
import type { Repository } from '../repository/repository.ts';
import type { VmHistory } from '../repository/vm-history.ts';
import type { BlobAccess } from '../session/read-sessions.ts';

export interface Chosen {
  readonly repository: Repository;
  readonly history: VmHistory;
  readonly snapshot: Snapshot;
  /** All blobs of this snapshot, or only its trees. */
  readonly access: (treesOnly: boolean) => Promise<BlobAccess>;
}

/** Opens the repository and finds `target`. */
export async function choose(app: App, target: string): Promise<Chosen> {
  const { vm, snapshot: wanted } = splitTarget(target);
  const name = parseVmName(vm);
  app.defer(() => app.storage.abort());
  const repository = await app.open();
  const history = await historyNamed(repository, app.domains, name);
  const entry = findSnapshot(name, await history.entries(), wanted);
  const snapshot = await history.snapshot(entry);
  return {
    repository,
    history,
    snapshot,
    access: async (treesOnly) => {
      const numbers = await history.liveAt(snapshot.number);
      return { store: repository.store, history, grant: { numbers, treesOnly } };
    },
  };
}
