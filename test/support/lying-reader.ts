/** A disposable that a crafted volume has taken over: it reads as the real one does, and says what is not so of one file. */

import { hash } from 'node:crypto';
import { ContentReader } from '../../dvm/content.ts';
import { Describer } from '../../dvm/describe.ts';
import { DigestWriter } from '../../dvm/digest.ts';
import type { ChunkContent } from '../../dvm/digest.ts';
import { TYPE } from '../../dvm/entry.ts';
import type { Chunk } from '../../dvm/entry.ts';
import { ScanOutput } from '../../dvm/scan-output.ts';
import { entriesOf, mappedOwners } from '../../dvm/volume.ts';
import { utf8 } from '../../shared/bytes.ts';
import type { ContentDigest } from '../../shared/ids.ts';
import { NumberSet } from '../../shared/numbers.ts';
import { scan } from '../../shared/protocol/disposable.ts';
import { expect } from '../../shared/service.ts';
import type { ServiceSession } from '../../shared/service.ts';
import { service } from '../attack/peer/storage-services.ts';
import type { Service } from '../attack/peer/storage-services.ts';

export interface Lie {
  /** The file whose content is another one in the store. It keeps its size and its time stamps. */
  readonly path: string;
  /** Tell the digest of what is on the volume all the same. */
  readonly digest: boolean;
  /** Name the chunks by the hashes of what is on the volume all the same: the tree is true, the pack is not. */
  readonly hashes: boolean;
}

/** qubes.BackupScan by a liar, who reads and puts all anew. */
export function lyingScan(lie: Lie): Service {
  return service(scan, (session) => readAndLie(session, lie))[1];
}

/** qubes.BackupScan by one that puts nonsense for a tree. */
export function nonsenseScan(): Service {
  return service(scan, async (session) => {
    const { firstNumber: top } = expect(await session.receive(), 'job').value;
    await session.send('putTree', utf8('nonsense'));
    await session.send('live', NumberSet.of([top]).encode());
    const digest = hash('sha256', '', 'hex') as ContentDigest;
    const counts = { ...NOTHING_READ, entries: 1, files: 0, bytes: 0 };
    await session.send('done', { top, digest, ownerlessDigest: digest, ownersUnknown: false, counts });
  })[1];
}

const NOTHING_READ = {
  ...{ changedFiles: 0, newFiles: 0, rewrittenFiles: 0, deletedFiles: 0 },
  ...{ readBytes: 0, recheckedBytes: 0, recheckMismatches: 0, skipped: 0 },
};

async function readAndLie(session: ServiceSession<typeof scan>, lie: Lie): Promise<void> {
  const { value: job } = expect(await session.receive(), 'job');
  const { volume } = job;
  if (volume.kind === 'disk') throw new Error('only the local driver has a lying reader');
  const ignore = () => undefined;
  const describer = new Describer(ignore, mappedOwners(volume));
  const reader = new ContentReader(ignore, () => undefined, 'idle');
  const output = new ScanOutput(session, { firstNumber: job.firstNumber, compress: true, base: undefined });
  const honest = new DigestWriter();
  for (const found of await entriesOf(volume, ignore)) {
    if (found.type === TYPE.skipped) continue;
    const entry = describer.describe(found);
    if (entry === undefined) continue;
    const told: Chunk[] = [];
    const seen: ChunkContent[] = [];
    if (found.type === TYPE.file) {
      await reader.read(found, async (chunk, bytes) => {
        seen.push(chunk);
        await output.packs.ready();
        if (found.path !== lie.path) told.push({ ...chunk, place: output.packs.add(bytes) });
        else {
          const instead = Buffer.alloc(bytes.length, 'a lie ');
          const name = lie.hashes ? chunk.hash : hash('sha256', instead, 'buffer');
          told.push({ ...chunk, hash: name, place: output.packs.add(instead) });
        }
      });
    }
    honest.add(entry, seen);
    await output.add({ entry, chunks: told });
  }
  const { top, tree, live } = await output.finish();
  await session.send('live', live.encode());
  await session.send('done', {
    top,
    ...(lie.digest ? honest : output.digest).finish(),
    ownersUnknown: describer.ownersUnknown,
    counts: {
      entries: tree.totalEntries,
      files: tree.totalEntries - 1,
      bytes: tree.totalBytes,
      ...NOTHING_READ,
    },
  });
}
