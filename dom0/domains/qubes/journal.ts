/**
 * What the driver is about to do, on disk before it does it, so that a later run can undo what a dead one left.
 *
 * Steps that belong together are a transaction: one file, replaced as a whole with each step, so that to commit is to remove one
 * file. A transaction is undone from its newest step to its oldest and stops at one that resists: what was built on must not go
 * before what was built on it. Each kind of step brings the schema of its data and how it is undone. To undo what was never done,
 * or is undone already, is no error.
 */

import { randomBytes } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { decodeChecked, encodeChecked } from '../../../shared/checked-json.ts';
import { BackupError, isBackupError, messageOf, systemCode } from '../../../shared/errors.ts';
import { makePrivateFolder, readFileIfAny, removeFile, replaceFile } from '../../state/files.ts';

/** What undoing found. */
export interface Undone {
  /** `undone`; `nothing`: it was not there (any more); `left`: it is there and not ours, so it was left alone. */
  readonly outcome: 'undone' | 'nothing' | 'left';
  /** What a person reads: `removed the snapshot qib-… of VM work`. Printable ASCII. */
  readonly line: string;
}

/** A kind of step. Its data is all that is needed to undo it. */
export interface StepKind<Data> {
  /** Lower-case letters and hyphens; never reused for anything else. */
  readonly name: string;
  readonly schema: z.ZodType<Data>;
  /** False of what a reboot ends by itself: such a step of an earlier boot is undone already. */
  readonly survivesReboot: boolean;
  /** Idempotent. Throws BackupError if it cannot: the step then stays in the journal. */
  undo(data: Data): Promise<Undone>;
}

/** What tests are told after each change of the journal that is on disk. */
export interface JournalEvent {
  readonly change: 'written' | 'undone' | 'committed';
  readonly kind: string;
}

/** Bytes of a transaction's file: steps are small, but a VM's configuration may be in one. */
const MAX_FILE = 4 * 1024 * 1024;
const FILE = /^[0-9]{16}-[0-9a-f]{8}\.json$/;

const storedStep = z.strictObject({
  kind: z.string().regex(/^[a-z-]{1,40}$/),
  boot: z.string().max(64),
  data: z.unknown(),
});
const stored = z.strictObject({ version: z.literal(1), steps: z.array(storedStep).max(1000) });
type StoredStep = z.output<typeof storedStep>;

export interface JournalOptions {
  /** Told of changes, and waited for. */
  readonly after?: (event: JournalEvent) => Promise<void>;
  /** The id of this boot, if not that of the kernel. */
  readonly boot?: string;
}

export class Journal {
  readonly #folder: string;
  readonly #kinds = new Map<string, (data: unknown) => Promise<Undone>>();
  readonly #lasting = new Set<string>();
  readonly #after: (event: JournalEvent) => Promise<void>;
  readonly #boot: string;
  readonly #open = new Set<string>();

  /** `folder`: a private folder of dom0's state, of which one process at a time is the user. */
  constructor(folder: string, options: JournalOptions = {}) {
    this.#folder = folder;
    this.#after = options.after ?? (() => Promise.resolve());
    this.#boot = options.boot ?? readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    makePrivateFolder(folder);
  }

