/** What the owner of a storage VM can see and decide (docs/retention.md): the commands of `qubes-backup-storage`. */

import { BackupError } from '../shared/errors.ts';
import { formatBytes, formatCount, formatTable, formatTime } from '../shared/format.ts';
import { rootHashOf } from '../shared/ids.ts';
import { decodeRoot } from '../shared/root.ts';
import { SHARDS } from './back-end.ts';
import { listShard } from './listing.ts';
import { RemoteBackEnd } from './remote/back-end.ts';
import { SweptBucket } from './remote/swept-bucket.ts';
import type { Store } from './store.ts';

const DAY = 24 * 3600;
/** Milliseconds after which a sweep lets others at the store before it goes on: a root that waits is a backup that waits. */
const HELD = 10_000;

/** Shows lines, and asks before something is done that cannot be undone. */
export interface Owner {
  line(text: string): void;
  /** Throws `usage` unless the answer is `answer`. */
  confirm(question: string, answer: string): Promise<void>;
  /** Shows how far something that takes long is: `done` of `total`. */
  progress(what: string, done: number, total: number): void;
}

export async function status(store: Store, owner: Owner): Promise<void> {
  await requireStore(store);
  const { objects, bytes, dead, deadBytes } = await count(store);
  const { ledger, settings, roots, backEnd } = store;
  const [newest, age, state] = [await roots.newest(), await ledger.clock.age(), await ledger.readState()];
  const [numbers, room] = [await roots.numbers(), await backEnd.room()];
  const quota = settings.quota === undefined ? 'no quota' : `quota ${formatBytes(settings.quota)}`;
  const rows = [
    ['objects', `${formatCount(objects)}, ${formatBytes(bytes)}`],
    [
      'limits',
      `${quota}, reserve ${formatBytes(settings.reserve)}${room === undefined ? '' : `, ${formatBytes(room)} free`}`,
    ],
    ['newest root', newest === undefined ? 'none' : describeRoot(newest.number, newest.bytes)],
    ['roots kept', formatCount(numbers.length)],
    [
      'trash',
      `${formatCount(dead)} objects, ${formatBytes(deadBytes)}, kept for ${settings.grace / DAY} days`,
    ],
    ['store-age', `${days(age)} days`],
  ];
  for (const line of formatTable(rows)) owner.line(line);
  if ((await store.renewal?.isOverdue()) === true)
    owner.line('ATTENTION: locks against deletion may have ended: run "sweep", which renews them.');
  if (state.pass !== null)
    owner.line(`A live list is being applied: ${state.pass.phase}, ${state.pass.shards} of 256.`);
  if (state.waiting !== null)
    owner.line(
      `ATTENTION: the live list of root ${state.waiting.root} leaves out ${formatBytes(state.waiting.deadBytes)} of ${formatBytes(state.waiting.bytes)}. Nothing of it goes until you say "accept"; if you did not forget that much, look at "roots".`,
    );
}

export async function listRoots(store: Store, owner: Owner): Promise<void> {
  await requireStore(store);
  const [numbers, age] = [await store.roots.numbers(), await store.ledger.clock.age()];
  const rows = [['ROOT', 'COUNTER', 'SIGNED', 'LIST', 'CURRENT', 'HASH']];
  for (const [index, number] of numbers.entries()) {
    const root = await store.roots.read(number);
    if (root === undefined) continue;
    const next = await store.ledger.rootAges.read(number + 1);
    const current =
      index === numbers.length - 1
        ? 'now'
        : next === undefined
          ? 'unknown'
          : `until ${days(age - next.at)} days ago`;
    rows.push([String(number), ...fieldsOf(root.bytes), current, rootHashOf(root.bytes).slice(0, 16)]);
  }
  for (const line of formatTable(rows, [0, 1])) owner.line(line);
}

/** What is dead, by days. */
export async function listTrash(store: Store, owner: Owner): Promise<void> {
  await requireStore(store);
  const age = await store.ledger.clock.age();
  const byDay = new Map<number, { objects: number; bytes: number }>();
  for (const shard of SHARDS) {
    const marks = await store.ledger.marks.read(shard);
    for (const { id, size } of await listShard(store.backEnd, shard)) {
      const since = marks.get(id)?.dead;
      if (since === undefined) continue;
      const day = Math.floor((age - since) / DAY);
      const sum = byDay.get(day) ?? { objects: 0, bytes: 0 };
      byDay.set(day, { objects: sum.objects + 1, bytes: sum.bytes + size });
    }
  }
  if (byDay.size === 0) {
    owner.line('The trash is empty.');
    return;
  }
  const grace = store.settings.grace / DAY;
  const rows = [...byDay]
    .sort(([a], [b]) => a - b)
    .map(([day, { objects, bytes }]) => [
      `${day} days`,
      formatCount(objects),
      formatBytes(bytes),
      day >= grace ? 'at the next sweep' : `in ${grace - day} days`,
    ]);
  for (const line of formatTable([['DEAD FOR', 'OBJECTS', 'SIZE', 'GOES'], ...rows], [1, 2]))
    owner.line(line);
}

