/** Snapshots made by hand, and a "dom0" that serves their blobs from memory to a real service process. */

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { byteString, concat, hex, u32, u64, utf8 } from '../../shared/bytes.ts';
import type { ByteString } from '../../shared/bytes.ts';
import { SERVICE_WINDOW } from '../../shared/limits.ts';
import type { browse, compare } from '../../shared/protocol/browse.ts';
import type { drill, exportPaths, restore, verify } from '../../shared/protocol/disposable.ts';
import type { FrameTable } from '../../shared/wire/frame.ts';
import { streamIo } from '../../shared/wire/io.ts';
import { Session } from '../../shared/wire/session.ts';
import type { Message } from '../../shared/wire/session.ts';
import type { BlobSource } from '../../dvm/blobs.ts';
import { TYPE } from '../../dvm/entry.ts';
import type { Chunk, Entry } from '../../dvm/entry.ts';
import { LeafEncoder } from '../../dvm/leaf-encoder.ts';
import { wrapTreeBlob } from '../../dvm/tree-blob.ts';
import { TreeWriter, encodeTop } from '../../dvm/tree.ts';
import type { Leaf, Top, TreeEntry } from '../../dvm/tree.ts';
import { COMPILED, PROJECT, start } from '../support/processes.ts';

export const bytes = (text: string): ByteString => byteString(utf8(text));
export const sha256 = (data: Uint8Array): Uint8Array =>
  new Uint8Array(createHash('sha256').update(data).digest());

const ME = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

/** An entry owned by this user, with what `fields` say. A path may be given as text. */
export function entryOf(path: string, type: Entry['type'], fields: Partial<Entry> = {}): Entry {
  return {
    path: bytes(path),
    type,
    mode: type === TYPE.directory ? 0o755 : 0o644,
    ...ME,
    mtime: { seconds: 1_600_000_000, nanoseconds: 123_456_789 },
    ctime: { seconds: 1_600_000_001, nanoseconds: 987_654_321 },
    inode: 1000,
    linked: false,
    doubtful: false,
    unreadable: false,
    attributes: [],
    size: 0,
    target: '' as ByteString,
    device: [0, 0],
    flags: 0,
    ...fields,
  };
}

export const directory = (path: string, fields: Partial<Entry> = {}): TreeEntry => ({
  entry: entryOf(path, TYPE.directory, fields),
  chunks: [],
});

export const symlink = (path: string, target: string, fields: Partial<Entry> = {}): TreeEntry => ({
  entry: entryOf(path, TYPE.symlink, { mode: 0o777, target: bytes(target), ...fields }),
  chunks: [],
});

/** Blobs in memory, by number; a pack of raw segments for each piece of content. */
export class MemoryStore implements BlobSource {
  readonly blobs = new Map<number, Uint8Array>();
  /** Numbers in the order they were got. */
  readonly got: number[] = [];
  /** Leaves by hash. */
  readonly #leaves = new Map<string, number>();
  #next: number;

  constructor(firstNumber = 0) {
    this.#next = firstNumber;
  }

  get(number: number): Promise<Uint8Array> {
    this.got.push(number);
    const blob = this.blobs.get(number);
    return blob === undefined ? Promise.reject(new Error(`no blob ${number}`)) : Promise.resolve(blob);
  }

  prefetch(): void {}

