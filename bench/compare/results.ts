/** What was measured: of each row and contender all values, or how it failed. */

import { median } from '../support/statistics.ts';
import type { Cost, PartCost } from '../support/process-tree.ts';

export type Unit = 's' | 'bytes';

/** One row of one contender. */
export interface Cell {
  readonly values: number[];
  readonly failures: string[];
  /** Of each run, what its parts took. */
  readonly parts: ReadonlyMap<string, PartCost>[];
}

export interface Row {
  readonly title: string;
  readonly unit: Unit;
  /** The day of it, as YYYY-MM-DD. */
  readonly date: string;
  /** Bytes that are gone through, where a rate says more than a time. */
  bytes?: number;
  /** By contender, in the order in which they came. */
  readonly cells: Map<string, Cell>;
}

/** A row as it is in a file. */
export interface SavedRow extends Omit<Row, 'cells'> {
  readonly contenders: readonly SavedCell[];
}

interface SavedCell {
  readonly name: string;
  readonly median: number | null;
  readonly values: readonly number[];
  readonly failures: readonly string[];
  readonly parts: readonly (readonly SavedPart[])[];
}

interface SavedPart extends Omit<PartCost, 'threads'> {
  readonly part: string;
  readonly threads: Readonly<Record<string, number>>;
}

export class Results {
  readonly rows = new Map<string, Row>();

  /** Takes rows of earlier runs as well, but those that were measured anew. */
  addEarlier(saved: readonly SavedRow[]): void {
    for (const { contenders, ...row } of saved)
      if (!this.rows.has(row.title)) this.rows.set(row.title, { ...row, cells: cellsOf(contenders) });
  }

  saved(): readonly SavedRow[] {
    return [...this.rows.values()].map(({ cells, ...row }) => ({
      ...row,
      contenders: [...cells].map(([name, cell]) => ({
        name,
        median: cell.values.length === 0 ? null : middle(cell),
        values: cell.values,
        failures: cell.failures,
        parts: cell.parts.map((parts) =>
          [...parts].map(([part, { threads, ...cost }]) => ({
            part,
            ...cost,
            threads: Object.fromEntries(threads),
          })),
        ),
      })),
    }));
  }

  /** Notes a step of several commands; their parts are those of the one that took longest. */
  addTime(title: string, contender: string, costs: readonly Cost[], bytes?: number): void {
    const seconds = costs.reduce((sum, cost) => sum + cost.seconds, 0);
    const longest = costs.reduce((a, b) => (a.seconds >= b.seconds ? a : b));
    const cell = this.#cell(title, contender, 's', bytes);
    cell.values.push(seconds);
    cell.parts.push(longest.parts);
  }

  addSize(title: string, contender: string, bytes: number): void {
    this.#cell(title, contender, 'bytes').values.push(bytes);
  }

  addFailure(title: string, contender: string, unit: Unit, why: string): void {
    this.#cell(title, contender, unit).failures.push(why);
  }

  get failed(): boolean {
    return [...this.rows.values()].some(({ cells }) =>
      [...cells.values()].some(({ failures }) => failures.length > 0),
    );
  }

  #cell(title: string, contender: string, unit: Unit, bytes?: number): Cell {
    const date = new Date().toISOString().slice(0, 10);
    const row = this.rows.get(title) ?? { title, unit, date, cells: new Map<string, Cell>() };
    this.rows.set(title, row);
    if (bytes !== undefined) row.bytes = bytes;
    const cell = row.cells.get(contender) ?? { values: [], failures: [], parts: [] };
    row.cells.set(contender, cell);
    return cell;
  }
}

/** The median of a cell; NaN if it has no values. */
export function middle(cell: Cell | undefined): number {
  return median(cell?.values ?? []);
}

function cellsOf(contenders: readonly SavedCell[]): Map<string, Cell> {
  return new Map(
    contenders.map(({ name, values, failures, parts }) => {
      const runs = parts.map(
        (run) =>
          new Map(
            run.map(({ part, threads, ...cost }) => [
              part,
              { ...cost, threads: new Map(Object.entries(threads)) },
            ]),
          ),
      );
      return [name, { values: [...values], failures: [...failures], parts: runs }];
    }),
  );
}
