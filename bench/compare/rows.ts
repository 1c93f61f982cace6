/** The rows of the table, by the data set that they share: each group prepares it, and every contender's store, once a round. */

import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Random } from '../../test/support/random.ts';
import { print } from '../support/terminal.ts';
import { Arena } from './arena.ts';
import { sizeOf, tool, warm } from './contender.ts';
import type { Contender, Place } from './contender.ts';
import type { Ground, Source } from './ground.ts';
import { changeBytes, changeFiles, copiedTree, filesBelow, largeFile } from './data-sets.ts';
import type { Filling } from './data-sets.ts';
import type { Results } from './results.ts';

/** What `--rows` may name. */
export const ROWS = [
  'first',
  'unchanged',
  'files',
  'restore',
  'file',
  'check',
  'data',
  'noise',
  'zeros',
  'text',
  'bytes',
  'list',
  'generations',
] as const;
export type RowName = (typeof ROWS)[number];

export const TITLES: Readonly<Record<RowName, string>> = {
  first: 'first backup, mixed tree',
  unchanged: 'nothing changed, mixed tree',
  files: '1 % of files changed',
  restore: 'restore of all',
  file: 'restore of 1 small file',
  check: 'check of structure',
  data: 'check of all data',
  noise: 'first backup, 1 file of noise',
  zeros: 'first backup, 1 file of zeros',
  text: 'first backup, 1 file of text',
  bytes: '1 % of bytes changed in 1 file of noise',
  list: 'list, of all snapshots',
  generations: 'store after all generations',
};

export const COPY = 'cp -a';
const FIRST_STORE = 'store after the first backup';
/** Largest bytes of what counts as a small file. */
const SMALL = 64 * 1024;
/** Milliseconds after which a time stamp is trusted by all contenders: who reads sooner has to read the file again. */
const SETTLE = 2500;
const SHARE = 0.01;

export interface Plan {
  /** An empty folder, for all that is made. */
  readonly work: string;
  /** For the data. */
  readonly ground: Ground;
  readonly rows: ReadonlySet<RowName>;
  readonly contenders: readonly Contender[];
  readonly rounds: number;
  /** What the mixed tree is a copy of. */
  readonly folders: readonly string[];
  /** Bytes of the large files. */
  readonly large: number;
  /** Generations of changes, and snapshots in all, of the history. */
  readonly generations: number;
  readonly snapshots: number;
  readonly seed: number;
}

const backUp = (place: Place) => place.backUp();

/** All rows of the plan, into `results`. Answers the mixed tree, which is left for what else is measured on it. */
export async function runAll(plan: Plan, results: Results): Promise<Source> {
  print(`copying ${plan.folders.join(' and ')}`);
  const tree = copiedTree(plan.ground, plan.folders);
  await delay(SETTLE);
  if (plan.rows.has('first')) await sizeRows(plan, results, tree);
  for (let round = 0; round < plan.rounds; round++) {
    print(`round ${round + 1} of ${plan.rounds}`);
    await treeRows(plan, results, tree, round);
    for (const filling of ['noise', 'zeros', 'text'] as const)
      if (plan.rows.has(filling) || (filling === 'noise' && plan.rows.has('bytes')))
        await largeRows(plan, results, filling, round);
  }
  if (plan.rows.has('list') || plan.rows.has('generations')) await historyRows(plan, results, tree);
  return tree;
}

function timed({ contenders }: Plan): readonly Contender[] {
  return contenders.filter(({ forSize }) => !forSize);
}

/** The title of a row that was asked for. */
function titleIn({ rows }: Plan, row: RowName): string | undefined {
  return rows.has(row) ? TITLES[row] : undefined;
}

/** Of those that are there for their size. */
async function sizeRows({ contenders, work }: Plan, results: Results, tree: Source): Promise<void> {
  const small = contenders.filter(({ forSize }) => forSize);
  const arena = await Arena.open(join(work, 'stores'), tree, small, results);
  await arena.step({ title: undefined, commands: backUp, reads: 'data' });
  arena.measureStores(FIRST_STORE);
  arena.close();
}

