/**
 * The other side of qubes.BackupScan and qubes.BackupVerify for tests: starts the real service process and keeps its
 * blobs in memory. Refuses everything that dom0 would refuse.
 */

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { Pack } from '../../dvm/pack.ts';
import type { BlobSource } from '../../dvm/blobs.ts';
import type { Entry } from '../../dvm/entry.ts';
import { TreeWriter, decodeTop, encodeTop, readTree } from '../../dvm/tree.ts';
import type { TreeEntry } from '../../dvm/tree.ts';
import { NumberSet } from '../../shared/numbers.ts';
import { scan, verify } from '../../shared/protocol/disposable.ts';
import type { Changes, ExcludeRules, Volume } from '../../shared/protocol/disposable.ts';
import type { FrameTable, Protocol, ValueOf } from '../../shared/wire/frame.ts';
import { streamIo } from '../../shared/wire/io.ts';
import { Session } from '../../shared/wire/session.ts';
import { u64 } from '../../shared/bytes.ts';
import { COMPILED } from '../support/processes.ts';

const SERVICES = join(import.meta.dirname, '..', '..', 'services', 'dvm');

export type Done = ValueOf<typeof scan.toCaller.done>;
export type Job = ValueOf<typeof scan.toService.job>;
export type Note = ValueOf<typeof scan.toCaller.note>;

interface Snapshot {
  readonly top: number;
  readonly takenAt: number;
  readonly live: NumberSet;
}

export interface ScanRun {
  readonly done: Done;
  readonly notes: Note[];
  /** What this run put. */
  readonly content: number;
  readonly trees: number;
  readonly bytes: number;
  readonly contentBytes: number;
  /** The committed checkpoints, oldest first. */
  readonly checkpoints: Snapshot[];
  /** What each of them says of its difference from the base. */
  readonly changes: Changes[];
}

/** Runs `talk` with a service's process on the other end of its stdio, then holds both to the protocol's end. */
async function withService<A extends FrameTable, B extends FrameTable, T>(
  protocol: Protocol<A, B>,
  talk: (session: Session<B, A>) => Promise<T>,
  command: readonly string[] = [],
): Promise<T> {
  const line = [...command, process.execPath, join(SERVICES, `${protocol.service}.ts`)];
  const child = spawn(line[0] ?? '', line.slice(1), { stdio: ['pipe', 'pipe', 'pipe'], env: COMPILED });
  let stderr = '';
  child.stderr.on('data', (piece: Buffer) => (stderr += piece.toString()));
  const exited = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  const tables = { incoming: protocol.toCaller, outgoing: protocol.toService };
  const session = new Session(streamIo(child.stdout, child.stdin), tables, {
    peer: protocol.service,
    window: 32 * 2 ** 20,
  });
  try {
    const result = await talk(session);
    await session.finish();
    await session.drained();
    const code = await exited;
    if (code !== 0) throw new Error(`exited with ${code}: ${stderr}`);
    return result;
  } finally {
    child.stdin.destroy();
    child.kill('SIGKILL');
    await exited;
  }
}

export const NO_EXCLUDES: ExcludeRules = {
  lists: [],
  cachedirTag: false,
  nodump: false,
  volumeFile: false,
};

export class ScanDom0 {
  readonly blobs = new Map<number, { kind: 'content' | 'tree'; bytes: Uint8Array }>();
  /** The newest snapshot. */
  newest: Snapshot | undefined;
  #next = 1000;

