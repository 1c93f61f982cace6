/** The storage VM's real handlers, each served over any pair of byte streams: what its own process does, without it. */

import { join } from 'node:path';
import { isBackupError, messageOf } from '../../../shared/errors.ts';
import { SERVICE_WINDOW } from '../../../shared/limits.ts';
import { get, list, put, setRoot } from '../../../shared/protocol/storage.ts';
import { printableText } from '../../../shared/format.ts';
import type { FrameTable, Protocol } from '../../../shared/wire/frame.ts';
import type { ByteIo } from '../../../shared/wire/io.ts';
import { Session } from '../../../shared/wire/session.ts';
import type { StoreName } from '../../../storagevm/back-end.ts';
import { DirectoryBackEnd } from '../../../storagevm/directory.ts';
import { serveGet } from '../../../storagevm/get.ts';
import { Ledger } from '../../../storagevm/ledger/ledger.ts';
import { serveList } from '../../../storagevm/list.ts';
import { servePut } from '../../../storagevm/put.ts';
import { serveSetRoot } from '../../../storagevm/set-root.ts';
import { Store } from '../../../storagevm/store.ts';

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

  override write(name: StoreName, bytes: Uint8Array): Promise<boolean> {
    return this.#note(super.write(name, bytes));
  }

  override sync(names: readonly StoreName[]): Promise<void> {
    return this.#note(super.sync(names));
  }

  override create(name: StoreName, bytes: Uint8Array): Promise<boolean> {
    return this.#note(super.create(name, bytes));
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

/** The services of a storage VM that keeps its objects in `store`: a folder, or a store of its own. */
export function storageServices(store: string | Store): ReadonlyMap<string, Service> {
  if (typeof store !== 'string') return servicesOf(store, () => Promise.resolve());
  const backEnd = new SettlingBackEnd(store);
  const ledger = new Ledger(join(store, 'ledger'));
  const settings = { quota: undefined, reserve: 0, grace: 30 * 24 * 3600 };
  return servicesOf(new Store(backEnd, ledger, settings), () => backEnd.settled());
}

function servicesOf(store: Store, afterwards: () => Promise<void>): ReadonlyMap<string, Service> {
  return new Map<string, Service>([
    service(put, (session) => servePut(session, store), afterwards),
    service(get, (session) => serveGet(session, store), afterwards),
    service(list, (session) => serveList(session, store), afterwards),
    service(setRoot, (session) => serveSetRoot(session, store), afterwards),
  ]);
}
