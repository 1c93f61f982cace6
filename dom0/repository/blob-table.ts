/**
 * A VM's blob table: number -> object, kind, epoch. Rows live in leaves of 1,024 that are read when needed and
 * written with the record that commits them. A number is final once a root commits it.
 */

import { hex, readU32, u32 } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { idBytes } from '../../shared/ids.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { MAX_BLOB_NUMBER, TABLE_LEAF_ROWS } from '../../shared/limits.ts';
import { KIND } from '../seal/object.ts';
import type { BlobKind, Kind } from '../seal/object.ts';
import type { ObjectStore, Sealer } from './object-store.ts';
import { tableLeafSchema } from './records.ts';
import type { Reference, TableLeaf, VmRecord } from './records.ts';

export interface Row {
  readonly id: ObjectId;
  readonly kind: BlobKind;
  readonly epoch: number;
}

const DROPPED = 0;
/** Leaves kept in memory that are as they are stored, 37 KiB each: those of 10 TiB come to 48 MiB. */
const MAX_UNCHANGED = 256;
/** Leaves that are sealed and on their way to the store at the same time. */
const WRITTEN_AT_ONCE = 32;

/** One leaf in memory; a row is dropped while its kind is 0. */
interface Leaf {
  readonly ids: Uint8Array;
  readonly kinds: Uint8Array;
  /** Four bytes a row. */
  readonly epochs: Uint8Array;
}

export class BlobTable {
  readonly #store: ObjectStore;
  readonly #sealer: (kind: Kind, number: number, epoch: number) => Sealer;
  readonly #committed: VmRecord;
  /** As they are stored; least recently used first. */
  readonly #unchanged = new Map<number, Promise<Leaf>>();
  readonly #changed = new Map<number, Promise<Leaf>>();
  #next: number;

  constructor(
    store: ObjectStore,
    sealer: (kind: Kind, number: number, epoch: number) => Sealer,
    committed: VmRecord,
  ) {
    this.#store = store;
    this.#sealer = sealer;
    this.#committed = committed;
    this.#next = committed.nextNumber;
  }

  /** The number that the next append() gives. */
  get next(): number {
    return this.#next;
  }

  /** The row of `number`, or undefined if there never was one or it was dropped. */
  async row(number: number): Promise<Row | undefined> {
    if (number >= this.#next) return undefined;
    const leaf = await this.#leaf(Math.floor(number / TABLE_LEAF_ROWS));
    const at = number % TABLE_LEAF_ROWS;
    const kind = leaf.kinds[at];
    if (kind !== KIND.content && kind !== KIND.tree) return undefined;
    return {
      id: hex(leaf.ids.subarray(32 * at, 32 * at + 32)) as ObjectId,
      kind,
      epoch: readU32(leaf.epochs, 4 * at),
    };
  }

  /** Adds a row. The tail leaf must have been loaded by {@link prepare}. */
  async append(row: Row): Promise<number> {
    const number = this.#next;
    if (number > MAX_BLOB_NUMBER) throw new BackupError('limit', 'this VM has used up its blob numbers');
    this.#next += 1;
    const leaf = await this.#leafToChange(Math.floor(number / TABLE_LEAF_ROWS));
    const at = number % TABLE_LEAF_ROWS;
    leaf.ids.set(idBytes(row.id), 32 * at);
    leaf.kinds[at] = row.kind;
    leaf.epochs.set(u32(row.epoch), 4 * at);
    return number;
  }

  /** Forgets the rows of `numbers`: no snapshot refers to them any more. */
  async drop(numbers: Iterable<number>): Promise<Set<number>> {
    const touched = new Set<number>();
    for (const number of numbers) {
      const index = Math.floor(number / TABLE_LEAF_ROWS);
      const leaf = await this.#leafToChange(index);
      const at = number % TABLE_LEAF_ROWS;
      leaf.ids.fill(0, 32 * at, 32 * at + 32);
      leaf.kinds[at] = DROPPED;
      leaf.epochs.fill(0, 4 * at, 4 * at + 4);
      touched.add(index);
    }
    return touched;
  }

  /**
   * Stores the leaves that hold rows from `start` up to `end` and those of `touched`; answers all leaves' names for
   * the numbers below `end`.
   */
  async write(
    start: number,
    end: number,
    touched: ReadonlySet<number>,
    previous: readonly Reference[],
    epoch: number,
  ): Promise<Reference[]> {
    const leaves = [...previous];
    const dirty = new Set(touched);
    for (
      let index = Math.floor(start / TABLE_LEAF_ROWS);
      index * TABLE_LEAF_ROWS < end && start < end;
      index++
    )
      dirty.add(index);
    const writing = dirty.values();
    const writeAll = async () => {
      for (const index of writing) {
        const leaf = await this.#leaf(index);
        const rows = Math.min(TABLE_LEAF_ROWS, end - index * TABLE_LEAF_ROWS);
        const sealer = this.#sealer(KIND.tableLeaf, index, epoch);
        const object = await this.#store.putRecord(sealer, tableLeafSchema, encodeLeaf(leaf, rows));
        leaves[index] = { object, epoch };
      }
    };
    await Promise.all(Array.from({ length: WRITTEN_AT_ONCE }, writeAll));
    return leaves;
  }

  #leaf(index: number): Promise<Leaf> {
    const leaf = this.#changed.get(index) ?? this.#unchanged.get(index) ?? this.#read(index);
    if (this.#changed.has(index)) return leaf;
    this.#unchanged.delete(index);
    this.#unchanged.set(index, leaf);
    const [oldest] = this.#unchanged.keys();
    if (this.#unchanged.size > MAX_UNCHANGED && oldest !== undefined) this.#unchanged.delete(oldest);
    return leaf;
  }

  /** The leaf, which from now on is another one than is stored, and so is never read again. */
  #leafToChange(index: number): Promise<Leaf> {
    const leaf = this.#leaf(index);
    this.#unchanged.delete(index);
    this.#changed.set(index, leaf);
    return leaf;
  }

  async #read(index: number): Promise<Leaf> {
    const reference = this.#committed.leaves[index];
    const leaf: Leaf = {
      ids: new Uint8Array(32 * TABLE_LEAF_ROWS),
      kinds: new Uint8Array(TABLE_LEAF_ROWS),
      epochs: new Uint8Array(4 * TABLE_LEAF_ROWS),
    };
    if (reference === undefined) return leaf;
    const sealer = this.#sealer(KIND.tableLeaf, index, reference.epoch);
    const record = await this.#store.getRecord(
      sealer,
      tableLeafSchema,
      reference.object,
      `blob table ${index}`,
    );
    const rows = record.kinds.length;
    const expected = Math.min(TABLE_LEAF_ROWS, this.#committed.nextNumber - index * TABLE_LEAF_ROWS);
    if (rows !== expected || record.ids.length !== 32 * rows || record.epochs.length !== 4 * rows) {
      throw new BackupError('store-damaged', `blob table ${index} has the wrong number of rows`);
    }
    leaf.ids.set(record.ids);
    leaf.kinds.set(record.kinds);
    leaf.epochs.set(record.epochs);
    return leaf;
  }
}

function encodeLeaf({ ids, kinds, epochs }: Leaf, rows: number): TableLeaf {
  return { ids: ids.slice(0, 32 * rows), kinds: kinds.slice(0, rows), epochs: epochs.slice(0, 4 * rows) };
}
