/** The job of qubes.BackupCompare: how a snapshot differs from another, or from a volume. */

import type { Difference, compare } from '../shared/protocol/browse.ts';
import { expect } from '../shared/service.ts';
import type { ServiceSession } from '../shared/service.ts';
import type { ValueOf } from '../shared/wire/frame.ts';
import { receiveBlobs } from './blobs.ts';
import type { BlobSource } from './blobs.ts';
import { compareTrees } from './compare-trees.ts';
import { compareWithVolume } from './compare-volume.ts';
import { LeftOut } from './comparison.ts';
import type { Differing, Side } from './comparison.ts';
import { ContentReader } from './content.ts';
import type { MountedVolume } from '../shared/protocol/disposable.ts';
import { Describer } from './describe.ts';
import { readingDisk } from './disk.ts';
import { Excludes } from './excludes.ts';
import { Pages, TYPE_NAMES } from './list-entry.ts';
import { Report, shownPath } from './restore-report.ts';
import { Base } from './scan-base.ts';
import { decodeTop } from './tree.ts';
import { entriesOf, mappedOwners } from './volume.ts';
import type { Noter } from './walk.ts';

type Session = ServiceSession<typeof compare>;
type Job = ValueOf<typeof compare.toService.job>;
/** What the snapshot is compared with, ready to be read. */
type Other =
  | Extract<Job['after'], { kind: 'tree' }>
  | (Omit<Extract<Job['after'], { kind: 'volume' }>, 'volume'> & { readonly volume: MountedVolume });

interface Parts {
  readonly blobs: BlobSource;
  readonly report: Report;
  readonly note: Noter;
  readonly leftOut: LeftOut;
}

/** Serves one session: takes the job, reports every difference in path order. */
export async function compareSnapshot(session: Session): Promise<void> {
  const { value: job } = expect(await session.receive(), 'job');
  const report = new Report(session);
  const leftOut = new LeftOut();
  const note: Noter = (code, path, detail) => report.note(code, path, detail);
  const pages = new Pages<Difference>(
    (differences) => session.send('differences', { differences }),
    ({ path }) => path.length,
  );
  const { after } = job;
  const compareWith = async (other: Other) => {
    const found = differences(job.before, other, { blobs: receiveBlobs(session), report, note, leftOut });
    for await (const one of found) await pages.add(differenceOf(one));
  };
  if (after.kind === 'tree') await compareWith(after);
  else await readingDisk(after.volume, note, (volume) => compareWith({ ...after, volume }));
  await pages.flush();
  await report.finish();
  await session.send('done', { leftOut: leftOut.count });
}

async function* differences(
  before: Job['before'],
  after: Other,
  { blobs, report, note, leftOut }: Parts,
): AsyncGenerator<Differing> {
  const base = await Base.open(before, blobs);
  if (after.kind === 'tree') {
    yield* compareTrees(base.top, decodeTop(await blobs.get(after.top)), blobs, leftOut);
    return;
  }
  report.expect(base.top);
  const describer = new Describer(note, mappedOwners(after.volume));
  yield* compareWithVolume({
    base,
    blobs,
    volume: await entriesOf(after.volume, note, new Excludes(after.excludes, note)),
    reader: new ContentReader(note, (position) => report.tick(position), 'idle'),
    describer,
    leftOut,
    content: after.content,
    done: (bytes) => {
      report.entries += 1;
      report.bytes += bytes;
      return report.tick();
    },
  });
  describer.finish();
}

function differenceOf({ path, before, after, fields }: Differing): Difference {
  return { path: shownPath(path), before: sideOf(before), after: sideOf(after), fields: [...fields] };
}

function sideOf(side: Side | undefined): Difference['before'] {
  return side === undefined ? null : { type: TYPE_NAMES[side.type], size: side.size };
}
