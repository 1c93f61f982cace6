/** One run of the command line: configuration, VMs, storage, and the repository once it is open. */

import { BackupError, messageOf } from '../shared/errors.ts';
import type { VmName } from '../shared/ids.ts';
import type { Volume } from '../shared/protocol/disposable.ts';
import type { KeySlot, Root } from '../shared/root.ts';
import type { Config } from './config.ts';
import { confirm } from './confirm.ts';
import type { Attachment, Disposable, Domains, ServiceCall } from './domains/domains.ts';
import { formatTime } from '../shared/format.ts';
import type { Secret } from './keys/secret.ts';
import type { Opener } from './keys/slots.ts';
import type { Output } from './output.ts';
import type { Job } from './progress-display.ts';
import { endDeadRestores } from './restored.ts';
import { openRepository } from './repository/open.ts';
import type { Opened, Trust } from './repository/open.ts';
import type { Repository } from './repository/repository.ts';
import type { Listener, Note, Progress } from './session/report.ts';
import { Diary } from './state/diary.ts';
import { makePrivateFolder, removeAbandoned } from './state/files.ts';
import { lockFolder } from './state/lock.ts';
import { PinFile } from './state/pin.ts';
import type { Pin } from './state/pin.ts';
import { PrimaryFile } from './state/primary.ts';
import { StorePinFile } from './state/store-pin.ts';
import { configuredStores } from './storage/configured-stores.ts';
import { lackingStores } from './storage/quorum.ts';
import { Stores } from './storage/stores.ts';
import { fingerprint } from './words.ts';

export interface AppOptions {
  readonly config: Config;
  readonly domains: Domains;
  readonly output: Output;
  /** All secrets that the person presents, at least one; asked on the terminal if need be. */
  readonly secrets: () => Promise<readonly Secret[]>;
  /** What opens the repository if no person has to; default: the first of the secrets. */
  readonly opener?: (slots: readonly KeySlot[]) => Promise<Opener | undefined>;
  /** Whether a person will be asked for one, and may take long; default: nobody is. */
  readonly asks?: () => Promise<boolean>;
  readonly trust: Pick<Trust, 'acceptRoot' | 'expectRoot'>;
  /** Yes to every question whether to go on. */
  readonly yes?: boolean;
}

/** A call of one service in a disposable of its own. */
export interface DisposableCall {
  readonly call: ServiceCall;
  /** Where the disposable has what was attached to it. */
  readonly attached: Volume | undefined;
  /** Removes the disposable. Idempotent. */
  readonly end: () => Promise<void>;
}

export class App {
  readonly config: Config;
  readonly domains: Domains;
  readonly output: Output;
  readonly storage: Stores;
  readonly pin: PinFile;
  readonly primary: PrimaryFile;
  readonly diary: Diary;
  /** Warnings so far: with any, the run ends with status 3. */
  warnings = 0;
  /** True if `verify` found differences: then the run ends with status 4. */
  differs = false;
  #publishes = false;
  #locked = false;
  readonly #interruption = new AbortController();
  /** Checkpoints that are being committed. */
  readonly #committing = new Set<Promise<unknown>>();
  readonly #options: AppOptions;
  readonly #undo: (() => Promise<void> | void)[] = [];

  constructor(options: AppOptions) {
    this.#options = options;
    this.config = options.config;
    this.domains = options.domains;
    this.output = options.output;
    makePrivateFolder(options.config.stateFolder);
    const { stateFolder, stores } = options.config;
    this.pin = new PinFile(stateFolder);
    this.primary = new PrimaryFile(stateFolder);
    this.diary = new Diary(stateFolder, (text) => this.warnOnly(text));
    const { domains } = options;
    const calls = {
      callStorage: async (vm: string, service: string) =>
        this.#heard(vm, service, await domains.callStorage(vm, service)),
      callFolder: async (name: string, folder: string, service: string) =>
        this.#heard(name, service, await domains.callFolder(name, folder, service)),
    };
    const all = configuredStores(calls, stores, (name) => new StorePinFile(stateFolder, name));
    const listener = {
      warn: (text: string) => this.warn(text),
      warnOnly: (text: string) => this.warnOnly(text),
      note: (text: string) => this.output.note(text),
    };
    this.storage = new Stores(all, listener, this.primary.read());
  }

  /** What opening and creating a repository needs. */
  get repositoryOptions() {
    const { storage, pin, primary } = this;
    const { stateFolder, cacheSize } = this.config;
    return { storage, pin, primary, stateFolder, cacheSize };
  }

  /** Opens the repository; the storage VM starts while the person types. */
  async open(secret = this.#opener): Promise<Repository> {
    return (await this.openWithSlot(secret)).repository;
  }

