/**
 * What the faults that a check found mean for a person: which snapshots, and which files of them, cannot be restored any more, or
 * could not be from one store alone, or can be again. Files are named by a disposable, which reads the lists of files.
 */

import type { ObjectId, VmId } from '../../shared/ids.ts';
import { MAX_NUMBER_SET, MAX_SNAPSHOTS } from '../../shared/limits.ts';
import { NumberSet } from '../../shared/numbers.ts';
import { browse } from '../../shared/protocol/browse.ts';
import type { Need } from '../../shared/protocol/browse.ts';
import type { App } from '../app.ts';
import type { CatalogEntry } from '../repository/records.ts';
import type { Repository } from '../repository/repository.ts';
import { damageOf, undamaged } from '../repository/vm-damage.ts';
import type { HitTree, LostPart, VmDamage } from '../repository/vm-damage.ts';
import type { VmHistory } from '../repository/vm-history.ts';
import { runNeeding } from '../session/query-sessions.ts';
import { DamageTable } from './damage-table.ts';
import { entriesIn } from './ls.ts';
import type { StoreCheck } from './store-check.ts';

/** `elsewhere`: another store that was checked has it. */
export const DAMAGE_STATES = ['lost', 'elsewhere', 'repaired'] as const;
export type DamageState = (typeof DAMAGE_STATES)[number];

/** The objects that were found wrong in any store. */
export class FaultyObjects {
  #stores = 0;
  readonly #found = new Map<ObjectId, { faulty: number; everywhere: boolean }>();
  /** Those that had a fault anywhere. */
  readonly vms = new Set<VmId>();

  /** Adds what was found in one more store. */
  add({ found, hitVms }: Pick<StoreCheck, 'found' | 'hitVms'>): void {
    this.#stores += 1;
    for (const vm of hitVms) this.vms.add(vm);
    for (const [id, what] of found) {
      const object = this.#found.get(id) ?? { faulty: 0, everywhere: false };
      this.#found.set(id, object);
      if (what !== 'repaired') object.faulty += 1;
      if (what === 'everywhere') object.everywhere = true;
    }
  }

  of(state: DamageState): ReadonlySet<ObjectId> {
    const chosen = [...this.#found].filter(([, object]) => this.#stateOf(object) === state);
    return new Set(chosen.map(([id]) => id));
  }

  #stateOf({ faulty, everywhere }: { readonly faulty: number; readonly everywhere: boolean }): DamageState {
    if (everywhere || faulty === this.#stores) return 'lost';
    return faulty === 0 ? 'repaired' : 'elsewhere';
  }
}

const HEADINGS: Readonly<Record<DamageState, string>> = {
  lost: 'LOST: no store that was checked has what this needs.',
  elsewhere:
    'MISSING FROM A STORE: another one has it, and it can be restored. Run "qubes-backup check --repair".',
  repaired: 'REPAIRED: it was missing from a store, and is there again.',
};

/** Tells what of the backups is hit by `faulty`, and what is whole. */
export async function reportDamage(app: App, repository: Repository, faulty: FaultyObjects): Promise<void> {
  const vms = [...repository.vms].sort((a, b) => a.name.localeCompare(b.name));
  for (const state of DAMAGE_STATES) {
    const ids = faulty.of(state);
    if (state !== 'lost' && ids.size === 0) continue;
    const table = new DamageTable(app.output, state);
    for (const entry of vms) {
      const isHit = faulty.vms.has(entry.id) || ids.has(repository.root.body.catalog);
      await reportVm(app, repository, entry, { state, ids, table, isHit });
    }
    table.show(HEADINGS[state]);
  }
}

interface Section {
  readonly state: DamageState;
  readonly ids: ReadonlySet<ObjectId>;
  readonly table: DamageTable;
  /** If not, nothing of the VM is looked at but the list of its snapshots. */
  readonly isHit: boolean;
}

async function reportVm(
  app: App,
  repository: Repository,
  entry: CatalogEntry,
  { state, ids, table, isHit }: Section,
): Promise<void> {
  const { name } = entry;
  const isLost = (id: ObjectId) => ids.has(id);
  const loss = { isLost, withUnreadable: state === 'lost' };
  const found = isHit ? await damageOf(repository, entry, loss) : await undamaged(repository, entry);
  const parts = isLost(repository.root.body.catalog) ? [WITHOUT_CATALOG(found)] : found.parts;
  const hit = new Set<number>();
  for (const part of parts) {
    part.snapshots?.forEach((number) => hit.add(number));
    await table.addPart(name, part);
  }
  if (found.history !== undefined && found.trees.length > 0)
    await needsOf(app, found.history, found, async ({ snapshots, volume }, needs) => {
      snapshots.forEach((number) => hit.add(number));
      await table.addNeeds(name, volume.name, snapshots, needs);
    });
  if (state !== 'lost') return;
  const whole = found.snapshots.filter((number) => !hit.has(number));
  table.addWhole(name, whole, found.snapshots.length, hit.size);
  app.output.event('intact', { vm: name, snapshots: whole, hit: [...hit].sort((a, b) => b - a) });
}

const WITHOUT_CATALOG = ({ snapshots }: VmDamage): LostPart => ({
  snapshots: snapshots.length === 0 ? undefined : snapshots,
  volume: undefined,
  what: 'all',
  reason: 'the catalog of all VMs is lost',
});

/** Runs of a number set in one question: any of them can be encoded within its cap. */
const RUNS_AT_ONCE = Math.floor(MAX_NUMBER_SET / 14);

/** Has a disposable say what of `trees` needs `blobs`. */
async function needsOf(
  app: App,
  history: VmHistory,
  { trees, blobs, readable }: VmDamage,
  show: (tree: HitTree, needs: readonly Need[]) => Promise<void>,
): Promise<void> {
  const access = { history, grant: { numbers: readable, treesOnly: true } };
  for (const some of inParts(trees, MAX_SNAPSHOTS))
    for (const runs of inParts([...blobs.runs()], RUNS_AT_ONCE)) {
      const lost = runs.reduce((all, [from, to]) => all.union(NumberSet.range(from, to)), NumberSet.empty);
      const tops = some.map(({ volume }) => volume.top);
      const question = { kind: 'needing', tops, blobs: lost.encode() } as const;
      const limit = some.reduce((sum, { volume }) => sum + 2 * (entriesIn(volume) + 1), 0);
      await app.withDisposable(history.name, { kind: 'nothing' }, browse.service, (call) =>
        runNeeding(call, access, question, limit, async (needs) => {
          for (const [top, ofTree] of Map.groupBy(needs, (need) => need.top)) {
            const tree = some[top];
            if (tree !== undefined) await show(tree, ofTree);
          }
        }),
      );
    }
}

function* inParts<T>(all: readonly T[], size: number): Generator<readonly T[]> {
  for (let at = 0; at < all.length; at += size) yield all.slice(at, at + size);
}
