/** Sessions with disposables that say what a test has them say, and a snapshot for them to read. */

import type { ServiceCall } from '../../dom0/domains/domains.ts';
import type { BlobAccess } from '../../dom0/session/read-sessions.ts';
import type { ContentDigest } from '../../shared/ids.ts';
import type { FrameTable, Protocol } from '../../shared/wire/frame.ts';
import type { Session } from '../../shared/wire/session.ts';
import { rejection } from '../support/failure.ts';
import { service } from '../attack/peer/storage-services.ts';
import { callDisposableHere } from '../support/in-process-services.ts';
import { backedUp } from '../support/repository-bench.ts';

/** A call of `protocol` whose service takes its job and then does as `play` says. */
export function played<In extends FrameTable, Out extends FrameTable>(
  protocol: Protocol<In, Out>,
  play: (session: Session<In, Out>) => Promise<void>,
): ServiceCall {
  const [name, serve] = service(protocol, async (session: Session<In, Out>) => {
    await session.receive();
    await play(session);
  });
  return { ...callDisposableHere(name, serve), idleTimeout: 2_000 };
}

/** Access to the two blobs of a snapshot: 0 is content, 1 the tree. */
export async function accessOf(treesOnly = false) {
  const { repository, history } = await backedUp();
  const access: BlobAccess = {
    history,
    grant: { numbers: await history.newestLive(), treesOnly },
  };
  return { access, repository };
}

export const quiet = { progress: () => undefined, note: () => undefined };
export const codeOf = async (work: Promise<unknown>) => (await rejection(work)).code;
export const DIGEST = 'ab'.repeat(32) as ContentDigest;
export const FOLDER = { kind: 'folder', path: '/mnt' } as const;
export const PROGRESS = { files: 1, bytes: 2, totalFiles: 3, totalBytes: 4 };
export const NOTE = { code: 'changed', path: 'a', detail: 'b' } as const;
