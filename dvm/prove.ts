/**
 * The job of qubes.BackupProve: the content digest of a stored volume, from nothing but its blobs. Every chunk is
 * decompressed and held against its hash, so the digest is that of what a restore would bring back.
 */

import type { prove } from '../shared/protocol/disposable.ts';
import { expect } from '../shared/service.ts';
import type { ServiceSession } from '../shared/service.ts';
import { receiveBlobs } from './blobs.ts';
import { DigestWriter } from './digest.ts';
import { PackReader } from './pack-reader.ts';
import { Report } from './restore-report.ts';
import { decodeTop, readTree } from './tree.ts';
import type { TreeEntry } from './tree.ts';

/** Serves one session: takes the job, reads all that the tree refers to, sends its digest. Throws `store-damaged`. */
export async function proveVolume(session: ServiceSession<typeof prove>): Promise<void> {
  const { value: job } = expect(await session.receive(), 'job');
  const report = new Report(session);
  const blobs = receiveBlobs(session);
  const packs = new PackReader(blobs);
  const top = decodeTop(await blobs.get(job.top));
  report.expect(top);
  const digest = new DigestWriter();
  for await (const item of readTree(top, blobs)) {
    // The other names of a file are restored as links to the first.
    if (!item.entry.linked || !digest.hasLinked(item.entry.inode)) await readContent(item, packs, report);
    digest.add(item.entry, item.chunks);
    report.count(item.entry);
    await report.tick();
  }
  await report.finish();
  await session.send('done', { digest: digest.finishFor(job.owners), ...report.counts });
}

async function readContent({ chunks }: TreeEntry, packs: PackReader, report: Report): Promise<void> {
  packs.prefetch(chunks);
  let position = 0;
  for (const chunk of chunks) {
    await packs.read(chunk);
    position += chunk.gap + chunk.length;
    await report.tick(position);
  }
}
