/** What a campaign prints: a line for each fault, with what survived it. */

import { formatTable } from '../../shared/format.ts';

export class FaultTable {
  readonly #rows = new Map<string, { points: number; lost: number }>();

  /** Counts one more point of `fault`. */
  count(fault: string, isLost = false): void {
    const row = this.#rows.get(fault) ?? { points: 0, lost: 0 };
    this.#rows.set(fault, { points: row.points + 1, lost: row.lost + (isLost ? 1 : 0) });
  }

  get lines(): readonly string[] {
    const cells = ([fault, { points, lost }]: readonly [string, { points: number; lost: number }]) =>
      [fault, String(points), String(points - lost), String(lost)] as const;
    return formatTable([['fault', 'points', 'survived', 'lost'], ...[...this.#rows].map(cells)], [1, 2, 3]);
  }

  get lost(): number {
    return [...this.#rows.values()].reduce((sum, { lost }) => sum + lost, 0);
  }
}
