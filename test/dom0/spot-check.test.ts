/** R58: storage VMs that acknowledge and discard, and the spot check that each backup makes of them. */

import { randomBytes } from 'node:crypto';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { KIND } from '../../dom0/seal/object.ts';
import { Semaphore } from '../../dom0/semaphore.ts';
import { SpotCheck } from '../../dom0/repository/spot-check.ts';
import { NumberSet } from '../../shared/numbers.ts';
import { get } from '../../shared/protocol/storage.ts';
import type { StoreName } from '../../storagevm/back-end.ts';
import { DirectoryBackEnd } from '../../storagevm/directory.ts';
import { storeIn } from '../storagevm/stores.ts';
import { onType } from '../support/lies.ts';
import { Machine, appendBlob, commitVolume, storeFolder, writerFor } from '../support/repository-bench.ts';
import { tampered } from '../support/tamper.ts';
import { WrappedDomains } from '../support/wrapped-domains.ts';
import { BackupBench } from './backup-bench.ts';

/** Says of what it stores that it is stored, and keeps nothing of it but what `keeps` says. */
class Discarding extends DirectoryBackEnd {
  readonly #discarded = new Set<StoreName>();
  keeps: (size: number) => boolean = () => true;

  override write(name: StoreName, bytes: Uint8Array): Promise<boolean> {
    if (this.keeps(bytes.length)) return super.write(name, bytes);
    this.#discarded.add(name);
    return Promise.resolve(true);
  }

  override sync(names: readonly StoreName[]): Promise<void> {
    return super.sync(names.filter((name) => !this.#discarded.has(name)));
  }
}

async function discardingBench(): Promise<{ bench: BackupBench; store: Discarding }> {
  const bench = await BackupBench.make();
  const store = new Discarding(bench.home.store);
  bench.domains.store = storeIn(bench.home.store, { backEnd: store });
  return { bench, store };
}

/** Every object file of the store. */
function objectFiles(store: string): string[] {
  return readdirSync(join(store, 'objects'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

describe('R58: the spot check of a backup', () => {
  it('finds nothing in an honest store, and reads no more than its budget asks for', async () => {
    const bench = await BackupBench.make();
    const { event, warnings } = await bench.backUp();
    expect(event).toMatchObject({ spotCheckFaults: 0, warnings: 0 });
    expect(event['spotCheckedBytes']).toBeGreaterThan(8 * 2 ** 20);
    expect(warnings).toEqual([]);
    bench.home.configure('[backup]', 'spot_check_mib = 0');
    expect((await bench.backUp()).event).toMatchObject({ spotCheckedObjects: 0, spotCheckedBytes: 0 });
  });

  it.each<[string, (size: number) => boolean]>([
    ['everything', () => false],
    ['contents', (size) => size < 2 ** 20],
    ['what is small', (size) => size >= 2 ** 20],
  ])('finds out, in the same run, a storage VM that acknowledges and discards %s', async (_title, keeps) => {
    const { bench, store } = await discardingBench();
    await bench.backUp();
    bench.home.write('work', 'file-0', randomBytes(2 ** 21));
    store.keeps = keeps;
    const { event, warnings } = await bench.backUp();
    expect(event['spotCheckFaults']).toBeGreaterThan(0);
    expect(warnings[0]).toMatch(
      /^warning: work: spot check: .* lost object [0-9a-f]{16}… \(.*this run stored\)/,
    );
    expect(warnings.at(-1)).toContain('check --read-data 100');
  });

  it('finds out, in a run that stores next to nothing, what the storage VM lost or altered of earlier runs', async () => {
    const bench = await BackupBench.make();
    await bench.backUp();
    for (const file of objectFiles(bench.home.store)) {
      const bytes = readFileSync(file);
      bytes[100] = (bytes[100] ?? 0) ^ 1;
      writeFileSync(file, bytes);
    }
    // All else than content is in dom0's cache as well, which the check must not ask.
    const { event, warnings } = await bench.backUp();
    expect(event['spotCheckFaults']).toBeGreaterThan(3);
    for (const what of ['blob table 0', 'snapshot 1', 'the live set', 'blob 0'])
      expect(
        warnings.some((line) => line.includes(`${what} of work`)),
        what,
      ).toBe(true);
  });

  it('is a warning where it cannot be finished: the snapshot is taken by then', async () => {
    const bench = await BackupBench.make();
    await bench.backUp();
    const cut = onType(get.toCaller.object.type, () => 'end');
    const domains = new WrappedDomains(bench.domains, (call, service) =>
      service === get.service ? tampered(call, cut) : call,
    );
    const { event, warnings } = await bench.backUp({}, domains);
    expect(event['snapshot']).toBe(2);
    expect(warnings.some((line) => line.includes('could not be finished'))).toBe(true);
    expect(await bench.snapshots()).toBe(2);
  });

  it('chooses each object with the same chance, stops at its budget, and fetches none twice', async () => {
    const machine = new Machine(storeFolder());
    const repository = await machine.create();
    const writer = await writerFor(repository);
    for (let i = 0; i < 40; i++) await appendBlob(writer, `blob ${i}`);
    const top = await appendBlob(writer, 'top', 'tree');
    await commitVolume(
      writer,
      top,
      Array.from({ length: top + 1 }, (_, i) => i),
    );
    const { store } = repository;
    const tally = store.tally(writer.history.record.id);
    const all = new SpotCheck(store);
    await all.stored(tally.takeSample(), Infinity);
    expect(all.result).toMatchObject({ objects: tally.objects, faults: [] });
    expect(tally.takeSample(), 'a sample is taken once').toEqual([]);
    const numbers = NumberSet.range(0, top + 1);
    const fetched = new Map<number, number>();
    for (let round = 0; round < 60; round++) {
      const check = new SpotCheck({
        getFromOneStore: ({ place }) => {
          if (place.kind === KIND.content) fetched.set(place.number, (fetched.get(place.number) ?? 0) + 1);
          return Promise.resolve(new Uint8Array(1000));
        },
        spotChecks: new Semaphore(2),
      });
      await check.earlier(writer.history, numbers, 10_000);
      expect(check.result.objects).toBeLessThanOrEqual(11);
    }
    expect(fetched.size).toBeGreaterThan(35);
    await machine.storage.close();
  });
});
