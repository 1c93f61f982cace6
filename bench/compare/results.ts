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
  /** Bytes that are gone through, where a rate says more than a time. */
  bytes?: number;
  /** By contender, in the order in which they came. */
  readonly cells: Map<string, Cell>;
}

export class Results {
  readonly rows = new Map<string, Row>();

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
    const row = this.rows.get(title) ?? { title, unit, cells: new Map<string, Cell>() };
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
