/**
 * One disposable's qubes.BackupScan of one volume from dom0's side: gives it the base's tree, seals what it puts, commits
 * its checkpoints, hands its result to the writer. Bytes it sent ahead are bounded by its share of DOM0_UPLOAD_SHARE: credit comes back
 * only when the storage VM acknowledged an object.
 */

import { BackupError, isBackupError, messageOf } from '../../shared/errors.ts';
import {
  DOM0_UPLOAD_SHARE,
  FRAME_COST,
  MAX_BLOB,
  MAX_BLOBS_QUEUED,
  MAX_PACK,
  MIN_PADDED,
  QUOTA_SLACK,
  SESSION_TIMEOUT,
} from '../../shared/limits.ts';
import { NumberSet } from '../../shared/numbers.ts';
import { scan } from '../../shared/protocol/disposable.ts';
import type { Changes, ExcludeRules, Volume } from '../../shared/protocol/disposable.ts';
import { creditFor } from '../../shared/wire/frame.ts';
import type { ValueOf } from '../../shared/wire/frame.ts';
import { Call } from '../call.ts';
import type { ServiceCall } from '../domains/domains.ts';
import type { ObjectStore } from '../repository/object-store.ts';
import type { Counts, SnapshotVolume } from '../repository/records.ts';
import type { VmWriter } from '../repository/vm-writer.ts';
import type { Tally } from '../repository/tally.ts';
import { KIND } from '../seal/object.ts';
import type { BlobKind } from '../seal/object.ts';
import { Semaphore } from '../semaphore.ts';
import { BlobServer } from './blob-server.ts';
import { NoteCounter } from './report.ts';
import type { Listener, Progress } from './report.ts';

type Job = ValueOf<typeof scan.toService.job>;
type Done = ValueOf<typeof scan.toCaller.done>;
type Checkpoint = ValueOf<typeof scan.toCaller.checkpoint>;

export interface ScanJob {
  /** Where the disposable has the volume. */
  readonly attached: Volume;
  /** The volume as its snapshot is: name, mode, size in bytes, and when it was frozen. */
  readonly volume: Pick<SnapshotVolume, 'name' | 'mode' | 'size' | 'takenAt'>;
  readonly compress: boolean;
  readonly checkpointEvery: number;
  readonly recheckBytes: number;
  readonly recheckFrom: number;
  /** Read and store all of it again; the base is only compared with, or left out where `withBase` is false. */
  readonly reread: boolean;
  readonly withBase: boolean;
  readonly excludes: ExcludeRules;
  /** Bytes the volume can hold: more than that, and the reader invents data. */
  readonly capacity: number;
  /** Called when nothing is left to read, and perhaps before, when it seems that little is. */
  readonly ending?: (() => void) | undefined;
}

const SILENCE_OF_A_FULL_WINDOW = 30_000;

/** Milliseconds before the end: a process starts in a part of that, and progress is told every 500, so one such message falls into it. */
const NEAR_THE_END = 1000;

/** What the sessions that run at the same time share of dom0's memory. */
export class UploadShare {
  /** Bytes that each may send ahead: at least one pack, whatever the others do. A tree needs more only above 100 million files. */
  readonly window: number;
  /** Bytes of objects of all of them that are not acknowledged yet. */
  readonly unstored = new Semaphore(DOM0_UPLOAD_SHARE);
  /** Milliseconds of silence after which a session may send the largest blob ahead: that may be what it waits for. */
  readonly patience: number;

  constructor(sessions: number, patience = SILENCE_OF_A_FULL_WINDOW) {
    this.patience = patience;
    this.window = Math.max(Math.floor(DOM0_UPLOAD_SHARE / sessions), creditFor(MAX_PACK));
  }
}

/** What a reader says of a volume that it read to its end. */
export interface Scanned {
  readonly volume: SnapshotVolume;
  readonly done: Done;
  /** The blobs that it refers to: its base's and its own. */
  readonly live: NumberSet;
}

export class ScanSession {
  readonly #call: Call<typeof scan.toService, typeof scan.toCaller>;
  readonly #peer: string;
  /** Milliseconds that it may take in all. */
  readonly #timeout: number;
  readonly #stored: Tally;
  readonly #writer: VmWriter;
  readonly #job: ScanJob;
  readonly #notes: NoteCounter;
  readonly #listener: Listener;
  readonly #server: BlobServer;
  readonly #storing = new Set<Promise<void>>();
  readonly #share: UploadShare;
  /** Credit that it may yet be given on top of its window. */
  #reserve: number;
  readonly #storedBefore: number;
  #quota: number;
  #live: NumberSet | undefined;
  /** What was read so far, and bytes of what was put of it that are not durable yet. */
  #read: Progress = { files: 0, bytes: 0, totalFiles: 0, totalBytes: 0 };
  #unstored = 0;
  /** Bytes that were told. */
  #told = 0;
  readonly #started = performance.now();
  #committing: Promise<void> | undefined;
  #failure: BackupError | undefined;

