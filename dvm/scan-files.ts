/**
 * The files of a scan: what did not change keeps its chunks unread, of the rest only chunks that are not known are stored.
 * Beside that a share of the unchanged is read again to catch disks and readers that lied, and what lies in mostly
 * dead packs is stored again, so that those can go.
 */

import { equalBytes } from '../shared/bytes.ts';
import { REPACK_BUDGET } from '../shared/limits.ts';
import type { Changes } from '../shared/protocol/disposable.ts';
import type { OpenFile } from './access.ts';
import { ChunkTable } from './chunk-table.ts';
import type { ContentReader, Rereads } from './content.ts';
import type { Describer } from './describe.ts';
import { hasSameMetadata, lostPrivileges, sameState } from './describe.ts';
import type { ChunkContent } from './digest.ts';
import { TYPE } from './entry.ts';
import type { Chunk, Entry } from './entry.ts';
import type { Stat } from './stat.ts';
import type { PackWriter } from './pack-writer.ts';
import type { SegmentPlace } from './place.ts';
import type { RecheckWindow } from './recheck.ts';
import type { Base, BaseChunks } from './scan-base.ts';
import type { TreeEntry } from './tree.ts';
import type { Found, Noter } from './walk.ts';

export interface FileCounts extends Omit<Changes, 'deletedFiles'> {
  readBytes: number;
  recheckedBytes: number;
  recheckMismatches: number;
}

export interface FileScannerParts {
  readonly base: Base | undefined;
  readonly reader: ContentReader;
  readonly describer: Describer;
  readonly packs: PackWriter;
  readonly window: RecheckWindow;
  /** Nothing of the base is trusted: all is read and stored again. */
  readonly reread: boolean;
  readonly note: Noter;
  readonly tick: () => Promise<void> | undefined;
}

