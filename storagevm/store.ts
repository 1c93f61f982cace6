/** The store of this storage VM: a back end, the ledger, and the owner's settings. What the four services work on. */

import { equalBytes, hex, utf8 } from '../shared/bytes.ts';
import { BackupError } from '../shared/errors.ts';
import { MAX_OBJECT } from '../shared/limits.ts';
import type { ObjectId } from '../shared/ids.ts';
import { decodeRoot } from '../shared/root.ts';
import { objectName } from './back-end.ts';
import type { BackEnd } from './back-end.ts';
import type { Ledger } from './ledger/ledger.ts';
import { newPass } from './ledger/apply-list.ts';
import type { Renewal } from './ledger/renew.ts';
import { isDue, sweep } from './ledger/sweep.ts';
import { takeBack } from './ledger/take-in.ts';
import type { Swept } from './ledger/sweep.ts';
import type { SweepProgress } from './ledger/sweep-options.ts';
import { listObjects } from './listing.ts';
import type { StoredObject } from './listing.ts';
import { PutSession } from './put-session.ts';
import { Roots } from './roots.ts';
import type { Sweeper } from './sweeper.ts';

/** What a store is known by; another version's is refused. */
const FORMAT = utf8('qubes-incremental-backup store 2\n');
const FORMAT_FILE = /^qubes-incremental-backup store [1-9]\d{0,3}\n$/;
/** Longest `format` and `key` that are read. */
const MAX_SMALL = 1024;
const KEY_FILE = /^[0-9a-f]{64}\n$/;

/** What the owner of the storage VM decides (config.ts). */
export interface Settings {
  /** Bytes that the objects may take in all; undefined: no limit. */
  readonly quota: number | undefined;
  /** Bytes that are left free where the back end's place has an end. */
  readonly reserve: number;
  /** Seconds of store-age for which what is dead is kept. */
  readonly grace: number;
}

export interface SweepWhen {
  readonly stopped?: () => boolean;
  readonly now?: boolean;
  readonly progress?: SweepProgress | undefined;
}

export class Store {
  readonly backEnd: BackEnd;
  readonly ledger: Ledger;
  readonly roots: Roots;
  readonly settings: Settings;
  readonly renewal: Renewal | undefined;
  readonly #sweeper: Sweeper | undefined;
  #known = false;

  /**
   * `ledger`: a folder of this machine, which need not exist. `sweeper`: of a machine that only sweeps. `renewal`: where the place locks
   * what it stores.
   */
  constructor(
    backEnd: BackEnd,
    ledger: Ledger,
    settings: Settings,
    { sweeper, renewal }: { readonly sweeper?: Sweeper; readonly renewal?: Renewal } = {},
  ) {
    this.backEnd = backEnd;
    this.ledger = ledger;
    this.roots = sweeper?.roots ?? new Roots(backEnd, ledger);
    this.settings = settings;
    this.renewal = renewal;
    this.#sweeper = sweeper;
  }

  /** True if there is a store of this format, false if there is none at all. Throws `store-version`, `store-damaged`. */
  async exists(): Promise<boolean> {
    this.#known ||= await this.#look(); // What is not there may come while a session is open.
    return this.#known;
  }

  /** Makes sure that there is a store, durably. Its format is the first file of it. */
  async prepare(): Promise<void> {
    if (await this.exists()) return;
    await this.backEnd.create('format', FORMAT);
    this.#known = await this.#look();
  }

  /** The bytes of an object as they are: whoever reads checks their hash. Throws `io` if they cannot be delivered. */
  async read(id: ObjectId): Promise<Uint8Array | undefined> {
    return (await this.exists()) ? this.backEnd.read(objectName(id), MAX_OBJECT) : undefined;
  }

  /** All objects in batches, sorted by name over all of them. */
  async *list(): AsyncGenerator<readonly StoredObject[]> {
    if (await this.exists()) yield* listObjects(this.backEnd);
  }

  /** The bytes of the newest root, unverified but durable; undefined if there is none. */
  async currentRoot(): Promise<Uint8Array | undefined> {
    return (await this.exists()) ? (await this.roots.newest())?.bytes : undefined;
  }

  openPuts(): PutSession {
    return new PutSession(this);
  }

  /**
   * Pins `key` (Ed25519, 32 bytes) durably if none is pinned, or `replaced` is; answers the one that is pinned then. Only under
   * the ledger's lock.
   */
  async pinKey(key: Uint8Array, replaced?: Uint8Array): Promise<Uint8Array> {
    const text = utf8(`${hex(key)}\n`);
    const pinned = await this.pinnedKey();
    if (pinned === undefined) await this.backEnd.create('key', text);
    else if (replaced !== undefined && equalBytes(pinned, replaced)) await this.backEnd.write('key', text);
    await this.backEnd.sync(['key']);
    return (await this.pinnedKey()) ?? key;
  }

