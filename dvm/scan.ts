/**
 * The job of qubes.BackupScan: a merge-join of the volume's walk with the base's tree. What did not change is taken over
 * unread, the rest is chunked, and only what is not known yet is put.
 */

import { BackupError } from '../shared/errors.ts';
import type { Changes, MountedVolume, scan } from '../shared/protocol/disposable.ts';
import { expect } from '../shared/service.ts';
import type { ServiceSession } from '../shared/service.ts';
import type { ValueOf } from '../shared/wire/frame.ts';
import { SessionBlobs } from './blobs.ts';
import { ContentReader } from './content.ts';
import { Describer } from './describe.ts';
import { TYPE } from './entry.ts';
import type { Entry } from './entry.ts';
import { Excludes, skippedEntry } from './excludes.ts';
import type { Skipped } from './excludes.ts';
import { RecheckWindow } from './recheck.ts';
import { readingDisk } from './disk.ts';
import { Report } from './restore-report.ts';
import { Base } from './scan-base.ts';
import type { BaseCursor } from './scan-base.ts';
import { FileScanner } from './scan-files.ts';
import { ScanOutput } from './scan-output.ts';
import type { TreeEntry } from './tree.ts';
import { entriesOf, mappedOwners, totalsOf } from './volume.ts';
import type { Found, Noter } from './walk.ts';

type Session = ServiceSession<typeof scan>;
type Job = Omit<ValueOf<typeof scan.toService.job>, 'volume'> & { readonly volume: MountedVolume };

/** Serves one session: takes the job, runs it, sends the result. */
export async function scanVolume(session: Session): Promise<void> {
  const { value: job } = expect(await session.receive(), 'job');
  const blobs = new SessionBlobs(session);
  const commits = new Commits();
  receive(session, blobs, commits).catch((error: unknown) => {
    const failure = session.fail(error);
    blobs.fail(failure);
    commits.fail(failure);
  });
  const base = job.base === null ? undefined : await Base.open(job.base, blobs);
  const report = new Report(session);
  const note: Noter = (code, path, detail) => report.note(code, path, detail);
  await readingDisk(job.volume, note, (volume) =>
    new Scan(session, { ...job, volume }, base, commits, report).run(),
  );
}

/** Hands on what comes in while the scan runs. */
async function receive(session: Session, blobs: SessionBlobs, commits: Commits): Promise<void> {
  for (let message = await session.receive(); message !== undefined; message = await session.receive()) {
    if (message.name === 'blob') blobs.deliver(message.value);
    else if (message.name === 'committed') commits.settle();
    else throw new BackupError('protocol', 'sent a second job');
  }
  const ended = new BackupError('service-died', 'the caller ended before the work was done');
  blobs.fail(ended);
  commits.fail(ended);
}

/** The checkpoint that is not committed yet, if any. */
class Commits {
  #open: { readonly resolve: () => void; readonly reject: (error: Error) => void } | undefined;
  #settled: Promise<void> = Promise.resolve();

  get isOpen(): boolean {
    return this.#open !== undefined;
  }

  /** Resolves when no checkpoint is open. */
  get settled(): Promise<void> {
    return this.#settled;
  }

  start(): void {
    this.#settled = new Promise((resolve, reject) => {
      this.#open = { resolve, reject };
    });
    this.#settled.catch(() => undefined); // Whoever waits for it, or sends next, gets the failure.
  }

  settle(): void {
    if (this.#open === undefined) throw new BackupError('protocol', 'committed a checkpoint that is none');
    this.#open.resolve();
    this.#open = undefined;
  }

  fail(error: Error): void {
    this.#open?.reject(error);
    this.#open = undefined;
  }
}

class Scan {
  readonly #session: Session;
  readonly #job: Job;
  readonly #base: Base | undefined;
  readonly #cursor: BaseCursor | undefined;
  readonly #commits: Commits;
  readonly #report: Report;
  readonly #note: Noter;
  readonly #describer: Describer;
  readonly #output: ScanOutput;
  readonly #files: FileScanner;
  #nextCheckpoint: number;
  #skipped = 0;
  /** Files of the base that are something else now, or vanished while they were read. */
  #replacedFiles = 0;

