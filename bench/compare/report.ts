/** The results as Markdown for people, and as JSON for programs. */

import { COMMAND_PART } from '../support/process-tree.ts';
import type { PartCost } from '../support/process-tree.ts';
import { median } from '../support/statistics.ts';
import { size } from '../support/terminal.ts';
import type { Contender } from './contender.ts';
import { OURS } from './contenders.ts';
import type { Limit } from './limits.ts';
import type { Machine } from './machine.ts';
import { middle } from './results.ts';
import type { Cell, Results, Row } from './results.ts';
import { TITLES } from './rows.ts';

export interface Report {
  readonly machine: Machine;
  readonly missing: readonly string[];
  readonly contenders: readonly Contender[];
  /** What was measured on, in words. */
  readonly data: readonly string[];
  readonly rounds: number;
  readonly limits: readonly Limit[];
  readonly results: Results;
}

const GIB = 2 ** 30;
/** The part of a restore that is the proof by a second disposable. */
const PROOF = 'dvm/qubes.BackupVerify';

/** Parts of this program, as people know them, by what their names begin with. */
const OUR_PARTS: readonly (readonly [string, string])[] = [
  [COMMAND_PART, 'dom0'],
  ['dvm/', 'disposable'],
  ['storagevm/', 'storage VM'],
];

export function markdown(report: Report): string {
  const { results, contenders, missing } = report;
  return [
    ...facts(report),
    '',
    ...missing.map(
      (name) =>
        `**${name} is not installed: there are no figures for it.** (apt-get install restic borgbackup)\n`,
    ),
    ...contenders.map(({ name, settings }) => `- ${name}: ${settings}`),
    '',
    ...table(['row', 'program', 'median', 'min', 'max', 'ours / theirs'], rowsOf(results)),
    '',
    ...proof(results),
    'Peak of resident memory of the largest process:',
    '',
    ...table(['row', 'program', 'part', 'MiB'], peaks(results)),
    '',
    'Where the processor time goes, by process and thread:',
    '',
    ...table(['row', 'program', 'part', 'thread', 'seconds', 'seconds per GiB'], profile(results)),
    '',
    'What the machine does in the same run:',
    '',
    ...table(
      ['what', 'MiB/s'],
      report.limits.map(({ what, rate }) => [what, rate.toFixed(0)]),
    ),
    '',
  ].join('\n');
}

/** Everything, unrounded. */
export function json({ results, contenders, ...rest }: Report): string {
  const settings = contenders.map(({ name, settings: text }) => ({ name, settings: text }));
  return `${JSON.stringify({ ...rest, contenders: settings, rows: results.saved() }, undefined, 2)}\n`;
}

function facts({ machine, data, rounds, results }: Report): readonly string[] {
  const dates = [...new Set([...results.rows.values()].map(({ date }) => date))].sort();
  const { cores, memory, kernel, fileSystem, software, load, date } = machine;
  return [
    `${cores}, ${memory}; ${kernel}; ${fileSystem}; ${software.join('; ')}; load ${load.toFixed(1)} at the start; ${date}.`,
    `${data.join('; ')}. ${rounds} ${rounds === 1 ? 'round' : 'rounds'}, programs in turn, \`sync\` and all data read before each step.`,
    ...(dates.length < 2 ? [] : [`Rows were measured on ${dates.join(', ')}, with the same rules.`]),
  ];
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): readonly string[] {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)];
}

function rowsOf({ rows }: Results): readonly (readonly string[])[] {
  return [...rows.values()].flatMap((row) => {
    const mine = middle(row.cells.get(OURS));
    return [...row.cells].map(([name, cell]) => {
      const ratio = name === OURS ? '' : ratioOf(mine, middle(cell));
      return [row.title, name, ...valuesOf(row, cell), ratio];
    });
  });
}

function valuesOf({ unit }: Row, { values, failures }: Cell): readonly string[] {
  const show = (value: number) => (unit === 's' ? `${value.toFixed(2)} s` : size(value));
  const failed =
    failures.length === 0 ? '' : ` **FAILED ${failures.length} times: ${oneLine(failures[0] ?? '')}**`;
  if (values.length === 0) return [failed.trim(), '', ''];
  return [show(median(values)) + failed, show(Math.min(...values)), show(Math.max(...values))];
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').replaceAll('|', '/').slice(0, 200);
}

function ratioOf(mine: number, theirs: number): string {
  return Number.isNaN(mine / theirs) ? '' : (mine / theirs).toFixed(2);
}

/** How much of a restore the proof is. */
function proof({ rows }: Results): readonly string[] {
  const cell = rows.get(TITLES.restore)?.cells.get(OURS);
  const proofs = cell?.parts.map((parts) => parts.get(PROOF)?.seconds ?? NaN) ?? [];
  if (cell === undefined || proofs.length === 0) return [];
  const without = cell.values.map((seconds, run) => seconds - (proofs[run] ?? 0));
  return [
    `Of our restore the proof by a second disposable took ${median(proofs).toFixed(2)} s, all else ${median(without).toFixed(2)} s (medians).`,
    '',
  ];
}

/** The cells of rows whose processes were watched. */
function watched({ rows }: Results): readonly (readonly [Row, string, Cell])[] {
  return [...rows.values()].flatMap((row) =>
    [...row.cells]
      .filter(([, { parts }]) => (parts[0]?.size ?? 0) > 0)
      .map(([name, cell]) => [row, name, cell] as const),
  );
}

function peaks(results: Results): readonly (readonly string[])[] {
  return watched(results).flatMap(([row, name, cell]) =>
    partsOf(name).flatMap(([prefix, part]) => {
      const all = cell.parts.map((parts) => Math.max(0, ...matching(parts, prefix).map(({ peak }) => peak)));
      return Math.max(...all) === 0 ? [] : [[row.title, name, part, median(all).toFixed(0)]];
    }),
  );
}

/** Of what goes through many bytes. */
function profile(results: Results): readonly (readonly string[])[] {
  return watched(results).flatMap(([row, name, cell]) => {
    const { bytes } = row;
    if (bytes === undefined) return [];
    return partsOf(name).flatMap(([prefix, part]) => {
      const runs = cell.parts.map((parts) => threadsOf(matching(parts, prefix)));
      const threads = new Set(runs.flatMap((run) => [...run.keys()]));
      return [...threads]
        .map((thread) => [thread, median(runs.map((run) => run.get(thread) ?? 0))] as const)
        .filter(([, seconds]) => seconds >= 0.01)
        .sort((a, b) => b[1] - a[1])
        .map(([thread, seconds]) => {
          const rate = (seconds / (bytes / GIB)).toFixed(2);
          return [row.title, name, part, thread, seconds.toFixed(2), rate];
        });
    });
  });
}

function partsOf(contender: string): readonly (readonly [string, string])[] {
  return contender === OURS ? OUR_PARTS : [[COMMAND_PART, 'command']];
}

function matching(parts: ReadonlyMap<string, PartCost>, prefix: string): readonly PartCost[] {
  return [...parts].filter(([part]) => part.startsWith(prefix)).map(([, cost]) => cost);
}

function threadsOf(parts: readonly PartCost[]): ReadonlyMap<string, number> {
  const sums = new Map<string, number>();
  for (const { threads } of parts)
    for (const [thread, seconds] of threads) sums.set(thread, (sums.get(thread) ?? 0) + seconds);
  return sums;
}
