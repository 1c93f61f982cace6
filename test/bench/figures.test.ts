/** What the READMEs say of speed is what bench/results.json holds. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { markdown } from '../../bench/compare/report.ts';
import type { Report } from '../../bench/compare/report.ts';
import { Results, middle } from '../../bench/compare/results.ts';
import type { SavedRow } from '../../bench/compare/results.ts';

const PROJECT = join(import.meta.dirname, '../..');
const text = (path: string) => readFileSync(join(PROJECT, path), 'utf8');

type Saved = Omit<Report, 'results'> & { readonly rows: readonly SavedRow[] };
const { rows, ...saved } = JSON.parse(text('bench/results.json')) as Saved;
const results = new Results();
results.addEarlier(rows);

/** The lines of the table that begins with `head`, without that and the line below it. */
function tableIn(page: string, head: string): string[] {
  const lines = page.split('\n');
  const start = lines.findIndex((line) => line.startsWith(head));
  const end = lines.findIndex((line, at) => at > start && !line.startsWith('|'));
  return lines.slice(start + 2, end);
}

test.each(['| row | program | median |', '| what | MiB/s |'])('bench/README.md has all of: %s', (head) => {
  const measured = tableIn(markdown({ ...saved, results }), head);
  expect(measured).not.toEqual([]);
  expect(tableIn(text('bench/README.md'), head).sort()).toEqual(measured.sort());
});

/** What the lines of the README's table begin with, and the row that they show. */
const SHOWN: readonly (readonly [string, string])[] = [
  ['first backup of', 'first backup, mixed tree'],
  ['nothing changed', 'nothing changed, mixed tree'],
  ['1 % of the files changed', '1 % of files changed'],
  ['1 % of 1 file', '1 % of bytes changed in 1 file of noise'],
  ['restore of all', 'restore of all'],
  ['extract 1 small file', 'restore of 1 small file'],
  ['`check --read-data 100`', 'check of all data'],
  ['size of the store, GiB', 'store after the first backup'],
];

/** The median of a row, in seconds or GiB, as it is shown. */
function shownMedian(title: string, contender: string): string {
  const row = results.rows.get(title);
  const value = middle(row?.cells.get(contender));
  return row?.unit === 's' ? value.toFixed(1) : (value / 2 ** 30).toFixed(2);
}

test('README.md shows medians', () => {
  const lines = tableIn(text('README.md'), '| | ours | restic | borg |');
  expect(lines).toHaveLength(SHOWN.length);
  for (const [at, [begins, title]] of SHOWN.entries()) {
    const [, what, ...values] = lines[at]?.split('|').map((cell) => cell.trim()) ?? [];
    expect(what?.startsWith(begins), what).toBe(true);
    expect(values.slice(0, 3)).toEqual(
      ['qubes-backup', 'restic', 'borg'].map((name) => shownMedian(title, name)),
    );
  }
});
