/** The services of both parts, served in the test's own process: the real handlers over in-memory pipes. */

import { duplexPair } from 'node:stream';
import type { Duplex } from 'node:stream';
import type { ServiceCall } from '../../dom0/domains/domains.ts';
import { proveVolume } from '../../dvm/prove.ts';
import { restoreVolume } from '../../dvm/restore.ts';
import { scanVolume } from '../../dvm/scan.ts';
import { verifyVolume } from '../../dvm/verify.ts';
import { isBackupError, messageOf } from '../../shared/errors.ts';
import { prove, restore, scan, verify } from '../../shared/protocol/disposable.ts';
import { get, list, put, setRoot } from '../../shared/protocol/storage.ts';
import { printableText } from '../../shared/service.ts';
import type { FrameTable, Protocol } from '../../shared/wire/frame.ts';
import { streamIo } from '../../shared/wire/io.ts';
import type { ByteIo } from '../../shared/wire/io.ts';
import { Session } from '../../shared/wire/session.ts';
import type { BackEnd } from '../../storagevm/back-end.ts';
import { DirectoryBackEnd } from '../../storagevm/directory.ts';
import { serveGet } from '../../storagevm/get.ts';
import { serveList } from '../../storagevm/list.ts';
import { servePut } from '../../storagevm/put.ts';
import { serveSetRoot } from '../../storagevm/set-root.ts';

/** Serves one session over `io`; true if all of it worked. */
export type Service = (io: ByteIo) => Promise<boolean>;

/** What {@link ../../shared/service.ts} does around a handler, without the process. */
export function service<In extends FrameTable, Out extends FrameTable>(
  protocol: Protocol<In, Out>,
  handler: (session: Session<In, Out>) => Promise<void>,
): readonly [string, Service] {
  const serveOne: Service = async (io) => {
    const session = new Session(
      io,
      { incoming: protocol.toService, outgoing: protocol.toCaller },
      { peer: 'dom0', window: 2 ** 25 },
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
    }
  };
  return [protocol.service, serveOne];
}

const DISPOSABLE = new Map<string, Service>([
  service(scan, scanVolume),
  service(restore, restoreVolume),
  service(verify, verifyVolume),
  service(prove, proveVolume),
]);

function storageServices(backEnd: BackEnd): ReadonlyMap<string, Service> {
  return new Map<string, Service>([
    service(put, (session) => servePut(session, backEnd)),
    service(get, (session) => serveGet(session, backEnd)),
    service(list, (session) => serveList(session, backEnd)),
    service(setRoot, (session) => serveSetRoot(session, backEnd)),
  ]);
}

/** Calls a service of a storage VM that keeps its objects in `store`: a folder, or a back end of its own. */
export function callStorageHere(name: string, store: string | BackEnd): ServiceCall {
  const backEnd = typeof store === 'string' ? new DirectoryBackEnd(store) : store;
  return callHere(name, storageServices(backEnd).get(name));
}

/**
 * Calls a service of a disposable, or `instead` of it. One at a time: it changes the working folder and the umask of
 * this process.
 */
export function callDisposableHere(name: string, instead?: Service): ServiceCall {
  const found = instead ?? DISPOSABLE.get(name);
  return callHere(name, found && ((io) => inOwnSurroundings(() => found(io))));
}

async function inOwnSurroundings<T>(work: () => Promise<T>): Promise<T> {
  const [folder, mask] = [process.cwd(), process.umask(0o022)];
  try {
    return await work();
  } finally {
    process.chdir(folder);
    process.umask(mask);
  }
}

function callHere(name: string, found: Service | undefined): ServiceCall {
  if (found === undefined) throw new Error(`no service ${name}`);
  const [ours, theirs] = duplexPair();
  const exited = found(copyingIo(theirs)).then((worked) => {
    theirs.end();
    return { code: worked ? 0 : 1, signal: null };
  });
  return {
    peer: `here: ${name}`,
    io: copyingIo(ours),
    exited,
    stderr: () => '',
    hangUp: () => ours.end(),
    kill: () => {
      ours.destroy();
      theirs.destroy();
    },
  };
}

/** A pipe of the kernel copies what is written; a stream in memory would hand over the writer's own buffer. */
function copyingIo(stream: Duplex): ByteIo {
  const io = streamIo(stream, stream);
  return { ...io, write: (pieces) => io.write(pieces.map((piece) => Buffer.from(piece))) };
}