  /** The key that is pinned, undefined if none is. Throws `store-damaged`. */
  async pinnedKey(): Promise<Uint8Array | undefined> {
    const found = await this.backEnd.read('key', MAX_SMALL);
    if (found === undefined) return undefined;
    const text = Buffer.from(found).toString('latin1');
    if (KEY_FILE.test(text)) return Buffer.from(text.trimEnd(), 'hex');
    throw new BackupError(
      'store-damaged',
      'the file "key" of the store in the storage VM is damaged: put back the public key of your repository',
    );
  }

  /** Sweeps, and renews locks, until it is done, or `stopped` answers true. With `now` what is dead has no grace any more. */
  async sweep({ stopped = () => false, now = false, progress }: SweepWhen = {}): Promise<Swept> {
    await this.prepare();
    const { grace, ...others } = this.#sweepOptions;
    const options = { ...others, grace: now ? 0 : grace, progress };
    return this.ledger.locked(async () => {
      await this.#sweeper?.look();
      const swept = await sweep(options, stopped);
      const { renewal } = this;
      if (!swept.finished || renewal === undefined) return swept;
      return { ...swept, finished: await renewal.goOn(options, stopped) };
    });
  }

  /** Sweeps for at most `milliseconds`, if there is something to do. */
  async sweepABit(milliseconds: number): Promise<void> {
    if (!(await isDue(this.#sweepOptions)) && (await this.renewal?.isDue()) !== true) return;
    const end = performance.now() + milliseconds;
    await this.sweep({ stopped: () => performance.now() > end });
  }

  /** The owner’s word: the list that waits, because it leaves out much, is to be applied. Throws `usage` if none waits. */
  async acceptList(): Promise<void> {
    await this.#alone(async (ledger) => {
      const state = await ledger.readState();
      if (state.waiting === null) throw new BackupError('usage', 'no live list waits for a decision');
      const { root } = state.waiting;
      await ledger.writeState({ ...state, accepted: root, waiting: null, pass: newPass(root) });
    });
  }

  /**
   * The owner’s word: makes the root of this number the newest again, and takes back every death since it was superseded. Throws
   * `usage` if it is not there.
   */
  async restoreRoot(number: number): Promise<void> {
    await this.#alone(async (ledger) => {
      const [root, newest] = [await this.roots.read(number), await this.roots.newest()];
      if (root === undefined || newest === undefined || root.number === newest.number)
        throw new BackupError('usage', `the store keeps no older root of number ${number}`);
      const age = await ledger.clock.advance();
      const next = newest.number + 1;
      await takeBack(ledger, number, next, age);
      await this.roots.add(next, root.bytes);
      await this.#repin(root.bytes);
    });
  }

  async #alone(action: (ledger: Ledger) => Promise<void>): Promise<void> {
    if (!(await this.exists())) throw new BackupError('usage', 'there is no store yet');
    await this.ledger.locked(() => action(this.ledger));
  }

  /** Pins the key of a root that its owner chose. */
  async #repin(root: Uint8Array): Promise<void> {
    await this.backEnd.write('key', utf8(`${hex(decodeRoot(root).body.publicKey)}\n`));
    await this.backEnd.sync(['key']);
  }

  get #sweepOptions() {
    const { backEnd, ledger, roots, settings } = this;
    return { backEnd, ledger, roots, grace: settings.grace };
  }

  async #look(): Promise<boolean> {
    let found = await this.backEnd.read('format', MAX_SMALL);
    if (found === undefined) {
      if (await this.#isEmpty()) return false;
      found = await this.backEnd.read('format', MAX_SMALL); // It comes before anything else: by now it must be there.
      if (found === undefined)
        throw new BackupError(
          'store-damaged',
          'the file "format" of the store is missing in the storage VM: is this a store?',
        );
    }
    if (equalBytes(found, FORMAT)) return true;
    if (!FORMAT_FILE.test(Buffer.from(found).toString('latin1')))
      throw new BackupError(
        'store-damaged',
        `the file "format" of the store in the storage VM is damaged: its one line should be "${Buffer.from(FORMAT).toString('latin1').trimEnd()}"`,
      );
    throw new BackupError(
      'store-version',
      'the file "format" of the store in the storage VM names a format that this program does not know: update it there',
    );
  }

  async #isEmpty(): Promise<boolean> {
    for (const what of ['roots', 'objects'] as const)
      for await (const batch of this.backEnd.list(what)) if (batch.length > 0) return false;
    return true;
  }
}