  put(blob: Uint8Array): number {
    this.blobs.set(this.#next, blob);
    return this.#next++;
  }

  /** Stores `contents` as one pack; the chunks lie in it one after the other. Each must fit a segment. */
  pack(...contents: Uint8Array[]): Chunk[] {
    const number = this.put(rawPack(...contents));
    const packSize = contents.reduce((sum, content) => sum + content.length, 0);
    let offset = 0;
    return contents.map((content) => {
      const chunk = {
        gap: 0,
        length: content.length,
        hash: sha256(content),
        place: { blob: number, offset, packSize },
      };
      offset += content.length;
      return chunk;
    });
  }

  /** A regular file of `contents`, one chunk each, in a pack of its own. */
  file(path: string, contents: (Uint8Array | string)[], fields: Partial<Entry> = {}): TreeEntry {
    const pieces = contents.map((content) => (typeof content === 'string' ? utf8(content) : content));
    const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
    const chunks = pieces.length === 0 ? [] : this.pack(...pieces);
    return { entry: entryOf(path, TYPE.file, { size, ...fields }), chunks };
  }

  /** Writes a tree; answers the number of its top. */
  async tree(entries: readonly TreeEntry[]): Promise<number> {
    const writer = new TreeWriter(async (leaf) => this.put(await leaf.blob()));
    for (const { entry, chunks } of entries) await writer.add(entry, chunks);
    return this.put(await encodeTop(await writer.finish()));
  }

  /**
   * Writes a tree whose leaves end where `endsAfter` says, told the path and how many of its chunks are written. Equal
   * leaves are stored once.
   */
  async cutTree(
    entries: readonly TreeEntry[],
    endsAfter: (path: ByteString, chunks: number) => boolean,
  ): Promise<number> {
    const encoder = new LeafEncoder();
    const leaves: Leaf[] = [];
    let first: { path: ByteString; skip: number } | undefined;
    let count = 0;
    const flush = async () => {
      if (first === undefined) return;
      const raw = encoder.take();
      const hash = sha256(raw);
      const number = this.#leaves.get(hex(hash)) ?? this.put(await wrapTreeBlob(raw, true));
      this.#leaves.set(hex(hash), number);
      leaves.push({ firstPath: first.path, skip: first.skip, entries: count, number, hash });
      first = undefined;
      count = 0;
    };
    for (const { entry, chunks } of entries) {
      first ??= { path: entry.path, skip: 0 };
      encoder.addEntry(entry, chunks.length);
      count += 1;
      if (endsAfter(entry.path, 0)) await flush();
      for (const [index, chunk] of chunks.entries()) {
        first ??= { path: entry.path, skip: index + 1 };
        encoder.addChunk(chunk);
        if (endsAfter(entry.path, index + 1)) await flush();
      }
    }
    await flush();
    const totalBytes = entries.reduce((sum, { entry }) => sum + entry.size, 0);
    return this.put(await encodeTop({ totalEntries: entries.length, totalBytes, leaves }));
  }

  /** Writes a tree of one leaf without any of the checks of a writer. */
  async hostileTree(
    entries: readonly TreeEntry[],
    fields: Partial<Top> = {},
    leafFields: Partial<Leaf> = {},
  ): Promise<number> {
    const encoder = new LeafEncoder();
    for (const { entry, chunks } of entries) {
      encoder.addEntry(entry, chunks.length);
      for (const chunk of chunks) encoder.addChunk(chunk);
    }
    const raw = encoder.take();
    const number = this.put(await wrapTreeBlob(raw, true));
    const leaf = {
      firstPath: bytes(''),
      skip: 0,
      entries: entries.length,
      number,
      hash: sha256(raw),
      ...leafFields,
    };
    const totalBytes = entries.reduce((sum, { entry }) => sum + entry.size, 0);
    return this.put(await encodeTop({ totalEntries: entries.length, totalBytes, leaves: [leaf], ...fields }));
  }
}

/** A content blob of uncompressed segments (docs/format.md, section 7). */
export function rawPack(...segments: Uint8Array[]): Uint8Array {
  const headers = segments.map((raw) => concat([Uint8Array.of(0), u32(raw.length), u32(raw.length)]));
  return concat([Uint8Array.of(1, segments.length), ...headers, ...segments]);
}

type ReadingProtocol =
  typeof restore | typeof browse | typeof compare | typeof exportPaths | typeof drill | typeof verify;
type Said<P extends ReadingProtocol> = Message<P['toCaller']>;

export interface Answer<P extends ReadingProtocol> {
  /** Everything but `get` and `progress`. */
  readonly said: readonly Said<P>[];
  /** Blob numbers in the order they were asked for. */
  readonly got: readonly number[];
  /** What the session failed with, if it did. */
  readonly failure: string | undefined;
  readonly code: number | null;
  readonly stderr: string;
}

export interface ServeOptions {
  /** A program and arguments that run the service: to drop privileges, say. */
  readonly wrapper?: readonly string[] | undefined;
  /** What to serve instead of the stored blob of a number. */
  readonly substitute?: (number: number) => Uint8Array | undefined;
}

/** Runs a service as a process, plays dom0 and answers what the service said. */
export async function callService<P extends ReadingProtocol>(
  protocol: P,
  job: object,
  store: MemoryStore,
  options: ServeOptions = {},
): Promise<Answer<P>> {
  const command = [process.execPath, join(PROJECT, 'services', 'dvm', `${protocol.service}.ts`)];
  const [program, ...args] = options.wrapper === undefined ? command : [...options.wrapper, ...command];
  const child = start(program ?? process.execPath, args, { env: { PATH: process.env['PATH'], ...COMPILED } });
  const over = new Promise<{ code: number | null; stderr: string }>((resolve) => {
    let stderr = '';
    child.stderr.on('data', (piece: Buffer) => (stderr += piece.toString()));
    child.once('close', (code) => resolve({ code, stderr }));
  });
  const tables: Record<'incoming' | 'outgoing', FrameTable> = {
    incoming: protocol.toCaller,
    outgoing: protocol.toService,
  };
  const session = new Session(streamIo(child.stdout, child.stdin), tables, {
    peer: protocol.service,
    window: SERVICE_WINDOW,
  });
  const said: unknown[] = [];
  const got: number[] = [];
  let failure: string | undefined;
  try {
    await session.send('job', job);
    for (let message = await session.receive(); message !== undefined; message = await session.receive()) {
      if (message.name === 'get' && 'get' in protocol.toCaller) {
        for (const number of protocol.toCaller.get.schema.parse(message.value).numbers) {
          got.push(number);
          const blob = options.substitute?.(number) ?? store.blobs.get(number) ?? new Uint8Array(0);
          await session.send('blob', [u64(number), blob]);
        }
      } else if (message.name !== 'progress') said.push(message);
      if (message.name === 'done') await session.finish();
    }
  } catch (error) {
    failure = error instanceof Error ? error.message : String(error);
  }
  child.stdin.end();
  const { code, stderr } = await over;
  return { said: said as Said<P>[], got, failure, code, stderr };
}