export class FileScanner {
  readonly #parts: FileScannerParts;
  readonly #counts = {
    changedFiles: 0,
    newFiles: 0,
    rewrittenFiles: 0,
    recheckedBytes: 0,
    recheckMismatches: 0,
  };
  /** Loaded when the first chunk is looked up: a volume without changes needs none. */
  #chunks: BaseChunks | undefined;
  #repackLeft = REPACK_BUDGET;
  /** Hard-linked files that were read: the other names need no reading. */
  readonly #linked = new Map<number, { readonly stat: Stat; readonly chunks: readonly Chunk[] }>();

  constructor(parts: FileScannerParts) {
    this.#parts = parts;
  }

  /** `readBytes` leaves out what was only read again to compare. */
  get counts(): Readonly<FileCounts> {
    return { ...this.#counts, readBytes: this.#parts.reader.bytesRead - this.#counts.recheckedBytes };
  }

  /** The entry of a regular file with its chunks; undefined if it is gone. At once if nothing of it need be read. */
  scan(found: Found, known: TreeEntry | undefined): TreeEntry | undefined | Promise<TreeEntry | undefined> {
    const { base, describer, window, reread } = this.#parts;
    const start = window.advance(found.stat.size);
    const unchanged = known !== undefined && base?.isUnchanged(found, known.entry) === true;
    if (reread) return this.#readAnew(found, known, unchanged);
    if (unchanged && !this.#isVisited(found, known, start)) {
      return asKnown(known, describer.describe(found, known.entry), known.chunks);
    }
    return this.#scanContent(found, known, start, unchanged);
  }

  async #scanContent(
    found: Found,
    known: TreeEntry | undefined,
    start: number,
    unchanged: boolean,
  ): Promise<TreeEntry | undefined> {
    if (unchanged && known !== undefined) {
      const chunks = await this.#revisit(found, known, start);
      const item = chunks && asKnown(known, this.#parts.describer.describe(found, known.entry), chunks);
      if (item !== undefined) return item;
    }
    const touched = known && (await this.#describedAnew(found, known, start));
    if (touched !== undefined) {
      this.#counts.changedFiles += 1;
      return touched;
    }
    const read = await this.#read(found, known?.chunks);
    if (read !== undefined && !isSame(known, read)) this.#countChange(known, read);
    return read;
  }

  /** One that was only read again is no change. */
  #countChange(known: TreeEntry | undefined, read: TreeEntry): void {
    this.#counts.changedFiles += 1;
    if (known?.entry.type !== TYPE.file) this.#counts.newFiles += 1;
    else if (!hasContentOf(known, read)) this.#counts.rewrittenFiles += 1;
  }

  /**
   * The entry of a file of which only metadata changed. Its ctime alone cannot tell that from a write whose mtime was set
   * back; a mode, owner, attribute or flag that differs explains it, unless a write does that as well. Else the content
   * is read. So it is of what became or is no longer linked: a new link's content is read anyway, under its own name.
   */
  async #describedAnew(found: Found, known: TreeEntry, start: number): Promise<TreeEntry | undefined> {
    if (this.#parts.base?.hasContentOf(found, known.entry) !== true) return undefined;
    const entry = this.#parts.describer.describe(found);
    if (entry === undefined || entry.linked !== known.entry.linked) return undefined;
    if (hasSameMetadata(entry, known.entry) || lostPrivileges(known.entry, entry)) return undefined;
    const chunks = await this.#revisit(found, known, start);
    return chunks && { entry, chunks };
  }

  /** Reads a file whatever the base says of it, and says where the base was wrong. */
  async #readAnew(
    found: Found,
    known: TreeEntry | undefined,
    unchanged: boolean,
  ): Promise<TreeEntry | undefined> {
    const before = this.#parts.reader.bytesRead;
    const read = await this.#read(found);
    if (unchanged) this.#counts.recheckedBytes += this.#parts.reader.bytesRead - before;
    if (read === undefined || isSame(known, read)) return read;
    this.#countChange(known, read);
    if (unchanged && !read.entry.unreadable && !read.entry.doubtful) this.#mismatch(found);
    return read;
  }

  /** `known`: the chunks that it had, if they are to be looked for. */
  async #read(found: Found, known?: readonly Chunk[]): Promise<TreeEntry | undefined> {
    const { stat } = found;
    const isLinked = stat.links > 1;
    const seen = isLinked ? this.#linked.get(stat.inode) : undefined;
    if (seen !== undefined && sameState(seen.stat, stat)) return this.#described(found, seen.chunks);
    const keep = (chunk: ChunkContent, bytes: Uint8Array) => this.#keep(chunk, bytes);
    const content = await this.#parts.reader.read(found, keep, { known });
    if (content.kind === 'vanished') return undefined;
    if (content.kind === 'unreadable') return this.#described({ ...found, unreadable: true }, []);
    const { chunks, doubtful } = content;
    if (isLinked && !doubtful) this.#linked.set(stat.inode, { stat: content.stat, chunks });
    const read = this.#described({ ...found, stat: content.stat, flags: content.flags }, chunks);
    return read && doubtful ? { ...read, entry: { ...read.entry, doubtful } } : read;
  }

  #described(found: Found, chunks: readonly Chunk[]): TreeEntry | undefined {
    const entry = this.#parts.describer.describe(found);
    return entry && { entry, chunks };
  }

  /** Stores a chunk unless it is known. */
  async #keep(chunk: ChunkContent, bytes: Uint8Array): Promise<Chunk> {
    const { table } = (this.#chunks ??= await this.#load());
    const known = table.get(chunk.hash);
    if (known !== undefined && !this.#shallMove(known, chunk.length)) return { ...chunk, place: known };
    return { ...chunk, place: await this.#store(table, chunk, bytes) };
  }

  async #store(table: ChunkTable, chunk: ChunkContent, bytes: Uint8Array): Promise<SegmentPlace> {
    await this.#parts.packs.ready();
    const place = this.#parts.packs.add(bytes);
    table.set(chunk.hash, place);
    return place;
  }

  async #load(): Promise<BaseChunks> {
    const { base, reread, tick } = this.#parts;
    return base === undefined || reread
      ? { table: new ChunkTable(), sparse: new Set() }
      : base.loadChunks(tick);
  }

  #isSparse(place: SegmentPlace): boolean {
    const { pack } = place.segment;
    return pack !== undefined && this.#chunks?.sparse.has(pack.number) === true;
  }

  /** True if a stored chunk is to be stored again; takes it off the budget. */
  #shallMove(place: SegmentPlace, length: number): boolean {
    if (this.#repackLeft < length || !this.#isSparse(place)) return false;
    this.#repackLeft -= length;
    return true;
  }

  /** True if something of a file that seems unchanged is to be read again, or moved. */
  #isVisited(found: Found, known: TreeEntry, start: number): boolean {
    if (this.#parts.window.overlaps(start, found.stat.size)) return true;
    const sparse = this.#chunks?.sparse;
    return (
      sparse !== undefined && sparse.size > 0 && known.chunks.some((chunk) => sparse.has(chunk.place.blob))
    );
  }

  /** Chunks of a file whose content seems unchanged, some of them moved; undefined if what was read again was not what is stored. */
  async #revisit(found: Found, known: TreeEntry, start: number): Promise<readonly Chunk[] | undefined> {
    const { window, reader } = this.#parts;
    if (!this.#isVisited(found, known, start)) return known.chunks;
    const file = reader.reopen(found);
    if (file === undefined) return undefined;
    try {
      const chunks: Chunk[] = [];
      const rereads = reader.rereads(file);
      let moved = false;
      let position = 0;
      for (const chunk of known.chunks) {
        position += chunk.gap;
        const due = window.overlaps(start + position, chunk.length);
        if (due) this.#counts.recheckedBytes += chunk.length;
        const visited = await this.#visit(file, chunk, position, due ? rereads : undefined);
        if (visited === undefined) break;
        chunks.push(visited);
        moved ||= visited !== chunk;
        position += chunk.length;
        await this.#parts.tick();
      }
      if (chunks.length < known.chunks.length || !(await rereads.finish())) {
        this.#mismatch(found);
        return undefined;
      }
      return moved ? chunks : known.chunks;
    } finally {
      file.close();
    }
  }

  /** The chunk with the place that it has from now on; undefined if it, or one before it, is seen not to be what is stored. */
  async #visit(
    file: OpenFile,
    chunk: Chunk,
    position: number,
    rereads: Rereads | undefined,
  ): Promise<Chunk | undefined> {
    const table = this.#chunks?.table;
    const current = this.#chunks?.sparse.has(chunk.place.blob) === true ? table?.get(chunk.hash) : undefined;
    if (table !== undefined && current !== undefined && this.#shallMove(current, chunk.length)) {
      const bytes = this.#parts.reader.reread(file, position, chunk);
      return bytes && { ...chunk, place: await this.#store(table, chunk, bytes) };
    }
    if (rereads !== undefined && !(await rereads.add(position, chunk))) return undefined;
    return current !== undefined && !this.#isSparse(current) ? { ...chunk, place: current } : chunk;
  }

  #mismatch(found: Found): void {
    this.#counts.recheckMismatches += 1;
    this.#parts.note(
      'changed',
      found.path,
      'its content is not what was stored, though its times are: read again',
    );
  }
}

/** What was found of a file that seems unchanged: `known` itself if it is. */
function asKnown(
  known: TreeEntry,
  entry: Entry | undefined,
  chunks: readonly Chunk[],
): TreeEntry | undefined {
  return entry && (entry === known.entry && chunks === known.chunks ? known : { entry, chunks });
}

/** True if a file that was read again is what the base has: it was only too young to be trusted unread. */
function isSame(known: TreeEntry | undefined, read: TreeEntry): boolean {
  return known !== undefined && sameState(known.entry, read.entry) && hasContentOf(known, read);
}

function hasContentOf(known: TreeEntry, read: TreeEntry): boolean {
  if (known.entry.size !== read.entry.size || known.chunks.length !== read.chunks.length) return false;
  return known.chunks.every((chunk, i) => equalBytes(chunk.hash, read.chunks[i]?.hash ?? new Uint8Array(0)));
}
