/** What a backup came to, as a table, and what to do about what went wrong. */

import { formatBytes, formatCount, formatDuration, formatTable } from '../../shared/format.ts';
import type { Tone } from '../output.ts';
import type { Counts } from '../repository/records.ts';

/** One VM of the run. */
export interface Outcome {
  readonly vm: string;
  /** Undefined if it was not backed up. */
  readonly taken:
    | {
        readonly snapshot: number;
        readonly counts: Pick<Counts, 'newFiles' | 'changedFiles' | 'deletedFiles' | 'readBytes'>;
        /** Bytes of all objects that were put. */
        readonly storedBytes: number;
        readonly seconds: number;
        readonly warnings: number;
      }
    | undefined;
}

const HEADER = ['VM', 'SNAPSHOT', 'NEW', 'CHANGED', 'DELETED', 'READ', 'STORED', 'RATIO', 'TIME', ''];

/** Lines for people, in the order of names. `paint` gives what is not well its colour. */
export function summaryOf(
  outcomes: readonly Outcome[],
  paint: (tone: Tone, text: string) => string = (_tone, text) => text,
): string[] {
  if (outcomes.length === 0) return [];
  const sorted = [...outcomes].sort((a, b) => a.vm.localeCompare(b.vm));
  const table = formatTable([HEADER, ...sorted.map(rowOf)], [1, 2, 3, 4, 5, 6, 7, 8]);
  const lines = table.map((line, index) => {
    const outcome = sorted[index - 1]; // After the heading.
    const tone = outcome === undefined ? undefined : toneOf(outcome);
    return tone === undefined ? line : paint(tone, line);
  });
  const failed = sorted.filter(({ taken }) => taken === undefined).map(({ vm }) => vm);
  const warned = sorted.filter(({ taken }) => taken !== undefined && taken.warnings > 0).map(({ vm }) => vm);
  if (failed.length > 0)
    lines.push(`Not backed up: see the errors above, then run "qubes-backup backup ${failed.join(' ')}".`);
  if (warned.length > 0)
    lines.push(`With warnings: ${warned.join(', ')}; "qubes-backup logs" shows them again.`);
  return lines;
}

function toneOf({ taken }: Outcome): Tone | undefined {
  if (taken === undefined) return 'bad';
  return taken.warnings > 0 ? 'warning' : undefined;
}

function rowOf({ vm, taken }: Outcome): string[] {
  if (taken === undefined) return [vm, '-', '', '', '', '', '', '', '', 'NOT BACKED UP'];
  const { snapshot, counts, storedBytes, seconds, warnings } = taken;
  const { newFiles, changedFiles, deletedFiles, readBytes } = counts;
  return [
    vm,
    String(snapshot),
    ...[newFiles, changedFiles - newFiles, deletedFiles].map(formatCount),
    ...[readBytes, storedBytes].map(formatBytes),
    // By deduplication and compression together: what was read for what had to be stored.
    storedBytes === 0 ? '-' : (readBytes / storedBytes).toFixed(1),
    formatDuration(seconds),
    warnings > 0 ? `${formatCount(warnings)} ${warnings === 1 ? 'warning' : 'warnings'}` : '',
  ];
}
