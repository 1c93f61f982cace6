/** R56: what is told at the end of a backup. */

import { expect, it } from 'vitest';
import { summaryOf } from '../../dom0/commands/backup-summary.ts';

const taken = {
  snapshot: 7,
  counts: { newFiles: 2, changedFiles: 5, deletedFiles: 1, readBytes: 4096 },
  storedBytes: 1024,
  seconds: 3,
  warnings: 0,
};

it('is a row for each VM, and what to do', () => {
  const lines = summaryOf([
    { vm: 'work', taken: { ...taken, warnings: 2 } },
    { vm: 'vault', taken: undefined },
    { vm: 'personal', taken: { ...taken, storedBytes: 0 } },
  ]);
  expect(lines.map((line) => line.split(/ {2,}/))).toEqual([
    ['VM', 'SNAPSHOT', 'NEW', 'CHANGED', 'DELETED', 'READ', 'STORED', 'RATIO', 'TIME'],
    ['personal', '7', '2', '3', '1', '4.00 KiB', '0 B', '-', '3 s'],
    ['vault', '-', 'NOT BACKED UP'],
    ['work', '7', '2', '3', '1', '4.00 KiB', '1.00 KiB', '4.0', '3 s', '2 warnings'],
    ['Not backed up: see the errors above, then run "qubes-backup backup vault".'],
    ['With warnings: work; "qubes-backup logs" shows them again.'],
  ]);
});

it('is told of one VM as well, and is nothing where there was none', () => {
  expect(summaryOf([{ vm: 'work', taken }]).map((line) => line.split(/ {2,}/))).toEqual([
    ['VM', 'SNAPSHOT', 'NEW', 'CHANGED', 'DELETED', 'READ', 'STORED', 'RATIO', 'TIME'],
    ['work', '7', '2', '3', '1', '4.00 KiB', '1.00 KiB', '4.0', '3 s'],
  ]);
  expect(summaryOf([])).toEqual([]);
});
