/** R58: readers and storage VMs that lie once, and what finds them out. */

import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { backup } from '../../dom0/commands/backup.ts';
import type { ServiceCall } from '../../dom0/domains/domains.ts';
import { decodeWith } from '../../shared/cbor.ts';
import { scan } from '../../shared/protocol/disposable.ts';
import { rejection } from '../support/failure.ts';
import { runOver } from '../support/in-process.ts';
import { nonsenseScan } from '../support/lying-reader.ts';
import type { Lie } from '../support/lying-reader.ts';
import { framesOf } from '../support/peers.ts';
import type { WireFrame as Frame } from '../support/peers.ts';
import { WrappedDomains } from '../support/wrapped-domains.ts';
import { BackupBench } from './backup-bench.ts';

/** Why the backup of the one VM failed. */
async function refusal(work: Promise<unknown>) {
  const error = await rejection(work);
  if (!(error.cause instanceof Error)) throw new Error('no VM is named', { cause: error });
  return { code: error.code, message: error.cause.message };
}

const LIES: [string, Partial<Lie>][] = [
  ['other content, all of it consistent', {}],
  ['other content beside the right digest', { digest: true }],
  ['other content beside the right digest and the right hashes', { digest: true, hashes: true }],
];

describe('R58: backup --audit', () => {
  it('takes the snapshot that all readers agree on, and says so', async () => {
    const bench = await BackupBench.make('exclude = ["*.iso"]');
    bench.home.write('work', 'image.iso', 'left out of it');
    bench.home.write('work', '.qubes-backup-exclude', '*.tmp\n');
    bench.home.write('work', 'a.tmp', 'left out of it as well');
    expect((await bench.backUp({ audit: true })).event).toMatchObject({
      audited: true,
      skipped: 2,
      warnings: 0,
    });
    bench.home.write('work', 'file-0', randomBytes(2 ** 20));
    const { event, warnings } = await bench.backUp({ audit: true });
    expect([event['snapshot'], event['changedFiles'], warnings]).toEqual([2, 1, []]);
    await bench.expectTrue();
  });

  it.each(LIES)('takes none of a reader that told %s', async (_title, lie) => {
    const bench = await BackupBench.make();
    await bench.backUp();
    const roots = readdirSync(join(bench.home.store, 'roots'));
    const { code, message } = await refusal(bench.lie(lie, () => bench.backUp({ audit: true })));
    expect([code, message]).toEqual([
      lie.hashes === true ? 'service-failed' : 'verify-failed',
      expect.stringContaining('backup --reread --audit work') as string,
    ]);
    expect(await bench.snapshots()).toBe(1);
    expect(readdirSync(join(bench.home.store, 'roots'))).toEqual(roots);
    await bench.backUp({ audit: true });
    await bench.expectTrue();
  });

  it.each(LIES)('finds in a later run that an earlier one told %s', async (_title, lie) => {
    const bench = await BackupBench.make('recheck_mib = 0');
    await bench.lie(lie, () => bench.backUp());
    await refusal(bench.backUp({ audit: true }));
    expect(await bench.snapshots()).toBe(1);
  });
});

describe('R58: backup --reread', () => {
  it.each(LIES)('heals a store after %s', async (_title, lie) => {
    const bench = await BackupBench.make('recheck_mib = 0');
    await bench.lie(lie, () => bench.backUp());
    await refusal(bench.backUp({ audit: true }));
    const { event, warnings } = await bench.backUp({ reread: true, audit: true });
    expect(event).toMatchObject({ snapshot: 2, changedFiles: lie.hashes === true ? 0 : 1 });
    expect(warnings.some((line) => line.includes('file-3'))).toBe(lie.hashes !== true);
    await bench.expectTrue();
  });

  it('heals a VM of which the newest tree is nonsense', async () => {
    const bench = await BackupBench.make();
    bench.domains.instead.set(scan.service, nonsenseScan());
    await bench.backUp();
    bench.domains.instead.clear();
    const { code } = await refusal(bench.backUp());
    expect(code).toBe('service-failed');
    const { warnings } = await bench.backUp({ reread: true, audit: true });
    expect(warnings).toEqual([expect.stringContaining('without comparing') as string]);
    await bench.expectTrue();
    expect((await bench.backUp()).warnings).toEqual([]);
  });

  it('stores all again, and the next run nothing', async () => {
    const bench = await BackupBench.make();
    await bench.backUp();
    const again = (await bench.backUp({ reread: true })).event;
    expect(again['storedBytes']).toBeGreaterThan(8 * 2 ** 20);
    expect(again).toMatchObject({ changedFiles: 0, readBytes: 0 });
    expect((await bench.backUp()).event).toMatchObject({ storedContentObjects: 0, changedFiles: 0 });
  });
});

