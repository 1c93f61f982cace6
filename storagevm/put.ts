/**
 * qubes.BackupPut: objects in, acknowledgements out. Three things happen at once: objects arrive, several are
 * written, and those written are made durable and acknowledged by groups (group commit), in the order they came.
 */

import { BackupError } from '../shared/errors.ts';
import { objectIdOf } from '../shared/ids.ts';
import type { ObjectId } from '../shared/ids.ts';
import { MAX_REQUEST, SERVICE_WINDOW } from '../shared/limits.ts';
import { MIN_OBJECT } from '../shared/protocol/storage.ts';
import type { put } from '../shared/protocol/storage.ts';
import type { ServiceSession } from '../shared/service.ts';
import type { PutSession } from './put-session.ts';

/** What a session needs of the store. */
type Puts = Pick<PutSession, 'write' | 'sync' | 'close'>;

/** An object that is on its way to the store. */
interface Arrived {
  readonly id: ObjectId;
  readonly size: number;
  /** Resolves when it is written: whether it was new. */
  readonly written: Promise<boolean>;
  /** `written` settled, one way or the other. */
  settled: boolean;
}

export async function servePut(
  session: ServiceSession<typeof put>,
  store: { openPuts(): Puts },
): Promise<void> {
  const queue = new Queue();
  const puts = store.openPuts();
  // Together, because either may fail while the other waits; what the other then says is not news.
  try {
    await Promise.all([takeObjects(session, puts, queue), acknowledge(session, puts, queue)]);
  } finally {
    queue.stop();
    await puts.close();
  }
}

async function takeObjects(session: ServiceSession<typeof put>, puts: Puts, queue: Queue): Promise<void> {
  for (let message = await session.receive(); message !== undefined; message = await session.receive()) {
    const bytes = message.value;
    if (bytes.length < MIN_OBJECT) {
      throw new BackupError(
        'protocol',
        `an object of ${bytes.length} bytes came, the smallest has ${MIN_OBJECT}`,
      );
    }
    if (!(await queue.room(bytes.length))) return;
    const id = objectIdOf(bytes);
    const written = puts.write(id, bytes).then((stored) => {
      session.giveBack(bytes); // Not after a failure: a request that was given up may still be at it.
      return stored;
    });
    queue.add(id, bytes.length, written);
  }
  queue.end();
}

/** Acknowledges until the queue ends. When a write failed, those before it are still acknowledged first. */
async function acknowledge(session: ServiceSession<typeof put>, puts: Puts, queue: Queue): Promise<void> {
  for (let group = await queue.group(); group.length > 0; group = await queue.group()) {
    const results = await Promise.allSettled(group.map(({ written }) => written));
    const objects: { id: ObjectId; stored: boolean }[] = [];
    for (const [index, { id }] of group.entries()) {
      const result = results[index];
      if (result?.status !== 'fulfilled') break;
      objects.push({ id, stored: result.value });
    }
    if (objects.length > 0) {
      await puts.sync(objects.map(({ id }) => id));
      await session.send('ack', { objects });
    }
    const failed = results[objects.length];
    if (failed?.status === 'rejected') throw failed.reason;
    queue.release(group);
  }
}

/** Objects in order of arrival, bounded in number and bytes. */
class Queue {
  readonly #waiting: Arrived[] = [];
  #objects = 0;
  #bytes = 0;
  #ended = false;
  #stopped = false;
  #change = Promise.withResolvers<undefined>();

  /** Waits until one more object of `size` bytes may be held; one is always allowed. False after {@link stop}. */
  async room(size: number): Promise<boolean> {
    while (
      !this.#stopped &&
      this.#objects > 0 &&
      (this.#objects >= MAX_REQUEST || this.#bytes + size > SERVICE_WINDOW)
    ) {
      await this.#change.promise;
    }
    return !this.#stopped;
  }

  add(id: ObjectId, size: number, written: Promise<boolean>): void {
    const arrived: Arrived = { id, size, written, settled: false };
    const settle = () => {
      arrived.settled = true;
      this.#wake();
    };
    written.then(settle, settle); // A failure is thrown by acknowledge(), in its turn.
    this.#waiting.push(arrived);
    this.#objects += 1;
    this.#bytes += size;
  }

  /** Waits for the first object to be written, and takes it with all after it that are written, too. Empty at the end. */
  async group(): Promise<readonly Arrived[]> {
    while (this.#waiting[0]?.settled !== true) {
      if (this.#ended && this.#waiting.length === 0) return [];
      await this.#change.promise;
    }
    const unsettled = this.#waiting.findIndex(({ settled }) => !settled);
    return this.#waiting.splice(0, unsettled < 0 ? this.#waiting.length : unsettled);
  }

  /** Frees the place of a group that was acknowledged. */
  release(group: readonly Arrived[]): void {
    this.#objects -= group.length;
    for (const { size } of group) this.#bytes -= size;
    this.#wake();
  }

  /** Nothing will be added. */
  end(): void {
    this.#ended = true;
    this.#wake();
  }

  /** The session failed: nothing more is to be started. */
  stop(): void {
    this.#stopped = true;
    this.#wake();
  }

  #wake(): void {
    const { resolve } = this.#change;
    this.#change = Promise.withResolvers();
    resolve(undefined);
  }
}