  /** Like {@link open}, with the slot that opened it. */
  async openWithSlot(secret = this.#opener): Promise<Opened> {
    this.storage.warmUp();
    const trust: Trust = {
      ...this.#options.trust,
      firstUse: (root) => this.#sayFirstUse(root),
      overrule: (root, pinned) => this.#confirmOverruling(root, pinned),
    };
    const opened = await openRepository({
      ...this.repositoryOptions,
      secret,
      trust,
      publishes: this.#publishes,
    });
    this.defer(() => {
      opened.repository.store.trimCache();
      opened.repository.keyring.close();
    });
    if (this.#locked) await endDeadRestores(this, opened.repository);
    return opened;
  }

  /** Fresh copies of all secrets that are presented; whoever takes them zeroes them. */
  secrets(): Promise<readonly Secret[]> {
    return this.#options.secrets();
  }

  /** Whether opening the repository waits for a person. */
  async asks(): Promise<boolean> {
    return (await this.#options.asks?.()) ?? false;
  }

  readonly #opener = async (slots: readonly KeySlot[]): Promise<Opener> =>
    (await this.#options.opener?.(slots)) ?? (await this.firstSecret());

  /** The first of the secrets that a person presents; whoever takes it zeroes it. */
  async firstSecret(): Promise<Secret> {
    const [first, ...others] = await this.secrets();
    for (const { bytes } of others) bytes.fill(0);
    if (first === undefined) throw new BackupError('internal', 'no secret was presented');
    return first;
  }

  /** Says what is given up for `root`, and asks. */
  async #confirmOverruling({ hash, body }: Root, pinned: Pin): Promise<void> {
    const { counter, time } = body;
    this.output.line(
      `This machine last saw root ${pinned.counter}, ${fingerprint(pinned.hash)}. It will go on with root ${counter} of ${formatTime(time)}, ${fingerprint(hash)}, instead:`,
    );
    this.output.line('what that one does not have, the newest backups perhaps, it will know nothing of.');
    this.output.event('overruling', { counter, fingerprint: fingerprint(hash), seen: pinned.counter });
    await this.storage.abort(); // A person may take longer than a session may.
    const question = 'Accept it? [yes/no] ';
    await confirm({ question, answer: 'yes', option: '--yes', given: this.#options.yes === true });
  }

  #sayFirstUse(root: Root): void {
    const { hash, body } = root;
    const { counter, time } = body;
    this.output.note(
      `this machine has not used this repository before: the newest that ${this.storage.offering(root)} offers is root ${counter} of ${formatTime(time)}, ${fingerprint(hash)}. ` +
        'If you noted a later one, backups are missing (--expect-root refuses that).',
    );
    this.output.event('first-use', {
      counter,
      time: new Date(time).toISOString(),
      fingerprint: fingerprint(hash),
    });
  }

  /** Makes this the only writing run, and removes what dead runs left. Idempotent. */
  async lock(): Promise<void> {
    if (this.#locked) return;
    this.defer(await lockFolder(this.config.stateFolder));
    this.#locked = true;
    await this.#cleanUp();
  }

  /** {@link lock} for the time of `work` only, in a command that waits for a person between such pieces of work. */
  async whileLocked<T>(work: () => Promise<T>): Promise<T> {
    const unlock = await lockFolder(this.config.stateFolder);
    try {
      await this.#cleanUp();
      return await work();
    } finally {
      await unlock();
    }
  }

  async #cleanUp(): Promise<void> {
    for (const line of await this.domains.cleanUp()) this.warnOnly(`left by a run that died: ${line}`);
    removeAbandoned(this.config.stateFolder);
  }

  /** {@link lock}, for a run that is to publish something: open() then demands the primary store. */
  async lockToPublish(): Promise<void> {
    this.#publishes = true;
    await this.lock();
  }

  /** Has `undo` run when the command ends, however it ends: last in, first out. */
  defer(undo: () => Promise<void> | void): void {
    this.#undo.push(undo);
  }

  /** Has `secrets` zeroed when the command ends, and what is added to them until then. */
  deferWipe(secrets: readonly Secret[]): void {
    this.defer(() => {
      for (const { bytes } of secrets) bytes.fill(0);
    });
  }

  /** A warning that does not make the result incomplete. */
  warnOnly(text: string): void {
    this.output.warn(text);
    this.output.event('warning', { text });
  }

  /** A warning that makes the run end with status 3. */
  warn(text: string): void {
    this.warnings += 1;
    this.warnOnly(text);
  }

  /** Runs `work` over one call of `service` in a disposable of its own, which is gone afterwards, however it ended. */
  async withDisposable<T>(
    vm: VmName,
    attachment: Attachment,
    service: string,
    work: (call: ServiceCall, attached: Volume | undefined) => Promise<T>,
  ): Promise<T> {
    return this.during(await this.callInDisposable(vm, attachment, service), work);
  }

  /** Runs `work` over a call, the disposable of which is gone afterwards, however it ended. */
  async during<T>(
    { call, attached, end }: DisposableCall,
    work: (call: ServiceCall, attached: Volume | undefined) => Promise<T>,
  ): Promise<T> {
    try {
      return await work(call, attached);
    } finally {
      this.output.endProgress();
      await end();
    }
  }

  /** One call of `service` in a disposable of its own, which lives until it is ended. */
  async callInDisposable(vm: VmName, attachment: Attachment, service: string): Promise<DisposableCall> {
    const disposable = await this.startDisposable(vm, attachment);
    try {
      const call = await disposable.call(service);
      return { call, attached: disposable.attached, end: () => disposable.destroy() };
    } catch (error) {
      await disposable.destroy();
      throw error;
    }
  }

  /** A disposable for several calls, which the caller destroys. */
  async startDisposable(vm: VmName, attachment: Attachment): Promise<Disposable> {
    const disposable = await this.domains.startDisposable(vm, attachment);
    return {
      name: disposable.name,
      attached: disposable.attached,
      call: async (service) => this.#heard(vm, service, await disposable.call(service)),
      destroy: () => disposable.destroy(),
    };
  }

  /** Passes on what the service says on stderr, once it has ended. */
  #heard(vm: string, service: string, call: ServiceCall): ServiceCall {
    void call.exited.then(() => {
      const text = call.stderr();
      if (text !== '') this.output.service(vm, service, text);
    });
    return call;
  }

  /** {@link withDisposable} for work on a volume. */
  withVolume<T>(
    vm: VmName,
    attachment: Exclude<Attachment, { kind: 'nothing' }>,
    service: string,
    work: (call: ServiceCall, volume: Volume) => Promise<T>,
  ): Promise<T> {
    return this.withDisposable(vm, attachment, service, (call, attached) =>
      work(call, requireAttached(attached)),
    );
  }

  /** Shows progress of `stage` of `title`, from now on. `expected`: see Job. */
  meter(title: string, stage: string, expected?: Job['expected']): (progress: Progress) => void {
    const job = { title, stage, started: performance.now(), expected };
    return (progress) => this.output.progress(job, progress);
  }

  /** Shows progress and notes of a session that does `stage` of `title`. */
  listener(title: string, stage: string, expected?: Job['expected']): Listener {
    return {
      progress: this.meter(title, stage, expected),
      committing: (checkpoint) => {
        this.#committing.add(checkpoint);
        void checkpoint.finally(() => this.#committing.delete(checkpoint));
      },
      note: (note: Note) => {
        if (note.code.startsWith('skipped-')) {
          this.output.event('note', { title, ...note });
          return;
        }
        this.warn(`${title}: ${note.path === '' ? 'the volume' : note.path}: ${note.detail} (${note.code})`);
      },
    };
  }

  /**
   * Ends the storage sessions in order, and says whether enough stores have what was published. By now everything was
   * acknowledged or verified, so a peer that garbles its goodbye deserves a warning, not a failed run.
   */
  async closeStorage(): Promise<void> {
    if (this.storage.published) this.warnOfLacking();
    try {
      await this.storage.close();
    } catch (error) {
      this.warn(messageOf(error));
    }
  }

  /** Warns if fewer stores are in step than are wanted. */
  warnOfLacking(): void {
    const lacking = lackingStores(this.storage.all, this.config.quorum);
    if (lacking !== undefined) this.warn(lacking);
  }

  /** True once the run was told to end: nothing new is begun. */
  get interrupted(): boolean {
    return this.interruption.aborted;
  }

  /** Aborted when the run is told to end. */
  get interruption(): AbortSignal {
    return this.#interruption.signal;
  }

  /** True while a checkpoint is being committed. */
  get committing(): boolean {
    return this.#committing.size > 0;
  }

  /** Has checkpoints that have begun committed, then ends all that runs in other VMs; the command fails on it and tidies up. */
  async interrupt(): Promise<void> {
    this.#interruption.abort();
    await Promise.allSettled(this.#committing);
    await Promise.allSettled([this.storage.abort(), this.domains.stopAll()]);
  }

  /** Runs everything deferred. A failure to tidy up is a warning, unless the command failed anyway. */
  async close(): Promise<void> {
    this.output.endProgress();
    for (const undo of this.#undo.splice(0).reverse()) {
      try {
        await undo();
      } catch (error) {
        this.warn(messageOf(error));
      }
    }
  }
}

/** Where a disposable has the volume that it was given. */
export function requireAttached(attached: Volume | undefined): Volume {
  if (attached === undefined) throw new BackupError('internal', 'a disposable was given no volume');
  return attached;
}

/** Throws `usage` unless `condition`. */
export function requireUsage(condition: boolean, message: string): asserts condition {
  if (!condition) throw new BackupError('usage', message);
}
