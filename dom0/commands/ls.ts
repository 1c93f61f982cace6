/** `ls` and `find`: what a snapshot holds, told by a disposable. */

import { BackupError } from '../../shared/errors.ts';
import { MAX_ENTRIES } from '../../shared/limits.ts';
import { browse } from '../../shared/protocol/browse.ts';
import type { App } from '../app.ts';
import type { VolumeName } from '../domains/domains.ts';
import type { SnapshotVolume } from '../repository/records.ts';
import { runEntries } from '../session/query-sessions.ts';
import type { EntriesQuestion } from '../session/query-sessions.ts';
import { choose } from './chosen.ts';
import type { Chosen } from './chosen.ts';
import { entryRow } from './entry-row.ts';
import { pathBytes } from './paths.ts';

export interface LsOptions {
  readonly recursive: boolean;
  /** Only what the backup left out, with the reasons, at any depth. */
  readonly skipped: boolean;
  readonly volume?: VolumeName;
}

export async function ls(app: App, target: string, path: string, options: LsOptions): Promise<void> {
  const { skipped } = options;
  const recursive = options.recursive || skipped;
  const bytes = pathBytes(path);
  await showEntries(app, await choose(app, target, options.volume), path, (top) => {
    return { kind: 'list', top, path: bytes, recursive, skipped };
  });
}

/** Shows the entries that `question` asks for. Throws `unknown-path` if `path`, which it is about, is not there. */
export async function showEntries(
  app: App,
  { snapshot, volume, history, access }: Chosen,
  path: string,
  question: (top: number) => EntriesQuestion,
): Promise<void> {
  const granted = await access(true);
  const found = await app.withDisposable(history.name, { kind: 'nothing' }, browse.service, (call) =>
    runEntries(call, granted, question(volume.top), entriesIn(volume), (entries) =>
      app.output.rows(entries.map((entry) => entryRow('entry', entry))),
    ),
  );
  if (!found) {
    throw new BackupError(
      'unknown-path',
      `${path} is not in snapshot ${snapshot.number} of ${history.name}; list its folder to see what is`,
    );
  }
  await app.closeStorage();
}

/** How many entries a volume of a snapshot has at most; nobody counted those of one that was not read to its end. */
export function entriesIn({ digest, counts }: SnapshotVolume): number {
  return digest === null ? MAX_ENTRIES : counts.entries;
}
