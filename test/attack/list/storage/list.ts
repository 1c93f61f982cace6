/** What a storage VM may try that is asked what it holds. */

import { idBytes, objectIdOf } from '../../../../shared/ids.ts';
import { LIST_ROW } from '../../../../shared/protocol/storage.ts';
import { decodeRoot } from '../../../../shared/root.ts';
import type { Bench } from '../../bench.ts';
import { at } from '../../case.ts';
import type { Case } from '../../case.ts';
import { frameBytes } from '../../peer/altered.ts';
import { MiB, insert, ofBytes, rows } from '../rows.ts';
import { LIST } from '../sessions.ts';
import type { World } from '../../world.ts';

const ROWS = Math.floor(MiB / LIST_ROW);

export function listCases(bench: Bench): Case[] {
  const PAGE = LIST.frame;
  const row = (id: number, size: number) =>
    Buffer.concat([Buffer.alloc(32, id), Buffer.of(0, 0, size >> 8, size & 255)]);
  const page = (...all: Buffer[]) => insert(frameBytes(PAGE, Buffer.concat(all)));
  return rows(LIST, [
    ['half-row', 'sends half a row', [at(PAGE, { do: 'shrink', bytes: 1, at: 1 })], 'protocol'],
    ['left-out', 'leaves the catalog out', [at(PAGE, ofBytes(withoutCatalog(bench.world)))], 'store-damaged'],
    ['left-out-all', 'lists nothing', [at(PAGE, { do: 'frame', payload: '' })], 'store-damaged'],
    ['size-0', 'lists an object of no byte', [at(PAGE, { do: 'sizes', size: 0 })], 'store-damaged'],
    ['size-max', 'lists objects of 4 GiB', [at(PAGE, { do: 'sizes', size: 2 ** 32 - 1 })], 'store-damaged'],
    ['unsorted', 'lists out of order', [at(PAGE, page(row(255, 5000)))], 'protocol'],
    ['twice', 'lists an object twice', [at(PAGE, page(row(0, 5000), row(0, 5000)))], 'protocol'],
    ['more', 'lists an object that nobody stored', [at(PAGE, page(row(0, 5000)))], 'claimed'],
    [
      'page-over-cap',
      'sends a page larger than may be',
      [at(PAGE, { do: 'frame', length: MiB + 1 })],
      'protocol',
    ],
    [
      'ungranted',
      'lists more than it was granted',
      [at(PAGE, { do: 'zeros', type: PAGE, size: ROWS * LIST_ROW, times: 64 })],
      'protocol',
    ],
    [
      'endless',
      'lists 4,000,000 objects that nobody stored',
      [at(PAGE, { do: 'list-many', rows: 4_000_000 })],
      'store-damaged',
    ],
    [
      'over',
      'lists 4,300,000: more than dom0 can hold',
      [at(PAGE, { do: 'list-many', rows: 4_300_000 })],
      'limit',
      { fresh: true },
    ],
  ]);
}

/** A listing of the store without what its root refers to. */
function withoutCatalog({ objects, roots }: World): Uint8Array {
  const { catalog } = decodeRoot(roots.current).body;
  const names = new Map(objects.map((bytes) => [objectIdOf(bytes), bytes.length]));
  names.delete(catalog);
  const rows = [...names].sort(([a], [b]) => (a < b ? -1 : 1));
  return Buffer.concat(
    rows.map(([id, size]) =>
      Buffer.concat([idBytes(id), Buffer.of(0, size >> 16, (size >> 8) & 255, size & 255)]),
    ),
  );
}
