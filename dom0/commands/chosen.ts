/** `VM@SNAPSHOT` and a volume on the command line, looked up: the history, the snapshot, and what a reader of it may get. */

import { BackupError } from '../../shared/errors.ts';
import { parseVmName } from '../../shared/ids.ts';
import type { App } from '../app.ts';
import type { VolumeName } from '../domains/domains.ts';
import { findSnapshot, splitTarget } from '../repository/find-snapshot.ts';
import { historyNamed } from '../repository/find-vm.ts';
import type { Snapshot, SnapshotVolume } from '../repository/records.ts';
import type { Repository } from '../repository/repository.ts';
import type { VmHistory } from '../repository/vm-history.ts';
import type { BlobAccess } from '../session/read-sessions.ts';

export interface Chosen {
  readonly repository: Repository;
  readonly history: VmHistory;
  readonly snapshot: Snapshot;
  /** The volume to look at: the named one, else the private one, else the only one. */
  readonly volume: SnapshotVolume;
  /** All blobs of this snapshot, or only its trees. */
  readonly access: (treesOnly: boolean) => Promise<BlobAccess>;
}

/** Opens the repository and finds `target`. Throws `unknown-volume` if the snapshot has no volume of that name. */
export async function choose(app: App, target: string, volumeName?: VolumeName): Promise<Chosen> {
  const { vm, snapshot: wanted } = splitTarget(target);
  const name = parseVmName(vm);
  app.defer(() => app.storage.abort());
  const repository = await app.open();
  return chooseOf(repository, await historyNamed(repository, app.domains, name), wanted, volumeName);
}

/** The same of one VM's history, whatever other VM has its name. `wanted` is a snapshot as a person calls it. */
export async function chooseOf(
  repository: Repository,
  history: VmHistory,
  wanted: string,
  volumeName?: VolumeName,
): Promise<Chosen> {
  const entry = findSnapshot(history.name, await history.entries(), wanted);
  const snapshot = await history.snapshot(entry);
  return {
    repository,
    history,
    snapshot,
    volume: volumeOf(history.name, snapshot, volumeName),
    access: async (treesOnly) => {
      const numbers = await history.liveAt(snapshot.number);
      return { history, grant: { numbers, treesOnly } };
    },
  };
}

/** Throws `unknown-snapshot` for a partial snapshot, of which no volume needs to be whole. */
export function requireComplete({ history, snapshot }: Chosen): void {
  if (!snapshot.partial) return;
  throw new BackupError(
    'unknown-snapshot',
    `snapshot ${snapshot.number} of ${history.name} is partial: it is not a state the VM ever had; choose another`,
  );
}

/** Throws `unknown-volume`. */
export function volumeOf(vm: string, snapshot: Snapshot, wanted: VolumeName | undefined): SnapshotVolume {
  const { volumes, number } = snapshot;
  const named = volumes.find(({ name }) => name === (wanted ?? 'private'));
  const volume = named ?? (wanted === undefined ? volumes[0] : undefined);
  if (volume !== undefined) return volume;
  const names = volumes.map(({ name }) => name).join(', ');
  throw new BackupError(
    'unknown-volume',
    `snapshot ${number} of ${vm} has no volume ${wanted ?? ''}; it has ${names}`,
  );
}
