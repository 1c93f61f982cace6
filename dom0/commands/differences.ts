/** Differences between two states of a volume, as people and programs see them, and counted. */

import type { Difference } from '../../shared/protocol/browse.ts';
import type { App } from '../app.ts';
import type { VolumeName } from '../domains/domains.ts';
import { formatBytes, formatCount } from '../../shared/format.ts';
import type { Row } from '../output.ts';

const CHANGES = ['added', 'removed', 'modified', 'metadata', 'type'] as const;
type Change = (typeof CHANGES)[number];

const MARKS: Readonly<Record<Change, string>> = {
  added: '+',
  removed: '-',
  modified: 'M',
  metadata: 'm',
  type: 'T',
};

/** Fields whose difference makes a path modified; with others only it differs in metadata. */
const CONTENT: readonly Difference['fields'][number][] = ['content', 'target', 'device'];

/** Shows differences as they come, and keeps count. */
export class DifferenceList {
  readonly #app: App;
  readonly #volume: VolumeName;
  readonly #counts: Record<Change, number> = { added: 0, removed: 0, modified: 0, metadata: 0, type: 0 };
  #addedBytes = 0;
  #removedBytes = 0;

  /** `volume` is what the paths are of. */
  constructor(app: App, volume: VolumeName) {
    this.#app = app;
    this.#volume = volume;
  }

  get isEmpty(): boolean {
    return CHANGES.every((change) => this.#counts[change] === 0);
  }

  async show(differences: readonly Difference[]): Promise<void> {
    await this.#app.output.rows(differences.map((difference) => this.#row(difference)));
  }

  /** The totals: `fields` go to programs as well. */
  total(leftOut: number, fields: Readonly<Record<string, unknown>>): void {
    const { added, removed, modified, metadata, type } = this.#counts;
    const bytes = { addedBytes: this.#addedBytes, removedBytes: this.#removedBytes };
    this.#app.output.event('differences', {
      ...fields,
      volume: this.#volume,
      ...this.#counts,
      ...bytes,
      leftOut,
    });
    const parts = [
      `${formatCount(added)} added (${formatBytes(this.#addedBytes)})`,
      `${formatCount(removed)} removed (${formatBytes(this.#removedBytes)})`,
      `${formatCount(modified)} modified`,
      `${formatCount(metadata)} in metadata only`,
      ...(type > 0 ? [`${formatCount(type)} of another type`] : []),
      ...(leftOut > 0 ? [`${formatCount(leftOut)} not compared`] : []),
    ];
    this.#app.output.line(parts.join(', '));
  }

  #row(difference: Difference): Row {
    const { path, before, after, fields } = difference;
    const change = changeOf(difference);
    this.#counts[change] += 1;
    if (change === 'added') this.#addedBytes += after?.size ?? 0;
    if (change === 'removed') this.#removedBytes += before?.size ?? 0;
    return {
      line: `${MARKS[change]}  ${detailOf(change, difference).padEnd(24)}  ${path || '.'}`,
      event: 'difference',
      fields: { volume: this.#volume, change, path, before, after, fields },
    };
  }
}

function changeOf({ before, after, fields }: Difference): Change {
  if (before === null) return 'added';
  if (after === null) return 'removed';
  if (before.type !== after.type) return 'type';
  return fields.some((field) => CONTENT.includes(field)) ? 'modified' : 'metadata';
}

function detailOf(change: Change, { before, after, fields }: Difference): string {
  if (change === 'type') return `${before?.type ?? ''} -> ${after?.type ?? ''}`;
  if (change === 'metadata') return fields.join(', ');
  const side = after ?? before;
  if (side?.type !== 'file') return change === 'modified' ? fields.join(', ') : (side?.type ?? '');
  if (before === null || after === null) return formatBytes(side.size);
  return `${formatBytes(before.size)} -> ${formatBytes(after.size)}`;
}
