/** Where the browser's rows are from: a disposable reads trees for it, and answers with printable ASCII; another one extracts. */

import { BackupError, isBackupError } from '../../shared/errors.ts';
import type { VmName } from '../../shared/ids.ts';
import { browse } from '../../shared/protocol/browse.ts';
import type { App } from '../app.ts';
import { chooseOf } from '../commands/chosen.ts';
import type { Chosen } from '../commands/chosen.ts';
import { describe } from '../commands/entry-row.ts';
import { extractPaths, knownVm, requireAll } from '../commands/extract.ts';
import { VersionRows, detailOf, rangeOf, wholePast } from '../commands/history.ts';
import type { ToldVersion, WholePast } from '../commands/history.ts';
import { entriesIn } from '../commands/ls.ts';
import { pathBytes } from '../commands/paths.ts';
import type { Disposable, ServiceCall, VolumeName } from '../domains/domains.ts';
import { formatTime } from '../../shared/format.ts';
import type { ListEntry } from '../../shared/protocol/browse.ts';
import type { Repository } from '../repository/repository.ts';
import type { VmHistory } from '../repository/vm-history.ts';
import { runEntries, runHistory } from '../session/query-sessions.ts';
import type { Listing, Source, VersionRow } from './browser.ts';

/** Entries of one folder that are kept to be shown: nobody looks through more of them one by one. */
const MAX_SHOWN = 10_000;

export interface SourceOptions {
  readonly volume: VolumeName | undefined;
  /** True if extractions go into a VM; else they go to a folder. */
  readonly intoVm: boolean;
  readonly overwrite: boolean;
}

export class SnapshotSource implements Source {
  readonly #app: App;
  readonly #repository: Repository;
  readonly #history: VmHistory;
  readonly #options: SourceOptions;
  /** Answers all questions until it is lost. */
  #disposable: Disposable | undefined;
  #chosen: Chosen | undefined;
  #past: WholePast | undefined;

  constructor(app: App, repository: Repository, history: VmHistory, options: SourceOptions) {
    this.#app = app;
    this.#repository = repository;
    this.#history = history;
    this.#options = options;
  }

  async list(number: number, path: string): Promise<Listing> {
    const chosen = await this.#choose(number);
    const { volume } = chosen;
    const access = await chosen.access(true);
    const question = {
      kind: 'list',
      top: volume.top,
      path: pathBytes(path),
      recursive: false,
      skipped: false,
    } as const;
    return this.#ask(async (call) => {
      const entries: ListEntry[] = [];
      let more = 0;
      const found = await runEntries(call, access, question, entriesIn(volume), (page) => {
        const taken = page.slice(0, MAX_SHOWN - entries.length);
        entries.push(...taken);
        more += page.length - taken.length;
        return Promise.resolve();
      });
      if (found) return { entries, more };
      throw new BackupError('unknown-path', `${path} is not in snapshot ${number}`);
    });
  }

  async versions(path: string): Promise<readonly VersionRow[]> {
    const volume = this.#options.volume ?? this.#chosen?.volume.name ?? 'private';
    this.#past ??= await wholePast(this.#app, this.#history, volume);
    const { snapshots, tops, access } = this.#past;
    const question = { kind: 'history', tops, path: pathBytes(path) } as const;
    return this.#ask(async (call) => {
      const rows = new VersionRows(snapshots);
      const told: ToldVersion[] = [];
      await runHistory(call, access, question, (versions) => {
        told.push(...rows.take(versions));
        return Promise.resolve();
      });
      return [...told, ...rows.end()].map(versionRow);
    });
  }

  async extract(number: number, path: string, where: string): Promise<string> {
    const { intoVm, overwrite } = this.#options;
    const destination = {
      to: intoVm ? undefined : where,
      intoVm: intoVm ? where : undefined,
      tar: undefined,
      overwrite,
    };
    const { warnings } = this.#app;
    const chosen = await this.#choose(number);
    const extract = (vm: VmName | undefined) => extractPaths(this.#app, chosen, [path], destination, vm);
    const extracted = await this.#recovering(async () => {
      if (!intoVm) return extract(undefined);
      await this.close(); // Under the lock goes what a dead run would have left.
      // The receiver's volume is written: no other run may do that meanwhile.
      return this.#app.whileLocked(async () => extract(await knownVm(this.#app, where)));
    });
    requireAll(chosen, extracted);
    const warned = this.#app.warnings - warnings;
    return `${extracted.text ?? ''}${warned > 0 ? ` ${warned} warnings, which are shown when you leave.` : ''}`;
  }

  /** Ends what answers questions. The next one starts another. */
  async close(): Promise<void> {
    const disposable = this.#disposable;
    this.#disposable = undefined;
    await disposable?.destroy();
  }

  async #choose(number: number): Promise<Chosen> {
    if (this.#chosen?.snapshot.number !== number)
      this.#chosen = await chooseOf(this.#repository, this.#history, String(number), this.#options.volume);
    return this.#chosen;
  }

  /** Runs `work` over a call. Where a disposable that had answered before fails, another run may have cleaned it up: a new one is asked. */
  async #ask<T>(work: (call: ServiceCall) => Promise<T>): Promise<T> {
    const known = this.#disposable !== undefined;
    try {
      return await this.#askOnce(work);
    } catch (error) {
      if (!known || this.#app.interrupted || isBackupError(error, 'unknown-path')) throw error;
      return this.#askOnce(work);
    }
  }

  async #askOnce<T>(work: (call: ServiceCall) => Promise<T>): Promise<T> {
    return this.#recovering(async () => {
      this.#disposable ??= await this.#app.startDisposable(this.#history.name, { kind: 'nothing' });
      return work(await this.#disposable.call(browse.service));
    });
  }

  /** After a failure nothing is used again that may have failed. */
  async #recovering<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      await this.close();
      await this.#app.storage.recover();
      throw error;
    }
  }
}

function versionRow(version: ToldVersion): VersionRow {
  const { newest, entry } = version;
  const state = entry === null ? 'absent' : describe(entry);
  return {
    snapshot: newest.number,
    there: entry !== null,
    text: `${rangeOf(version).padEnd(9)} ${formatTime(newest.takenAt)}  ${state}  ${detailOf(version)}`,
  };
}
