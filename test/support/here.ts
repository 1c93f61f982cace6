/** Services served in the caller's own process, over pipes in memory. */

import { duplexPair } from 'node:stream';
import type { Duplex } from 'node:stream';
import type { ServiceCall } from '../../dom0/domains/domains.ts';
import { streamIo } from '../../shared/wire/io.ts';
import type { ByteIo } from '../../shared/wire/io.ts';
import type { Store } from '../../storagevm/store.ts';
import { storageServices } from '../attack/peer/storage-services.ts';
import type { Service } from '../attack/peer/storage-services.ts';

/** Calls a service of a storage VM that keeps its objects in `store`: a folder, or a back end of its own. */
export function callStorageHere(name: string, store: string | Store): ServiceCall {
  return callHere(name, storageServices(store).get(name));
}

export function callHere(name: string, found: Service | undefined): ServiceCall {
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