  constructor(
    call: ServiceCall,
    store: ObjectStore,
    writer: VmWriter,
    job: ScanJob,
    listener: Listener,
    share = new UploadShare(1),
  ) {
    this.#call = new Call(call, scan, {
      window: share.window,
      autoGrant: false,
      maxBulkQueued: MAX_BLOBS_QUEUED,
    });
    this.#peer = call.peer;
    this.#timeout = call.sessionTimeout ?? SESSION_TIMEOUT;
    this.#stored = store.tally(writer.history.record.id);
    this.#share = share;
    this.#reserve = Math.max(creditFor(MAX_BLOB) - share.window, 0);
    this.#writer = writer;
    this.#job = job;
    this.#listener = listener;
    this.#notes = new NoteCounter(listener);
    this.#storedBefore = this.#stored.bytes;
    this.#quota = job.capacity * 1.1 + QUOTA_SLACK;
    const { session } = this.#call;
    this.#server = new BlobServer(
      writer.history,
      { numbers: writer.baseLive, treesOnly: true },
      {
        send: (pieces) => session.send('blob', pieces),
        failed: (error) => this.#fail(error),
      },
    );
  }

  /**
   * The conversation with the disposable, to its result. All that it put is durable afterwards, and none of it referred to
   * until the writer is given the result. Whatever fails, the store keeps its last committed state.
   */
  async run(): Promise<Scanned> {
    const { done, live } = await this.#converse();
    const volume = this.#describe(done.top, done.counts, done);
    try {
      await this.#writer.checkVolume(volume, live);
      return { volume, done, live };
    } catch (error) {
      throw isPeers(error) ? this.#call.blame(error) : error;
    }
  }

  /** The conversation with the disposable, to its result. All that it put is durable afterwards. */
  async #converse(): Promise<Pick<Scanned, 'done' | 'live'>> {
    const deadline = setTimeout(
      () => this.#fail(new BackupError('timeout', `${this.#peer} takes longer than any session may`)),
      this.#timeout,
    );
    try {
      await this.#call.session.send('job', this.#describeJob());
      const done = await this.#serve();
      const live = this.#takeLive();
      await this.#committing;
      await Promise.all(this.#storing);
      await this.#call.finish();
      return { done, live };
    } catch (error) {
      throw this.#failure ?? (await this.#call.explain(this.#call.session.fail(error)));
    } finally {
      clearTimeout(deadline);
      this.#call.abort();
      await this.#committing; // Nothing of this session outlives it; a failure was taken by #fail().
    }
  }

  #describeJob(): Job {
    const { attached, compress, checkpointEvery, recheckBytes, recheckFrom, reread, excludes } = this.#job;
    const base = this.#job.withBase ? this.#writer.baseOf(this.#job.volume) : undefined;
    return {
      volume: attached,
      takenAt: this.#job.volume.takenAt,
      base: base === undefined ? null : { top: base.top, takenAt: base.takenAt },
      firstNumber: this.#writer.history.table.next,
      compress,
      checkpointEvery,
      recheckBytes,
      recheckFrom,
      reread,
      excludes,
    };
  }

  async #serve(): Promise<Done> {
    for (;;) {
      const message = await this.#next();
      switch (message?.name) {
        case 'get':
          this.#server.request(message.value.numbers);
          break;
        case 'putContent':
          await this.#append(KIND.content, message.value);
          break;
        case 'putTree':
          await this.#append(KIND.tree, message.value);
          break;
        case 'live':
          this.#takeLiveSet(message.value);
          break;
        case 'checkpoint':
          this.#checkpoint(message.value);
          break;
        case 'progress':
          this.#read = message.value;
          this.#tell();
          if (this.#isNearTheEnd()) this.#job.ending?.();
          break;
        case 'note':
          this.#notes.take(message.value);
          break;
        case 'done':
          this.#server.stop();
          this.#tellEnd(message.value);
          return message.value;
        case undefined:
          throw new BackupError('protocol', 'ended without a result');
      }
    }
  }

  async #next() {
    const waiting = setTimeout(() => {
      this.#call.session.grant(this.#reserve);
      this.#reserve = 0;
    }, this.#share.patience);
    try {
      return await this.#call.session.receive();
    } finally {
      clearTimeout(waiting);
    }
  }

  async #append(kind: BlobKind, blob: Uint8Array): Promise<void> {
    this.#quota -= blob.length;
    if (this.#quota < 0) throw new BackupError('limit', 'sends more than its volume can hold');
    // Credit counts what was received. A tiny blob becomes an object of MIN_PADDED: what is sealed is bounded as well.
    const size = Math.max(blob.length, MIN_PADDED) + FRAME_COST;
    await this.#share.unstored.take(size);
    const { failure } = this.#call.session;
    if (failure !== undefined) throw failure; // Nothing more is stored of what is lost anyway.
    const { durable } = await this.#writer.append(kind, blob); // Sealed by then: its memory is of use no more.
    this.#call.session.giveBack(blob);
    this.#unstored += size;
    const stored = durable
      .then(
        () => {
          this.#unstored -= size;
          this.#tell();
          this.#call.session.grant(creditFor(blob.length));
        },
        (error: unknown) => this.#fail(error),
      )
      .then(() => this.#share.unstored.give(size));
    this.#storing.add(stored);
    void stored.finally(() => this.#storing.delete(stored));
  }

  /** Tells how much is both read and stored: with a slow store that is what there is to wait for. */
  #tell(): void {
    const { bytes, ...counts } = this.#read;
    if (bytes === 0 || this.#call.session.failure !== undefined) return; // Nothing yet, or nothing any more.
    // What is put of a file that is being read is not among the bytes read yet.
    this.#told = Math.max(this.#told, bytes - this.#unstored);
    this.#listener.progress({ ...counts, bytes: this.#told });
  }

  /** By how fast it went so far. What is said of how much there is may be wrong: then something starts too early, or waits. */
  #isNearTheEnd(): boolean {
    const { files, bytes, totalFiles, totalBytes } = this.#read;
    const done = Math.min(files / totalFiles, bytes / totalBytes); // NaN where nothing is known.
    return done < 1 && (performance.now() - this.#started) * (1 / done - 1) < NEAR_THE_END;
  }

  /** All is read. */
  #tellEnd({ counts: { entries, bytes } }: Done): void {
    this.#read = { files: entries, bytes, totalFiles: entries, totalBytes: bytes };
    if (this.#unstored > 0) this.#tell();
  }

  #takeLiveSet(untrusted: Uint8Array): void {
    if (this.#live !== undefined) throw new BackupError('protocol', 'sent two live sets');
    this.#live = decodeLive(untrusted);
    this.#call.session.grant(creditFor(untrusted.length));
    this.#job.ending?.();
  }

  #takeLive(): NumberSet {
    const live = this.#live;
    this.#live = undefined;
    if (live === undefined) throw new BackupError('protocol', 'names a tree without its live set');
    return live;
  }

  /** Commits what is there as a partial snapshot, while the scan goes on. */
  #checkpoint({ top, changes }: Checkpoint): void {
    if (this.#committing !== undefined)
      throw new BackupError('protocol', 'sent a checkpoint before the last was committed');
    const end = this.#writer.history.table.next;
    const storing = [...this.#storing];
    this.#committing = Promise.all(storing)
      .then(() => this.#writer.checkpoint(this.#describe(top, changes, undefined), end))
      .then(() => {
        this.#committing = undefined;
        return this.#call.session.send('committed', {});
      })
      .catch((error: unknown) => this.#fail(error));
    this.#listener.committing?.(this.#committing);
  }

  /** The volume with the tree `top`; without `done`, as far as it was read. */
  #describe(top: number, changes: Changes, done: Done | undefined): SnapshotVolume {
    const ownersKnown = done === undefined || !done.ownersUnknown;
    return {
      ...this.#job.volume,
      top,
      digest: done === undefined ? null : ownersKnown ? done.digest : done.ownerlessDigest,
      ownersKnown,
      warnings: this.#notes.warnings,
      counts: { ...this.#counts(done), ...this.#sinceComplete(changes) },
    };
  }

  #counts(done: Done | undefined): Omit<Counts, keyof Changes> {
    const storedBytes = this.#stored.bytes - this.#storedBefore;
    if (done === undefined) return { entries: 0, files: 0, bytes: 0, readBytes: 0, storedBytes, skipped: 0 };
    const { entries, files, bytes, readBytes, skipped } = done.counts;
    return { entries, files, bytes, readBytes, storedBytes, skipped };
  }

  /** `changes` since the base, with those of the base if that is a checkpoint: else an interrupted run would hide them. */
  #sinceComplete(changes: Changes): Changes {
    const earlier = this.#writer.changesOfBase(this.#job.volume);
    const sum = (key: keyof Changes) =>
      Math.min(changes[key] + (this.#job.withBase ? earlier[key] : 0), Number.MAX_SAFE_INTEGER);
    return {
      changedFiles: sum('changedFiles'),
      newFiles: sum('newFiles'),
      rewrittenFiles: sum('rewrittenFiles'),
      deletedFiles: sum('deletedFiles'),
    };
  }

  /** A failure outside the receive loop: every wait of the session gets it. */
  #fail(error: unknown): void {
    // What the storage VM did, or dom0 could not do, is not the disposable's fault: it is reported as it was.
    if (!isPeers(error)) {
      this.#failure ??= isBackupError(error)
        ? error
        : new BackupError('internal', messageOf(error), { cause: error });
    }
    this.#call.session.fail(error);
  }
}

/** A set that is malformed in the store is damage; here it is a lie. */
function decodeLive(untrusted: Uint8Array): NumberSet {
  try {
    return NumberSet.decode(untrusted);
  } catch (cause) {
    if (!isBackupError(cause, 'store-damaged')) throw cause;
    throw new BackupError('protocol', 'sent a malformed live set', { cause });
  }
}

function isPeers(error: unknown): error is BackupError {
  return isBackupError(error, 'refused');
}
