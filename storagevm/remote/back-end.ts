/**
 * The back end over a place elsewhere. One storage VM owns it: the file `owner` has the id of that one. Processes of one machine
 * are kept apart by a lock of that machine, so a compare-and-set needs nothing of the service; a second machine is detected by
 * the owner's file, and by reading back what was created, and refused.
 */

import { equalBytes, utf8 } from '../../shared/bytes.ts';
import { BackupError, isBackupError } from '../../shared/errors.ts';
import type { BackEnd, Listed, StoreName, StoredFile } from '../back-end.ts';
import type { LocalState } from './local-state.ts';
import { note } from '../note.ts';
import { listPages } from './remote.ts';
import type { Remote } from './remote.ts';
import { Attempts } from './retry.ts';

/** Longest file `owner` that is read. */
const MAX_OWNER = 1024;

export class RemoteBackEnd implements BackEnd {
  readonly #remote: Remote;
  readonly #state: LocalState;
  readonly #attempts: Attempts;
  readonly #appendOnly: boolean;
  #owned: Promise<void> | undefined;

  /** `appendOnly`: a sweeper elsewhere removes. */
  constructor(remote: Remote, state: LocalState, { attempts = new Attempts(), appendOnly = false } = {}) {
    this.#remote = remote;
    this.#state = state;
    this.#attempts = attempts;
    this.#appendOnly = appendOnly;
  }

  /** For messages. */
  get place(): string {
    return this.#remote.place;
  }

  async write(name: StoreName, bytes: Uint8Array): Promise<boolean> {
    await this.#own();
    const there = await this.#compare(name, bytes);
    if (there === 'other') return this.#state.locked(() => this.#replace(name, bytes));
    // A sweeper knows by a new version that somebody wants what it may have found dead.
    if (there === 'nothing' || this.#appendOnly) await this.#put(name, bytes, false);
    return there === 'nothing';
  }

  async create(name: StoreName, bytes: Uint8Array): Promise<boolean> {
    await this.#own();
    return this.#state.locked(async () => {
      await this.#checkOwner();
      if (await this.#isThere(name)) return false;
      // It was not there, and nobody else of this machine creates it: "taken" is by an attempt of ours whose answer was lost,
      // or by another machine. Reading tells.
      await this.#putNew(name, bytes, (await this.#state.read()).conditional === true);
      await this.#checkOwner();
      if ((await this.#compare(name, bytes)) !== 'same') throw this.#notAlone();
      return true;
    });
  }

  /** What the place acknowledged is as durable as it makes it. */
  sync(): Promise<void> {
    return Promise.resolve();
  }

  read(name: StoreName, max: number): Promise<Uint8Array | undefined> {
    return this.#attempts.run(() => this.#remote.read(name, max));
  }

  list(what: Listed): AsyncIterable<readonly StoredFile[]> {
    return listPages(this.#remote, this.#attempts, what);
  }

  async remove(names: readonly StoreName[]): Promise<readonly StoreName[]> {
    if (names.length === 0 || this.#appendOnly) return names;
    await this.#own();
    await this.#checkOwner();
    const removed = await Promise.all(
      names.map((name) => this.#attempts.run(() => this.#remote.remove(name))),
    );
    return names.filter((_name, index) => removed[index] === false);
  }

  room(): Promise<number | undefined> {
    return this.#attempts.run(() => this.#remote.room());
  }

  /** Makes this storage VM the owner, whoever was: what its owner asks for after the other one is gone for good. */
  async takeOver(): Promise<void> {
    await this.#state.locked(async () => {
      const { owner } = await this.#state.read();
      await this.#put('owner', utf8(`${owner}\n`), true);
    });
  }

  /** Once a process: makes sure that this storage VM owns the place, which it does if nobody does. Throws `store-replaced`. */
  #own(): Promise<void> {
    this.#owned ??= this.#state.locked(() => this.#claim());
    return this.#owned;
  }

  async #claim(): Promise<void> {
    const state = await this.#state.read();
    const own = utf8(`${state.owner}\n`);
    if ((await this.#readOwner()) === undefined) await this.#putNew('owner', own, true);
    await this.#checkOwner();
    if (state.conditional !== null) return;
    // A service may ignore the condition and answer as if it had kept it. Then only the owner's file keeps two machines apart.
    const conditional = !(await this.#putNew('owner', own, true));
    await this.#state.write({ ...state, conditional });
    if (!conditional)
      note(new Error(`${this.#remote.place} has no conditional writes: never run a second storage VM on it`));
  }

  /** Stores what was not there an instant ago; false if a service that keeps the condition says that it is by now. */
  async #putNew(name: StoreName, bytes: Uint8Array, conditional: boolean): Promise<boolean> {
    const { putIfAbsent } = this.#remote;
    if (conditional && putIfAbsent !== undefined) return this.#attempts.run(() => putIfAbsent(name, bytes));
    await this.#put(name, bytes, false);
    return true;
  }

  #put(name: StoreName, bytes: Uint8Array, replacing: boolean): Promise<void> {
    return this.#attempts.run(() => this.#remote.put(name, bytes, replacing));
  }

  /** Only under the lock: two who replace the same would remove what the other has stored. */
  async #replace(name: StoreName, bytes: Uint8Array): Promise<boolean> {
    const there = await this.#compare(name, bytes);
    if (there !== 'same') await this.#put(name, bytes, there === 'other');
    return there !== 'same';
  }

  /** Only under the lock, or after {@link #own}. */
  async #checkOwner(): Promise<void> {
    const found = await this.#readOwner();
    const { owner } = await this.#state.read();
    if (found === undefined || !equalBytes(found, utf8(`${owner}\n`))) throw this.#notAlone();
  }

  #readOwner(): Promise<Uint8Array | undefined> {
    return this.read('owner', MAX_OWNER);
  }

  #notAlone(): BackupError {
    return new BackupError(
      'store-replaced',
      `another storage VM owns ${this.#remote.place}: only one may write there. If that one is gone for good, this one ` +
        'takes its place: "qubes-backup-storage take-over" in it',
    );
  }

  async #isThere(name: StoreName): Promise<boolean> {
    try {
      return (await this.read(name, 0)) !== undefined;
    } catch (error) {
      if (isBackupError(error, 'io')) return true; // It has more than 0 bytes.
      throw error;
    }
  }

  /** What is there beside `bytes`: they are read, as sizes, dates and checksums can be right where bytes are not. */
  async #compare(name: StoreName, bytes: Uint8Array): Promise<'same' | 'other' | 'nothing'> {
    try {
      const found = await this.read(name, bytes.length);
      if (found === undefined) return 'nothing';
      return equalBytes(found, bytes) ? 'same' : 'other';
    } catch (error) {
      if (!isBackupError(error, 'io')) throw error;
      note(error); // Damage.
      return 'other';
    }
  }
}
