/**
 * dom0's view of one storage VM: sealed objects by name, and the current root. Everything that comes back is
 * untrusted; whoever opens an object checks its hash first (dom0/seal/object.ts).
 */

import { compareBytes } from '../../shared/bytes.ts';
import { BackupError, isBackupError } from '../../shared/errors.ts';
import type { ObjectId, RootHash } from '../../shared/ids.ts';
import { ANSWER_TIMEOUT, DOM0_DOWNLOAD_SHARE } from '../../shared/limits.ts';
import { LIST_ROW, get, list, put, setRoot } from '../../shared/protocol/storage.ts';
import type { WaitingList } from '../../shared/protocol/storage.ts';
import type { Root } from '../../shared/root.ts';
import { Call } from '../call.ts';
import type { Domains } from '../domains/domains.ts';
import type { SealedObject } from '../seal/object.ts';
import { ObjectReader } from './object-reader.ts';
import { ObjectWriter } from './object-writer.ts';

type Publisher = Call<typeof setRoot.toService, typeof setRoot.toCaller>;

export class Storage {
  readonly name: string;
  readonly #domains: Pick<Domains, 'callStorage'>;
  readonly #share: number;
  #reader: Promise<ObjectReader> | undefined;
  #writer: Promise<ObjectWriter> | undefined;
  /** Started, and not asked anything yet. */
  #publisher: Promise<Publisher> | undefined;

  /** `share`: bytes that it may send ahead, in each session. */
  constructor(domains: Pick<Domains, 'callStorage'>, name: string, share = DOM0_DOWNLOAD_SHARE) {
    this.#domains = domains;
    this.name = name;
    this.#share = share;
  }

  /** Starts the reading service, so that it is ready when it is needed. */
  warmUp(): void {
    this.#openReader().catch(() => undefined); // The first real use reports it.
  }

  /** The same of the one that stores objects. */
  warmUpWriting(): void {
    this.#openWriter().catch(() => undefined);
  }

  /** The same of the one that publishes a root: for the next root, which should be soon. */
  warmUpPublishing(): void {
    this.#publisher ??= this.#callPublisher();
    this.#publisher.catch(() => undefined);
  }

  async get(id: ObjectId): Promise<Uint8Array | undefined> {
    return (await this.#openReader()).get(id);
  }

  /** Takes back the memory of an object from {@link get}, at which nobody will look again. */
  giveBack(object: Uint8Array): void {
    this.#reader?.then(
      (reader) => reader.giveBack(object),
      () => undefined, // It failed: nothing more will come.
    );
  }