  /** Backs `folder` up. `takenAt` defaults to a time at which nothing recent is racy any more. */
  scan(folder: string, options: Partial<Job> = {}, command: readonly string[] = []): Promise<ScanRun> {
    return withService(scan, (session) => this.#serve(session, folder, options), command);
  }

  async #serve(
    session: Session<typeof scan.toCaller, typeof scan.toService>,
    folder: string,
    options: Partial<Job>,
  ): Promise<ScanRun> {
    const base = this.newest;
    const firstNumber = this.#next;
    const job: Job = {
      volume: { kind: 'folder', path: folder },
      takenAt: Date.now() + 10_000,
      base: base === undefined ? null : { top: base.top, takenAt: base.takenAt },
      firstNumber,
      compress: true,
      checkpointEvery: 3600_000,
      recheckBytes: 0,
      recheckFrom: 0,
      reread: false,
      excludes: NO_EXCLUDES,
      ...options,
    };
    await session.send('job', job);
    const run = {
      notes: [] as Note[],
      content: 0,
      trees: 0,
      bytes: 0,
      contentBytes: 0,
      checkpoints: [] as Snapshot[],
      changes: [] as Changes[],
    };
    let live: NumberSet | undefined;
    const allowed = () => (base?.live ?? NumberSet.empty).union(NumberSet.range(firstNumber, this.#next));
    const take = (top: number, live: NumberSet | undefined): Snapshot => {
      if (live?.isSubsetOf(allowed()) !== true) throw new Error('live is not within base and new');
      if (!live.has(top) || this.blobs.get(top)?.kind !== 'tree') throw new Error('the top is no live tree');
      return { top, takenAt: job.takenAt, live };
    };
    for (;;) {
      const message = await session.receive();
      switch (message?.name) {
        case 'get':
          for (const number of message.value.numbers) {
            if (base?.live.has(number) !== true) throw new Error(`blob ${number} is not the base's`);
            const blob = this.blobs.get(number);
            if (blob?.kind !== 'tree') throw new Error(`blob ${number} is no tree`);
            session.send('blob', [u64(number), blob.bytes]).catch((error: unknown) => session.fail(error));
          }
          break;
        case 'putContent':
        case 'putTree': {
          const kind = message.name === 'putTree' ? 'tree' : 'content';
          this.blobs.set(this.#next++, { kind, bytes: message.value });
          run[kind === 'tree' ? 'trees' : 'content'] += 1;
          run.bytes += message.value.length;
          if (kind === 'content') run.contentBytes += message.value.length;
          break;
        }
        case 'live':
          if (live !== undefined) throw new Error('two live sets');
          live = NumberSet.decode(message.value);
          break;
        case 'checkpoint':
          this.newest = take(message.value.top, allowed());
          run.checkpoints.push(this.newest);
          run.changes.push(message.value.changes);
          session.send('committed', {}).catch((error: unknown) => session.fail(error));
          break;
        case 'note':
          run.notes.push(message.value);
          break;
        case 'progress':
          break;
        case 'done':
          this.newest = take(message.value.top, live);
          return { ...run, done: message.value };
        case undefined:
          throw new Error('ended without a result');
      }
    }
  }

  /** All entries of a snapshot, read and checked by the tree reader; only live blobs are there. */
  async entries(snapshot = this.newest): Promise<TreeEntry[]> {
    if (snapshot === undefined) throw new Error('no snapshot');
    const blobs: BlobSource = {
      get: (number) => Promise.resolve(this.#blob(snapshot, number, 'tree')),
      prefetch: () => undefined,
    };
    const top = decodeTop(await blobs.get(snapshot.top));
    const entries: TreeEntry[] = [];
    for await (const item of readTree(top, blobs)) entries.push(item);
    return entries;
  }

  /** Every path of a snapshot with its entry and its content. */
  async files(snapshot = this.newest): Promise<Map<string, { entry: Entry; content: Buffer }>> {
    const files = new Map<string, { entry: Entry; content: Buffer }>();
    const packs = new Map<number, Pack>();
    for (const { entry, chunks } of await this.entries(snapshot)) {
      const content = Buffer.alloc(entry.size);
      let at = 0;
      for (const { gap, length, place } of chunks) {
        let pack = packs.get(place.blob);
        if (pack === undefined)
          packs.set(place.blob, (pack = new Pack(this.#blob(snapshot, place.blob, 'content'))));
        if (pack.size !== place.packSize) throw new Error('the pack has another size');
        content.set(pack.read(place.offset, length), at + gap);
        at += gap + length;
      }
      files.set(entry.path, { entry, content });
    }
    return files;
  }

  /** Replaces the newest snapshot by one of other entries: a base that says what is not so. */
  async rewrite(change: (item: TreeEntry) => TreeEntry): Promise<void> {
    const newest = this.newest;
    if (newest === undefined) throw new Error('no snapshot');
    const put = (bytes: Uint8Array) => {
      this.blobs.set(this.#next, { kind: 'tree', bytes });
      return this.#next++;
    };
    const first = this.#next;
    const writer = new TreeWriter(async (leaf) => put(await leaf.blob()));
    for (const item of await this.entries()) await writer.add(change(item).entry, change(item).chunks);
    const top = put(await encodeTop(await writer.finish()));
    this.newest = { ...newest, top, live: newest.live.union(NumberSet.range(first, this.#next)) };
  }

  /** Packs that the newest snapshot keeps. */
  get livePacks(): number[] {
    return [...(this.newest?.live ?? [])].filter((number) => this.blobs.get(number)?.kind === 'content');
  }

  #blob(snapshot: Snapshot | undefined, number: number, kind: 'content' | 'tree'): Uint8Array {
    const blob = this.blobs.get(number);
    if (snapshot?.live.has(number) !== true || blob?.kind !== kind)
      throw new Error(`blob ${number} is no live ${kind}`);
    return blob.bytes;
  }
}

/** The digest of a folder by the real verifier. */
export function verifyFolder(
  folder: string,
  owners = true,
  command: readonly string[] = [],
  excludes: ExcludeRules | null = null,
): Promise<{ done: ValueOf<typeof verify.toCaller.done>; notes: Note[] }> {
  return verifyVolume({ kind: 'folder', path: folder }, owners, command, excludes);
}

/** The same of a volume of any kind. */
export function verifyVolume(
  volume: Volume,
  owners = true,
  command: readonly string[] = [],
  excludes: ExcludeRules | null = null,
): Promise<{ done: ValueOf<typeof verify.toCaller.done>; notes: Note[] }> {
  const talk = async (session: Session<typeof verify.toCaller, typeof verify.toService>) => {
    await session.send('job', { volume, owners, excludes, deviceSize: null });
    const notes: Note[] = [];
    for (;;) {
      const message = await session.receive();
      if (message?.name === 'note') notes.push(message.value);
      else if (message?.name === 'done') return { done: message.value, notes };
      else if (message === undefined) throw new Error('ended without a result');
    }
  };
  return withService(verify, talk, command);
}
