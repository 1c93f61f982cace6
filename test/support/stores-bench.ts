/** Three stores as one (R44): dom0's real code over the storage VM's real services, each in the test's own process. */

import { cpSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ServiceCall } from '../../dom0/domains/domains.ts';
import type { Repository } from '../../dom0/repository/repository.ts';
import { syncStore } from '../../dom0/repository/sync.ts';
import { Machine, appendBlob, commitVolume, historyFor, storeFolder, writerFor } from './repository-bench.ts';
import { tempFolder } from './temp.ts';
import { withSteps } from './wrapped-domains.ts';

const NAMES = ['vault', 'vault2', 'vault3'];

/** Three stores and a machine that uses them. */
export class Bench {
  readonly folders = NAMES.map(() => storeFolder());
  readonly state = tempFolder();
  machine = this.fresh();

  /** The same machine, in a new run. */
  fresh(removable: readonly string[] = []): Machine {
    this.machine = new Machine(this.folders, this.state, removable);
    return this.machine;
  }

  /** A new repository in all three, and a first backup. */
  static async make(): Promise<{ bench: Bench; repository: Repository }> {
    const bench = new Bench();
    const repository = await bench.machine.create();
    for (const store of bench.machine.stores.all)
      if (!store.inStep) await syncStore(repository, store, quiet);
    await backUp(repository, 'one');
    return { bench, repository };
  }

  standings(): string[] {
    return this.machine.stores.all.map(({ standing }) =>
      standing.is === 'behind' ? `behind ${standing.roots}` : standing.is,
    );
  }

  folder(index: number): string {
    return this.folders[index]!;
  }

  /** Remembers store `index` as it is; the answer puts it back. */
  remember(index: number): () => void {
    const copy = join(tempFolder(), 'copy');
    cpSync(this.folder(index), copy, { recursive: true });
    return () => {
      rmSync(this.folder(index), { recursive: true });
      cpSync(copy, this.folder(index), { recursive: true });
    };
  }

  /** Takes the medium of store `index` away; the answer puts it back. */
  takeAway(index: number): () => void {
    const folder = dirname(this.folder(index));
    const elsewhere = join(tempFolder(), 'away');
    renameSync(folder, elsewhere);
    return () => renameSync(elsewhere, folder);
  }
}

export const quiet = { progress: () => undefined, lost: () => undefined };

/** A snapshot of one file that says `text`. */
export async function backUp(repository: Repository, text: string): Promise<void> {
  const writer = await writerFor(repository);
  const content = await appendBlob(writer, text);
  const top = await appendBlob(writer, `tree of ${text}`, 'tree');
  await commitVolume(writer, top, [...writer.baseLive, content, top]);
}

/** What blob `number` says, as an open repository reads it. */
export async function blob(repository: Repository, number: number): Promise<string> {
  const history = await historyFor(repository);
  const row = (await history.table.row(number))!;
  const sealer = history.sealer(row.kind, number, row.epoch);
  return Buffer.from(await repository.store.getFromStorage(sealer, row.id, 'blob')).toString();
}

/** Files of a store's objects. */
export function objectsOf(folder: string): string[] {
  const found = readdirSync(join(folder, 'objects'), { recursive: true, withFileTypes: true });
  return found.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

/** Their names, sorted. */
export const namesOf = (folder: string) =>
  objectsOf(folder)
    .map((file) => file.slice(-64))
    .sort();

/** A bit of the file becomes another. */
export function corrupt(file: string): void {
  const bytes = readFileSync(file);
  bytes[100] = bytes[100]! ^ 1;
  rmSync(file);
  writeFileSync(file, bytes);
}

/** A call that breaks down: `when` is asked at each write of dom0's. */
export function dying(call: ServiceCall, when: () => boolean): ServiceCall {
  return withSteps(call, (doing) => {
    if (doing === 'write' && when()) call.kill();
  });
}
