/**
 * The job of qubes.BackupVerify: the content digest of a volume, from nothing but the volume.
 */

import { closeSync, readSync } from 'node:fs';
import { BackupError } from '../shared/errors.ts';
import type { ContentDigest } from '../shared/ids.ts';
import { MAX_SEGMENT } from '../shared/limits.ts';
import type { MountedVolume, verify } from '../shared/protocol/disposable.ts';
import { expect } from '../shared/service.ts';
import type { ServiceSession } from '../shared/service.ts';
import type { ValueOf } from '../shared/wire/frame.ts';
import { ContentReader } from './content.ts';
import { Describer } from './describe.ts';
import { openDevice } from './device.ts';
import { readingDisk } from './disk.ts';
import { DigestWriter } from './digest.ts';
import { TYPE } from './entry.ts';
import { EntryReader } from './entry-reader.ts';
import { Excludes } from './excludes.ts';
import { Report } from './restore-report.ts';
import { runsOf } from './sparse.ts';
import { entriesOf, mappedOwners, totalsOf } from './volume.ts';
import type { Noter } from './walk.ts';

type Session = ServiceSession<typeof verify>;
type Job = Omit<ValueOf<typeof verify.toService.job>, 'volume'> & { readonly volume: MountedVolume };

/** Serves one session: takes the job, reads the volume, sends its digest. */
export async function verifyVolume(session: Session): Promise<void> {
  const { value: job } = expect(await session.receive(), 'job');
  const report = new Report(session);
  const note: Noter = (code, path, detail) => report.note(code, path, detail);
  const digest = await readingDisk(job.volume, note, (volume) => digestOf({ ...job, volume }, report, note));
  await report.finish();
  await session.send('done', { digest, ...report.counts });
}

async function digestOf(job: Job, report: Report, note: Noter): Promise<ContentDigest> {
  const totals = totalsOf(job.volume);
  if (totals !== undefined) report.expect(totals);
  const describer = new Describer(note, mappedOwners(job.volume));
  const reader = new ContentReader(note, (position) => report.tick(position), 'idle');
  const digest = new DigestWriter();
  const entries = new EntryReader(describer, reader, ({ entry, chunks }) => {
    digest.add(entry, chunks);
    report.count(entry);
  });
  const excludes = job.excludes === null ? undefined : new Excludes(job.excludes, note);
  const { volume, deviceSize } = job;
  try {
    for (const found of await entriesOf(volume, note, excludes, deviceSize ?? undefined)) {
      await report.tick();
      if (found.type !== TYPE.skipped) await entries.add(found);
    }
    await entries.finish();
  } finally {
    await entries.close();
  }
  if (volume.kind === 'blocks' && deviceSize !== null) await requireZeros(volume.path, deviceSize, report);
  describer.finish();
  return digest.finishFor(job.owners);
}

/** Throws `io` if the device at `path` has anything but zeros from byte `from` on. */
async function requireZeros(path: string, from: number, report: Report): Promise<void> {
  const { descriptor } = openDevice(path, 'r');
  try {
    const piece = Buffer.alloc(MAX_SEGMENT);
    for (let at = from; ;) {
      const count = readSync(descriptor, piece, 0, piece.length, at);
      if (count === 0) return;
      for (const run of runsOf(piece.subarray(0, count), at))
        if (!run.isZero)
          throw new BackupError(
            'io',
            `the device is larger than its backup, and after the ${from} bytes of that it is not zeros: there is something at ${at + run.from}`,
          );
      at += count;
      await report.tick(at);
    }
  } finally {
    closeSync(descriptor);
  }
}
