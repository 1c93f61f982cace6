/** R41 R42 R44 R50: some days of the life of a machine, and of three stores; `npm run soak` lets 500 pass, and prints what was seen. */

import { expect, onTestFinished, test } from 'vitest';
import { formatBytes, formatTable } from '../../shared/format.ts';
import { memoryFolder } from '../support/memory.ts';
import { makeTemp, removeTree } from '../support/temp.ts';
import { Soak } from './soak.ts';

const DAYS = Number(process.env['QIB_SOAK'] ?? 20);
const TIMEOUT = 120_000 + DAYS * 10_000;
/** A store that lived may be so many times as large as a new one with the same snapshots, and some bytes for lists of roots. */
const LARGER = 1.5;
const ROOTS = 100_000;
/** What a process may hold more at the end than after the first quarter. */
const HEAP = 8 << 20;

test(
  'R50: every snapshot that is kept comes back, and nothing grows but what is backed up',
  async () => {
    const folder = makeTemp('qib-soak-', memoryFolder());
    onTestFinished(() => removeTree(folder));
    const soak = new Soak(folder, Number(process.env['QIB_SEED'] ?? 9));
    await soak.begin();
    let early = soak.held();
    for (let day = 1; day <= DAYS; day++) {
      await soak.live(day);
      if (day === Math.ceil(DAYS / 4)) early = soak.held();
    }
    await soak.end();
    const late = soak.held();
    expect(await soak.problems()).toEqual([]);
    expect(soak.leftovers()).toEqual([]);
    const trash = soak.sizes();
    await soak.purge();
    const [lived, fresh] = [soak.sizes(), await soak.freshSize()];
    if (DAYS > 20) {
      const rows = [...soak.faults].map(([fault, { runs, failed }]) => [
        fault,
        String(runs),
        String(runs),
        '0',
        String(failed),
      ]);
      const lines = formatTable(
        [['fault', 'points', 'survived', 'lost', 'runs that failed'], ...rows],
        [1, 2, 3, 4],
      );
      const bytes = (sizes: readonly number[]) => sizes.map(formatBytes).join(', ');
      lines.push(`${soak.made} snapshots, ${soak.states.size} kept`);
      lines.push(`stores: ${bytes(trash)}; purged ${bytes(lived)}; a new one ${formatBytes(fresh)}`);
      lines.push(`after a quarter: ${JSON.stringify(early)}; in the end: ${JSON.stringify(late)}`);
      process.stdout.write(`${lines.join('\n')}\n`);
    }
    for (const size of lived) expect(size).toBeLessThan(LARGER * fresh + ROOTS);
    expect(late.heap).toBeLessThan(early.heap + HEAP);
    expect(late.descriptors).toBeLessThanOrEqual(early.descriptors + 2);
    expect(late.files).toBeLessThanOrEqual(early.files + 12);
  },
  TIMEOUT,
);