async function treeRows(plan: Plan, results: Results, tree: Source, round: number): Promise<void> {
  const { rows, work, seed } = plan;
  if (
    !['first', 'unchanged', 'files', 'restore', 'file', 'check', 'data'].some((row) =>
      rows.has(row as RowName),
    )
  )
    return;
  const bytes = () => sizeOf(tree.data);
  const arena = await Arena.open(join(work, 'stores'), tree, timed(plan), results, round);
  await arena.step({ title: titleIn(plan, 'first'), commands: backUp, reads: 'data', bytes });
  if (rows.has('first')) arena.measureStores(FIRST_STORE);
  if (rows.has('unchanged'))
    await arena.step({ title: TITLES.unchanged, commands: backUp, reads: 'data', bytes });
  if (rows.has('files')) {
    changeFiles(tree, SHARE, seed + round);
    await delay(SETTLE);
    await arena.step({ title: TITLES.files, commands: backUp, reads: 'data', bytes });
  }
  const small = smallFile(tree, seed);
  if (rows.has('restore')) {
    const commands = (place: Place) => place.restore();
    await arena.step({ title: TITLES.restore, commands, reads: 'store', bytes, restores: true });
    copyWhole(tree, results);
  }
  if (rows.has('file'))
    await arena.step({
      title: TITLES.file,
      commands: (place) => place.restoreFile(small),
      reads: 'store',
      restores: true,
    });
  if (rows.has('check'))
    await arena.step({ title: TITLES.check, commands: (place) => place.check(), reads: 'store' });
  if (rows.has('data'))
    await arena.step({
      title: TITLES.data,
      commands: (place) => place.checkData(),
      reads: 'store',
      bytes: (place) => sizeOf(place.store),
    });
  arena.close();
}

async function largeRows(plan: Plan, results: Results, filling: Filling, round: number): Promise<void> {
  const { work, large, rows, seed } = plan;
  const source = largeFile(plan.ground, large, filling, seed + round);
  await delay(SETTLE);
  const arena = await Arena.open(join(work, 'stores'), source, timed(plan), results, round);
  await arena.step({ title: titleIn(plan, filling), commands: backUp, reads: 'data', bytes: () => large });
  if (filling === 'noise' && rows.has('bytes')) {
    changeBytes(source, SHARE, seed + round);
    await delay(SETTLE);
    await arena.step({ title: TITLES.bytes, commands: backUp, reads: 'data', bytes: () => large });
  }
  arena.close();
  source.close();
}

/** Many snapshots in one store: its size, what it takes to look at it, and what forgetting gives back. Prepared once. */
async function historyRows(plan: Plan, results: Results, tree: Source): Promise<void> {
  const { work, generations, snapshots, rounds, seed } = plan;
  print(`${snapshots} snapshots, ${generations} of them of ${SHARE * 100} % changed files`);
  const arena = await Arena.open(join(work, 'stores'), tree, timed(plan), results);
  const step = (title: string | undefined, commands: (place: Place) => ReturnType<Place['list']>) =>
    arena.step({ title, commands, reads: 'store' });
  for (let snapshot = 0; snapshot < snapshots; snapshot++) {
    if (snapshot > 0 && snapshot <= generations) {
      changeFiles(tree, SHARE, seed + 1000 + snapshot);
      await delay(SETTLE);
    }
    await arena.step({ title: undefined, commands: backUp, reads: 'data' });
    if (snapshot === generations) arena.measureStores(`store after ${generations} generations`);
  }
  const folder = join(smallFile(tree, seed), '..');
  for (let round = 0; round < rounds && plan.rows.has('list'); round++) {
    await step(`${TITLES.list} (${snapshots})`, (place) => place.list());
    await step(`${TITLES.list}, by passphrase`, (place) => place.listByPassphrase());
    await step(`ls of 1 directory, ${snapshots} snapshots`, (place) => place.listFolder(folder));
  }
  if (plan.rows.has('generations')) {
    await step('forget to 3 snapshots, and sweep', (place) => place.forget(3));
    arena.measureStores('store after forgetting to 3 and sweeping');
  }
  arena.close();
}

/** The path of a small file, the same for the same seed. */
function smallFile({ data }: Source, seed: number): string {
  const small = tool(
    'find',
    data,
    '-type',
    'f',
    '-size',
    `-${SMALL / 1024}k`,
    '-size',
    '+0',
    '-printf',
    '%P\\n',
  );
  const names = new Set(small.split('\n'));
  return new Random(seed).pick(filesBelow(data).filter((path) => names.has(path)));
}

/** What the machine takes to copy the same tree, as a contender of its own. */
function copyWhole(source: Source, results: Results): void {
  const { data, vms } = source;
  const to = join(vms, 'copy');
  warm(data);
  const start = performance.now();
  tool('cp', '-a', '--', data, to);
  const seconds = (performance.now() - start) / 1000;
  results.addTime(TITLES.restore, COPY, [{ seconds, stdout: '', stderr: '', code: 0, parts: new Map() }]);
  source.clear(to);
}