  constructor(session: Session, job: Job, base: Base | undefined, commits: Commits, report: Report) {
    this.#session = session;
    this.#job = job;
    this.#base = base;
    this.#cursor = base?.cursor();
    this.#commits = commits;
    this.#report = report;
    const totals = totalsOf(job.volume) ?? base?.top;
    if (totals !== undefined) this.#report.expect(totals);
    const note: Noter = (code, path, detail) => this.#report.note(code, path, detail);
    const tick = (position = 0) => this.#report.tick(position);
    this.#note = note;
    this.#describer = new Describer(note, mappedOwners(job.volume));
    this.#output = new ScanOutput(session, {
      firstNumber: job.firstNumber,
      compress: job.compress,
      base: job.reread ? undefined : base,
    });
    this.#files = new FileScanner({
      base,
      reader: new ContentReader(note, tick, 'busy'),
      describer: this.#describer,
      packs: this.#output.packs,
      window: new RecheckWindow(base?.top.totalBytes ?? 0, job.recheckBytes, job.recheckFrom),
      reread: job.reread,
      note,
      tick,
    });
    this.#nextCheckpoint = performance.now() + job.checkpointEvery;
  }

  async run(): Promise<void> {
    const excludes = new Excludes(this.#job.excludes, this.#note);
    for (const found of await entriesOf(this.#job.volume, this.#note, excludes)) {
      const turn = this.#report.tick();
      if (turn !== undefined) await turn;
      // A promise costs as much as most entries: only what has to be waited for is one.
      const looked = this.#cursor?.find(found.path);
      const known = looked instanceof Promise ? await looked : looked;
      const scanned = this.#scanEntry(found, known);
      const item = scanned instanceof Promise ? await scanned : scanned;
      if (known?.entry.type === TYPE.file && item?.entry.type !== TYPE.file) this.#replacedFiles += 1;
      if (item === undefined) continue;
      const added = this.#output.add(item);
      if (added !== undefined) await added;
      if (item.entry.type === TYPE.skipped) this.#skipped += 1;
      else this.#report.count(item.entry);
      if (performance.now() >= this.#nextCheckpoint) await this.#checkpoint();
    }
    await this.#finish();
  }

  #scanEntry(
    found: Found | Skipped,
    known: TreeEntry | undefined,
  ): TreeEntry | undefined | Promise<TreeEntry | undefined> {
    if (found.type === TYPE.skipped) return { entry: skippedEntry(found), chunks: [] };
    if (found.type === TYPE.file) return this.#files.scan(found, known);
    const unchanged = known !== undefined && this.#base?.isUnchanged(found, known.entry) === true;
    const entry = this.#describer.describe(found, unchanged ? known.entry : undefined);
    if (found.type === TYPE.socket)
      this.#note('skipped-socket', found.path, 'a socket has no content to back up');
    return entry && (entry === known?.entry ? known : { entry, chunks: [] });
  }

  /**
   * Makes what was scanned so far and the base's remainder a tree that dom0 can commit. At most one is uncommitted: while
   * dom0 is slow, the next waits for a later entry.
   */
  async #checkpoint(): Promise<void> {
    if (this.#commits.isOpen) return;
    await this.#output.settle();
    if (this.#output.isNew) {
      const { tree, lostFiles } = await this.#treeWithRemainder();
      const top = await this.#output.putTop(tree);
      this.#commits.start();
      await this.#session.send('checkpoint', { top, changes: this.#changes(lostFiles) });
    }
    this.#nextCheckpoint = performance.now() + this.#job.checkpointEvery;
  }

  async #treeWithRemainder() {
    const { tree, last } = this.#output.fork();
    const base = this.#base;
    let lostFiles = 0;
    if (base !== undefined) {
      const lost = ({ type }: Entry) => (lostFiles += Number(type === TYPE.file));
      for await (const { entry, chunks } of base.remainder(last.path, last.isDirectory, lost)) {
        await this.#report.tick();
        // Its inode may be another file's by now, which must not pass for the same one.
        const linked = entry.linked && !this.#output.digest.hasLinked(entry.inode);
        // Too young for the base's time stamp, it must not look old beside the new one.
        const doubtful = entry.doubtful || base.isRacy(entry);
        await tree.add({ ...entry, linked, doubtful }, chunks);
      }
    }
    return { tree: await tree.finish(), lostFiles };
  }

  /** What differs from the base so far; `lostFiles` of it are gone though nobody has asked for them yet. */
  #changes(lostFiles: number): Changes {
    const { changedFiles, newFiles, rewrittenFiles } = this.#files.counts;
    const deletedFiles = (this.#cursor?.deletedFiles ?? 0) + this.#replacedFiles + lostFiles;
    return { changedFiles, newFiles, rewrittenFiles, deletedFiles };
  }

  async #finish(): Promise<void> {
    this.#describer.finish();
    await this.#cursor?.finish();
    const { top, tree, live } = await this.#output.finish();
    await this.#report.finish();
    await this.#commits.settled;
    await this.#session.send('live', live.encode());
    await this.#session.send('done', {
      top,
      ...this.#output.digest.finish(),
      ownersUnknown: this.#describer.ownersUnknown,
      counts: {
        entries: tree.totalEntries,
        files: this.#report.files,
        bytes: tree.totalBytes,
        ...this.#files.counts,
        ...this.#changes(0),
        skipped: this.#skipped,
      },
    });
  }
}