  /** Makes a kind of step known. All must be, before cleanUp(). Answers the kind, for Transaction.write(). */
  register<Data>(kind: StepKind<Data>): StepKind<Data> {
    if (this.#kinds.has(kind.name))
      throw new BackupError('internal', `two kinds of steps are called ${kind.name}`);
    this.#kinds.set(kind.name, (data) => {
      const parsed = kind.schema.safeParse(data);
      if (!parsed.success) throw damaged(`a step of the kind ${kind.name}`, parsed.error);
      return kind.undo(parsed.data);
    });
    if (kind.survivesReboot) this.#lasting.add(kind.name);
    return kind;
  }

  /** A new transaction. There is nothing on disk before its first step. */
  begin(): Transaction {
    const file = `${this.#nextOrder()}-${randomBytes(4).toString('hex')}.json`;
    this.#open.add(file);
    return this.#transaction(file, []);
  }

  /**
   * Undoes every transaction of runs that died, newest first; answers a line for each thing. What resists is named, stays, and
   * is tried again by the next run. Transactions that this process has under way are left alone.
   */
  async cleanUp(): Promise<readonly string[]> {
    const lines: string[] = [];
    for (const file of readdirSync(this.#folder).sort().reverse()) {
      if (this.#open.has(file)) continue;
      if (!FILE.test(file)) {
        // replaceFile() was cut short: what was to be done was not begun.
        if (file.endsWith('.tmp')) removeFile(join(this.#folder, file));
        else lines.push(`left ${join(this.#folder, file)} alone: it is not a part of the journal`);
        continue;
      }
      try {
        lines.push(...(await this.#transaction(file, this.#read(file)).rollBack()));
      } catch (error) {
        // A leftover that resists must not keep every later run from working.
        if (!isBackupError(error)) throw error;
        lines.push(...(error instanceof RollBackError ? error.lines : []), error.message);
      }
    }
    return lines;
  }

  /** Microseconds since 1970, so that later ones sort later; more where the clock went back meanwhile. */
  #nextOrder(): string {
    const files = [...this.#open, ...readdirSync(this.#folder)].filter((file) => FILE.test(file));
    const newest = Math.max(0, ...files.map((file) => Number(file.split('-')[0])));
    return String(Math.max(Date.now() * 1000, newest + 1)).padStart(16, '0');
  }

  #transaction(file: string, steps: StoredStep[]): Transaction {
    const path = join(this.#folder, file);
    return new Transaction(steps, {
      boot: this.#boot,
      after: this.#after,
      save: (current) => {
        if (current.length > 0) replaceFile(path, encode(current));
        else {
          removeFile(path);
          this.#open.delete(file);
        }
      },
      undo: async (step) => this.#undo(step, path),
      abandon: () => this.#open.delete(file),
    });
  }

  async #undo(step: StoredStep, path: string): Promise<Undone> {
    const undo = this.#kinds.get(step.kind);
    if (undo === undefined)
      throw new BackupError(
        'io',
        `${path} tells of a step of the kind ${step.kind}, which this version does not know: run the one that wrote it`,
      );
    if (step.boot !== this.#boot && !this.#lasting.has(step.kind))
      return { outcome: 'nothing', line: `a restart of the machine undid: ${step.kind}` };
    return undo(step.data);
  }

  #read(file: string): StoredStep[] {
    const path = join(this.#folder, file);
    const bytes = readFileIfAny(path) ?? new Uint8Array();
    if (bytes.length > MAX_FILE) throw damaged(path);
    const found = decodeChecked(bytes, stored);
    if (found.is === 'whole') return found.value.steps;
    if (found.is === 'damaged') throw damaged(path, found.cause);
    const what = `${path} is a journal of another version of this program`;
    throw new BackupError('io', `${what}: run the one that wrote it`, { cause: found.cause });
  }
}

/** A step could not be undone. */
class RollBackError extends BackupError {
  /** Of the steps that were undone before. */
  readonly lines: readonly string[];

  constructor(lines: readonly string[], cause: BackupError) {
    super(cause.code, cause.message, { cause });
    this.lines = lines;
  }
}

interface Backing {
  readonly boot: string;
  readonly after: (event: JournalEvent) => Promise<void>;
  readonly save: (steps: readonly StoredStep[]) => void;
  readonly undo: (step: StoredStep) => Promise<Undone>;
  /** What could not be undone is for the next cleanUp(). */
  readonly abandon: () => void;
}

/** Steps that are undone together, or have come to their end together. */
export class Transaction {
  readonly #steps: StoredStep[];
  readonly #backing: Backing;

  constructor(steps: StoredStep[], backing: Backing) {
    this.#steps = steps;
    this.#backing = backing;
  }

  /** Has a step on disk; do it after that. Answers the function that replaces its data, durably, while it is under way. */
  async write<Data>(kind: StepKind<Data>, data: Data): Promise<(data: Data) => Promise<void>> {
    const step: StoredStep = {
      kind: kind.name,
      boot: this.#backing.boot,
      data: kind.schema.parse(data),
    };
    this.#steps.push(step);
    await this.#saved('written', kind.name);
    return async (changed) => {
      if (!this.#steps.includes(step))
        throw new BackupError('internal', `the step ${kind.name} has come to its end`);
      step.data = kind.schema.parse(changed);
      await this.#saved('written', kind.name);
    };
  }

  /** Undoes all steps, newest first; answers a line for each that was something. Stops at the first that fails, and throws. */
  async rollBack(): Promise<readonly string[]> {
    const lines: string[] = [];
    for (let step = this.#steps.at(-1); step !== undefined; step = this.#steps.at(-1)) {
      const { outcome, line } = await this.#undo(step, lines);
      if (outcome !== 'nothing') lines.push(line);
      this.#steps.pop();
      await this.#saved('undone', step.kind);
    }
    return lines;
  }

  /** Undoes what was done before `error`, and answers what is to be thrown: that, with what resists. */
  async rollBackAfter(error: unknown): Promise<unknown> {
    try {
      await this.rollBack();
      return error;
    } catch (left) {
      if (!isBackupError(error) || !isBackupError(left)) return left;
      const message = `${error.message} Besides, what was made cannot be removed, and the next run tries again: ${left.message}`;
      return new BackupError(error.code, message, { cause: error });
    }
  }

  async #undo(step: StoredStep, lines: readonly string[]): Promise<Undone> {
    try {
      return await this.#backing.undo(step);
    } catch (error) {
      this.#backing.abandon();
      if (isBackupError(error)) throw new RollBackError(lines, error);
      if (systemCode(error) === undefined) throw error; // A mistake of this program.
      const refused = new BackupError('io', `cannot undo the step ${step.kind}: ${messageOf(error)}`, {
        cause: error,
      });
      throw new RollBackError(lines, refused);
    }
  }

  /** All is done, and no longer for this journal to undo. */
  async commit(): Promise<void> {
    const last = this.#steps.at(-1);
    if (last === undefined) return;
    this.#steps.length = 0;
    await this.#saved('committed', last.kind);
  }

  async #saved(change: JournalEvent['change'], kind: string): Promise<void> {
    this.#backing.save(this.#steps);
    await this.#backing.after({ change, kind });
  }
}

function damaged(what: string, cause?: unknown): BackupError {
  return new BackupError(
    'io',
    `the journal is damaged (${what}), so what it tells of is not undone: look for what is named qib-... or tagged ` +
      'qubes-backup-temporary, remove that, then the file',
    { cause },
  );
}

function encode(steps: readonly StoredStep[]): Uint8Array {
  const bytes = encodeChecked({ version: 1, steps });
  if (bytes.length > MAX_FILE) throw new BackupError('limit', 'a step of the journal is too large');
  return bytes;
}