  async root(): Promise<Uint8Array | undefined> {
    return (await this.#openReader()).root();
  }

  /** Resolves when `object` is durable in the storage VM. */
  async put(object: SealedObject): Promise<void> {
    await (await this.#openWriter()).put(object);
  }

  /**
   * Publishes `root` if `current` is the store's root, and answers what waits for the owner of the storage VM. Throws
   * `store-conflict` if it is not.
   */
  async setRoot(root: Root, current: RootHash): Promise<WaitingList | null> {
    const publisher = this.#publisher ?? this.#callPublisher();
    this.#publisher = undefined; // It takes one root.
    const call = await publisher;
    try {
      await call.session.send('expect', { current });
      await call.session.send('root', root.bytes);
      const answer = await call.session.receive();
      if (answer === undefined) throw new BackupError('protocol', 'ended before it answered');
      await call.finish();
      if (answer.name === 'conflict') {
        throw new BackupError(
          'store-conflict',
          `another root was published in ${this.name} meanwhile: nothing was overwritten`,
        );
      }
      return answer.value.waits;
    } catch (error) {
      if (isBackupError(error, 'store-conflict')) throw error;
      throw await call.explain(call.session.fail(error));
    }
  }

  /**
   * Every object that the storage VM claims to have, as pages of rows of LIST_ROW bytes: name, and size in bytes as u32; sorted by
   * name over all pages. Throws `protocol` on anything else.
   */
  async *listPages(): AsyncGenerator<Uint8Array> {
    const call = new Call(await this.#domains.callStorage(this.name, list.service), list, {
      window: this.#share,
      answerTimeout: ANSWER_TIMEOUT,
    });
    try {
      await call.session.send('start', {});
      let last: Uint8Array = NO_NAME;
      for (;;) {
        const page = await call.session.receive();
        if (page === undefined) break;
        last = checkPage(page.value, last);
        yield page.value;
      }
      await call.finish(); // Not before: credit for a listing above the window would be cut off.
    } catch (error) {
      throw await call.explain(call.session.fail(error));
    } finally {
      call.abort();
    }
  }

  /** Ends all sessions in order; after this, everything was confirmed to the last frame. None is left, even on failure. */
  async close(): Promise<void> {
    const open = (await Promise.all([this.#reader, this.#writer])).filter((session) => session !== undefined);
    this.#reader = undefined;
    this.#writer = undefined;
    await this.#dropPublisher();
    const ended = await Promise.allSettled(open.map((session) => session.finish()));
    for (const session of open) session.abort();
    for (const end of ended) if (end.status === 'rejected') throw end.reason;
  }

  /** Opens what stores objects, stores none, and ends all sessions in order: throws if that does not work. */
  async tryWriting(): Promise<void> {
    try {
      await this.#openWriter();
      await this.close();
    } catch (error) {
      await this.abort();
      throw error;
    }
  }

  /** Forgets the sessions that failed, so that the next use opens new ones. Those that work go on. */
  async forgetFailed(): Promise<void> {
    const [reader, writer] = [this.#reader, this.#writer];
    await this.#dropPublisher();
    if (await hasFailed(reader)) if (this.#reader === reader) this.#reader = undefined;
    if (await hasFailed(writer)) if (this.#writer === writer) this.#writer = undefined;
  }

  /** Ends all sessions at once. */
  async abort(): Promise<void> {
    const [reader, writer] = await Promise.allSettled([this.#reader, this.#writer]);
    this.#reader = undefined;
    this.#writer = undefined;
    if (reader.status === 'fulfilled') reader.value?.abort();
    if (writer.status === 'fulfilled') writer.value?.abort();
    await this.#dropPublisher();
  }

  async #dropPublisher(): Promise<void> {
    const [publisher] = await Promise.allSettled([this.#publisher]);
    this.#publisher = undefined;
    if (publisher.status === 'fulfilled') publisher.value?.abort();
  }

  async #callPublisher(): Promise<Publisher> {
    const call = await this.#domains.callStorage(this.name, setRoot.service);
    return new Call(call, setRoot, { window: 0, answerTimeout: ANSWER_TIMEOUT });
  }

  #openWriter(): Promise<ObjectWriter> {
    this.#writer ??= this.#domains.callStorage(this.name, put.service).then((call) => new ObjectWriter(call));
    return this.#writer;
  }

  #openReader(): Promise<ObjectReader> {
    this.#reader ??= this.#domains
      .callStorage(this.name, get.service)
      .then((call) => new ObjectReader(call, this.#share));
    return this.#reader;
  }
}

/** True of a session that failed, or could not be opened. */
async function hasFailed(session: Promise<ObjectReader | ObjectWriter> | undefined): Promise<boolean> {
  const [opened] = await Promise.allSettled([session]);
  return opened.status === 'rejected' || opened.value?.failed === true;
}

/** Before every name. */
const NO_NAME = new Uint8Array(0);

/** The last name of a page; throws `protocol` unless it is whole rows, each after the one before. `last`: the name before the page. */
function checkPage(page: Uint8Array, last: Uint8Array): Uint8Array {
  if (page.length % LIST_ROW !== 0) throw new BackupError('protocol', 'sent a listing cut in a row');
  let before = last;
  for (let at = 0; at < page.length; at += LIST_ROW) {
    const name = page.subarray(at, at + NAME);
    if (compareBytes(before, name) >= 0) throw new BackupError('protocol', 'sent a listing out of order');
    before = name;
  }
  return new Uint8Array(before);
}

/** Bytes of an object's name. */
const NAME = 32;
