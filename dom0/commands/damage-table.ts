/** The rows of a damage report: all of them for programs, and for a person a table of as many as can be read. */

import { formatBytes, formatCount, formatTable } from '../../shared/format.ts';
import type { Need } from '../../shared/protocol/browse.ts';
import type { Output } from '../output.ts';
import type { LostPart } from '../repository/vm-damage.ts';
import type { DamageState } from './damage.ts';

/** Lines of the table; and rows that are held to be grouped by path, of at most 8 KiB each. */
const MAX_LINES = 50;
const MAX_HELD = 2_000;

interface Held {
  readonly vm: string;
  readonly volume: string;
  readonly text: string;
  /** Undefined: nobody can tell which. */
  readonly snapshots: number[] | undefined;
}

export class DamageTable {
  readonly #output: Output;
  readonly #state: DamageState;
  readonly #held = new Map<string, Held>();
  readonly #whole: string[] = [];
  #more = 0;
  #partly = false;

  constructor(output: Output, state: DamageState) {
    this.#output = output;
    this.#state = state;
  }

  async addPart(vm: string, { snapshots, volume, what, reason }: LostPart): Promise<void> {
    const text = what === 'all' ? `everything: ${reason}` : reason;
    const fields = { snapshots: snapshots ?? null, volume: volume ?? null, what, reason };
    await this.#add(vm, volume ?? '', text, snapshots, { ...fields, ...NO_PATH });
  }

  /** `snapshots` share the tree that has these `needs`. */
  async addNeeds(
    vm: string,
    volume: string,
    snapshots: readonly number[],
    needs: readonly Need[],
  ): Promise<void> {
    this.#partly = true;
    for (const { kind, top, ...need } of needs) {
      const fields = { snapshots, volume, what: kind, reason: null, ...NO_PATH, ...need };
      await this.#add(vm, volume, textOf({ kind, top, ...need } as Need), snapshots, fields);
    }
  }

  /** Of `all` snapshots of a VM these are not hit. */
  addWhole(vm: string, whole: readonly number[], all: number, hit: number): void {
    if (all === 0 && hit === 0) return;
    const numbers = whole.length === 0 ? 'none' : whole.length === all ? `all ${all}` : formatNumbers(whole);
    this.#whole.push(`${vm}: ${numbers}`);
  }

  /** Nothing if no backup is hit. */
  show(heading: string): void {
    if (this.#held.size === 0) {
      if (this.#state === 'lost') this.#output.line('No backup is lost.');
      return;
    }
    this.#output.line(heading);
    const rows = [...this.#held.values()].slice(0, MAX_LINES);
    const cells = rows.map(({ vm, snapshots, volume, text }) => [
      vm,
      snapshots === undefined ? 'all' : formatNumbers(snapshots),
      volume,
      text,
    ]);
    for (const line of formatTable([['VM', 'SNAPSHOTS', 'VOLUME', 'WHAT'], ...cells]))
      this.#output.line(line);
    const more = this.#held.size - rows.length + this.#more;
    if (more > 0) this.#output.line(`... and ${formatCount(more)} more: --json names all`);
    if (this.#state !== 'lost') return;
    if (this.#partly)
      this.#output.line(
        'What is not named can be extracted; a restore of one of these snapshots as a whole stops.',
      );
    this.#output.line(`Whole are, of ${this.#whole.join('; ')}.`);
  }

  async #add(
    vm: string,
    volume: string,
    text: string,
    snapshots: readonly number[] | undefined,
    fields: Readonly<Record<string, unknown>>,
  ): Promise<void> {
    const key = JSON.stringify([vm, volume, text]);
    const held = this.#held.get(key);
    if (held !== undefined) held.snapshots?.push(...(snapshots ?? []));
    else if (this.#held.size < MAX_HELD)
      this.#held.set(key, { vm, volume, text, snapshots: snapshots && [...snapshots] });
    else this.#more += 1;
    const event = { event: 'damage', fields: { state: this.#state, vm, ...fields } };
    if (this.#output.json) await this.#output.rows([{ ...event, line: '' }]);
    else this.#output.event(event.event, event.fields);
  }
}

const NO_PATH = { path: null, until: null, within: null, bytes: null, entries: null };

function textOf(need: Need): string {
  const path = need.path === '' ? '/' : need.path;
  if (need.kind === 'file') return need.bytes === 0 ? path : `${path} (${formatBytes(need.bytes)} of it)`;
  const { until, within, entries } = need;
  const end = until === null ? 'to the end' : `up to, not including, ${until}`;
  const rest = within === null ? '' : `, and all that is in ${within === '' ? '/' : within}`;
  return `${formatCount(entries)} names from ${path} ${end}${rest}`;
}

/** Numbers in descending order as runs, ascending: `1-3, 7`. */
export function formatNumbers(numbers: readonly number[]): string {
  const runs: [number, number][] = [];
  for (const number of [...new Set(numbers)].sort((a, b) => a - b)) {
    const last = runs.at(-1);
    if (last !== undefined && last[1] === number - 1) last[1] = number;
    else runs.push([number, number]);
  }
  return runs.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(', ');
}
