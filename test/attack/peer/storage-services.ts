/** The storage VM's real handlers, each served over any pair of byte streams: what its own process does, without it. */

import { isBackupError, messageOf } from '../../../shared/errors.ts';
import type { ObjectId, RootHash } from '../../../shared/ids.ts';
import { SERVICE_WINDOW } from '../../../shared/limits.ts';
import { get, list, put, setRoot } from '../../../shared/protocol/storage.ts';
import { printableText } from '../../../shared/service.ts';
import type { FrameTable, Protocol } from '../../../shared/wire/frame.ts';
import type { ByteIo } from '../../../shared/wire/io.ts';
import { Session } from '../../../shared/wire/session.ts';
import type { BackEnd } from '../../../storagevm/back-end.ts';
import { DirectoryBackEnd } from '../../../storagevm/directory.ts';
import { serveGet } from '../../../storagevm/get.ts';
import { serveList } from '../../../storagevm/list.ts';
import { servePut } from '../../../storagevm/put.ts';
import { serveSetRoot } from '../../../storagevm/set-root.ts';

/** Serves one session over `io`; true if all of it worked. */
export type Service = (io: ByteIo) => Promise<boolean>;

/** What {@link ../../../shared/service.ts} does around a handler, without the process. */
export function service<In extends FrameTable, Out extends FrameTable>(
  protocol: Protocol<In, Out>,
  handler: (session: Session<In, Out>) => Promise<void>,
  afterwards: () => Promise<void> = () => Promise.resolve(),
): readonly [string, Service] {
  const serveOne: Service = async (io) => {
    const session = new Session(
      io,
      { incoming: protocol.toService, outgoing: protocol.toCaller },
      { peer: 'dom0', window: SERVICE_WINDOW },
    );
    try {
      await handler(session);
      await session.finish();
      await session.drained();
      return true;
    } catch (error) {
      const code = isBackupError(error) ? error.code : 'internal';
      await Promise.allSettled([session.sendError(code, printableText(messageOf(error)))]);
      return false;
    } finally {
      await afterwards();
    }
  };
  return [protocol.service, serveOne];
}

/** A back end of which one can wait until it writes nothing any more: a process that dies would not. */
class SettlingBackEnd extends DirectoryBackEnd {
  readonly #running = new Set<Promise<unknown>>();

  override write(id: ObjectId, bytes: Uint8Array): Promise<boolean> {
    return this.#note(super.write(id, bytes));
  }

  override sync(ids: readonly ObjectId[]): Promise<void> {
    return this.#note(super.sync(ids));
  }

  override addRoot(previous: RootHash, root: Uint8Array): Promise<boolean> {
    return this.#note(super.addRoot(previous, root));
  }

  async settled(): Promise<void> {
    await Promise.allSettled(this.#running);
  }

  #note<T>(work: Promise<T>): Promise<T> {
    this.#running.add(work);
    const forget = () => this.#running.delete(work);
    work.then(forget, forget);
    return work;
  }
}

/** The services of a storage VM that keeps its objects in `store`: a folder, or a back end of its own. */
export function storageServices(store: string | BackEnd): ReadonlyMap<string, Service> {
  if (typeof store !== 'string') return servicesOf(store, () => Promise.resolve());
  const backEnd = new SettlingBackEnd(store);
  return servicesOf(backEnd, () => backEnd.settled());
}

function servicesOf(backEnd: BackEnd, afterwards: () => Promise<void>): ReadonlyMap<string, Service> {
  return new Map<string, Service>([
    service(put, (session) => servePut(session, backEnd), afterwards),
    service(get, (session) => serveGet(session, backEnd), afterwards),
    service(list, (session) => serveList(session, backEnd), afterwards),
    service(setRoot, (session) => serveSetRoot(session, backEnd), afterwards),
  ]);
}