describe('R58: the rotating re-read', () => {
  it.each(LIES.slice(0, 2))(
    'finds %s within a bounded number of runs, names and heals it',
    async (_title, lie) => {
      const bench = await BackupBench.make('recheck_mib = 2');
      await bench.lie(lie, () => bench.backUp());
      const found: string[] = [];
      // An eighth of the bytes may lie across the start of the window: 2/s runs of a share s of a quarter.
      for (let run = 1; run <= 8 && found.length === 0; run++) found.push(...(await bench.backUp()).warnings);
      expect(found[0]).toContain('file-3');
      expect((await bench.backUp({ audit: true })).warnings).toEqual([]);
      await bench.expectTrue();
    },
  );
});

describe('R03: what a reader leaves to the next', () => {
  it('is the tree of its own VM: nothing else that it said reaches a later session, of this VM or another', async () => {
    const bench = await BackupBench.make();
    bench.home.write('other', 'file', 'of another VM');
    await bench.run((app) => backup(app, ['other']));
    await bench.lie({}, () => bench.backUp());
    const sent = new Map<string, Frame[]>();
    const listening = new WrappedDomains(bench.domains, (call, called) =>
      called === scan.service
        ? overheard(call, (frame) => sent.set(name, [...(sent.get(name) ?? []), frame]))
        : call,
    );
    let name = 'work';
    bench.home.write('work', 'file-0', randomBytes(2 ** 20));
    await runOver(listening, bench.home, (app) => backup(app, ['work']));
    name = 'other';
    bench.home.write('other', 'file', 'of another VM, changed');
    await runOver(listening, bench.home, (app) => backup(app, ['other']));
    for (const [vm, frames] of sent) {
      const [JOB, BLOB] = [0x10, 0x80];
      const jobs = frames
        .filter(({ type }) => type === JOB)
        .map(({ payload }) => decodeWith(scan.toService.job.schema, payload));
      expect(jobs, vm).toHaveLength(1);
      expect(Object.keys(jobs[0] ?? {}).sort()).toEqual(JOB_FIELDS);
      const blobs = frames.filter(({ type }) => type === BLOB).map(({ payload }) => payload.subarray(8));
      expect(blobs.length, vm).toBeGreaterThanOrEqual(2);
      for (const blob of blobs) expect(blob[0], 'the version of a tree blob').toBe(2);
      const raw = Buffer.concat(
        blobs.map((blob) => (blob[1] === 1 ? zstdDecompressSync(blob.subarray(6)) : blob.subarray(6))),
      );
      expect(raw.includes('file-0'), vm).toBe(vm === 'work');
      expect(raw.includes('a lie'), vm).toBe(false);
    }
  });
});

const JOB_FIELDS = [
  'base',
  'checkpointEvery',
  'compress',
  'excludes',
  'firstNumber',
  'recheckBytes',
  'recheckFrom',
  'reread',
  'takenAt',
  'volume',
];

/** `call`, of whose frames towards the service `hear` gets each. */
function overheard(call: ServiceCall, hear: (frame: Frame) => void): ServiceCall {
  let written = Buffer.alloc(0);
  let told = 0;
  return {
    ...call,
    io: {
      read: (target) => call.io.read(target),
      write(pieces) {
        written = Buffer.concat([written, ...pieces]);
        const frames = framesOf(written);
        for (const frame of frames.slice(told)) hear(frame);
        told = frames.length;
        return call.io.write(pieces);
      },
    },
  };
}