export async function acceptList(store: Store, owner: Owner): Promise<void> {
  await requireStore(store);
  const { waiting } = await store.ledger.readState();
  if (waiting === null) throw new BackupError('usage', 'no live list waits for a decision');
  const share = ((100 * waiting.deadBytes) / Math.max(1, waiting.bytes)).toFixed(0);
  await owner.confirm(
    `Root ${waiting.root} says that ${formatBytes(waiting.deadBytes)} (${share} %) of the store are needed no more. They go ${store.settings.grace / DAY} days from now. Type "yes" to go on: `,
    'yes',
  );
  await store.acceptList();
  owner.line('Accepted. "qubes-backup-storage trash" shows it once a sweep has gone over the store.');
}

export async function restoreRoot(store: Store, owner: Owner, number: number): Promise<void> {
  await requireStore(store);
  if (store.backEnd instanceof SweptBucket) throw store.backEnd.onlySweeps();
  const root = await store.roots.read(number);
  if (root === undefined) throw new BackupError('usage', `the store keeps no root ${number}: see "roots"`);
  await owner.confirm(
    `Root ${describeRoot(number, root.bytes)} becomes the newest again; what died since it was superseded lives. dom0 will call the store rolled back, and go on with --accept-root. Type "${number}" to go on: `,
    String(number),
  );
  await store.restoreRoot(number);
  owner.line(`Root ${number} is the newest again.`);
}

/** After the storage VM that wrote to a place elsewhere is gone for good: this one takes its place. */
export async function takeOver({ backEnd }: Store, owner: Owner): Promise<void> {
  if (backEnd instanceof SweptBucket) throw backEnd.onlySweeps();
  if (!(backEnd instanceof RemoteBackEnd))
    throw new BackupError('usage', 'the store is a folder of this VM: nobody else owns it');
  await owner.confirm(
    `This storage VM takes the place of the one that writes to ${backEnd.place}. Go on only if that one is gone for good: two of them can lose what the other has put. Type "take over" to go on: `,
    'take over',
  );
  await backEnd.takeOver();
  owner.line(
    'This storage VM writes there now. Its ledger begins anew: nothing goes before another grace period.',
  );
}

const STEPS = {
  weigh: 'weighing what is needed no more',
  mark: 'marking it',
  remove: 'removing what was dead long enough',
} as const;

/**
 * Sweeps to the end. With `now` everything that is dead goes at once, and every root but the newest. Others get at the store
 * after each `held` milliseconds.
 */
export async function sweepStore(store: Store, owner: Owner, now = false, held = HELD): Promise<void> {
  await requireStore(store);
  if (now) {
    const { dead, deadBytes } = await count(store);
    await owner.confirm(
      `${formatCount(dead)} dead objects (${formatBytes(deadBytes)}) and all roots but the newest go for ever, without the rest of their grace period. Type "purge" to go on: `,
      'purge',
    );
  }
  const sum = { objects: 0, bytes: 0, roots: 0, kept: 0 };
  for (let finished = false; !finished;) {
    const end = performance.now() + held;
    const swept = await store.sweep({
      now,
      stopped: () => performance.now() >= end,
      progress: (step, shards) => owner.progress(STEPS[step], shards, SHARDS.length),
    });
    finished = swept.finished;
    sum.objects += swept.removedObjects;
    sum.bytes += swept.removedBytes;
    sum.roots += swept.removedRoots;
    sum.kept += swept.kept;
  }
  owner.line(
    `Removed ${formatCount(sum.objects)} objects (${formatBytes(sum.bytes)}) and ${formatCount(sum.roots)} roots.`,
  );
  if (sum.kept > 0) owner.line(`A lock against deletion keeps ${formatCount(sum.kept)} more.`);
}

async function requireStore(store: Store): Promise<void> {
  if (!(await store.exists())) throw new BackupError('usage', 'there is no store here yet');
}

async function count(store: Store) {
  const sum = { objects: 0, bytes: 0, dead: 0, deadBytes: 0 };
  for (const shard of SHARDS) {
    const marks = await store.ledger.marks.read(shard);
    for (const { id, size } of await listShard(store.backEnd, shard)) {
      sum.objects += 1;
      sum.bytes += size;
      if (marks.get(id)?.dead === undefined) continue;
      sum.dead += 1;
      sum.deadBytes += size;
    }
  }
  return sum;
}

function describeRoot(number: number, bytes: Uint8Array): string {
  const [counter, time] = fieldsOf(bytes);
  return `${number} (counter ${counter}, signed ${time})`;
}

/** Counter, time and whether it has a list; of a damaged root, that it is. */
function fieldsOf(bytes: Uint8Array): readonly [string, string, string] {
  try {
    const { counter, time, live } = decodeRoot(bytes).body;
    return [String(counter), formatTime(time), live === null ? '' : 'yes'];
  } catch (error) {
    if (error instanceof BackupError) return ['?', 'damaged', ''];
    throw error;
  }
}

function days(seconds: number): string {
  return (seconds / DAY).toFixed(1);
}
