/** The folders of a snapshot that are open, as rows. Names are as a disposable escaped them: printable ASCII. */

import type { ListEntry } from '../../shared/protocol/browse.ts';

export interface TreeRow {
  readonly entry: ListEntry;
  /** 0 for what is in the volume's root. */
  readonly depth: number;
  readonly open: boolean;
}

export function isFolder({ entry }: TreeRow): boolean {
  return entry.type === 'directory';
}

/** The last component of the path. */
export function nameOf({ entry }: TreeRow): string {
  return entry.path.slice(entry.path.lastIndexOf('/') + 1);
}

/** `rows` with `folder` opened: it has `entries` below it. Answers the row that takes its place as well. */
export function opened(
  rows: readonly TreeRow[],
  folder: TreeRow,
  entries: readonly ListEntry[],
): readonly [readonly TreeRow[], TreeRow] {
  const at = rows.indexOf(folder);
  const open = { ...folder, open: true };
  return [[...rows.slice(0, at), open, ...rowsOf(entries, folder.depth + 1), ...rows.slice(at + 1)], open];
}

/** `rows` with `folder` closed. Answers the row that takes its place as well. */
export function closed(rows: readonly TreeRow[], folder: TreeRow): readonly [readonly TreeRow[], TreeRow] {
  const at = rows.indexOf(folder);
  const next = rows.findIndex(({ depth }, index) => index > at && depth <= folder.depth);
  const shut = { ...folder, open: false };
  return [[...rows.slice(0, at), shut, ...(next === -1 ? [] : rows.slice(next))], shut];
}

/** The folder that `row` is in; undefined in the volume's root. */
export function parentOf(rows: readonly TreeRow[], row: TreeRow): TreeRow | undefined {
  return rows.slice(0, rows.indexOf(row)).findLast(({ depth }) => depth < row.depth);
}

/** Closed rows, folders first. */
export function rowsOf(entries: readonly ListEntry[], depth: number): TreeRow[] {
  const rows = entries.map((entry) => ({ entry, depth, open: false }));
  return [...rows.filter(isFolder), ...rows.filter((row) => !isFolder(row))];
}
