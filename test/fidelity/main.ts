/**
 * `npm run fidelity [-- --long] [--seeds N] [--from S] [--seed S] [--generations N]`: histories of random edits
 * (history.ts), 3 of them; with --long 100, and a directory of 1,000,000 entries. --from begins with a later seed, --seed
 * plays one. Where one breaks, the first generation and the edit that break are looked for. Exits 0 only if all hold.
 */

import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { makeTemp, removeTree } from '../support/temp.ts';
import { abilitiesIn } from './abilities.ts';
import { comeBackWide, listing } from './come-back.ts';
import { BrokenHistory, playHistory } from './history.ts';
import type { HistoryOptions } from './history.ts';

const EDITS = 20;
/** Entries of the directory of the long form. */
const WIDE = 1_000_000;

const { values } = parseArgs({
  options: {
    long: { type: 'boolean', default: false },
    seeds: { type: 'string' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    generations: { type: 'string', default: '50' },
  },
});

async function main(): Promise<number> {
  const count = Number(values.seeds ?? (values.long ? 100 : 3));
  const from = Number(values.from);
  const seeds =
    values.seed === undefined ? Array.from({ length: count }, (_, i) => from + i) : [Number(values.seed)];
  print(
    `${seeds.length} histories of ${values.generations} generations, ${EDITS} edits each; ${availableParallelism()} cores`,
  );
  let broken = 0;
  for (const seed of seeds) if (!(await isExact(seed))) broken += 1;
  if (values.long && !playWide()) broken += 1;
  print(broken === 0 ? 'All came back exactly.' : `${broken} broken.`);
  return broken === 0 ? 0 : 1;
}

/** True if the history of this seed holds; else says what broke, or what kept it from being played. */
async function isExact(seed: number): Promise<boolean> {
  const started = performance.now();
  const end = (how: string) =>
    print(`seed ${seed}: ${how} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
  try {
    const failure = await play({ seed, restores: 5 });
    end(failure === undefined ? 'exact' : 'BROKEN');
    if (failure === undefined) return true;
    print(`${failure.message}\nagain: npm run fidelity -- --seed ${seed}`);
    await narrow(failure, seed);
  } catch (error) {
    end('FAILED, the test itself');
    print(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
  return false;
}

/** True if the widest directory comes back. */
function playWide(): boolean {
  const folder = makeTemp('qib-fidelity-');
  const started = performance.now();
  try {
    const { volume, restored } = comeBackWide(folder, WIDE);
    const exact = listing(volume) === listing(restored);
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    print(
      `a directory of ${WIDE.toLocaleString('en-US')} entries: ${exact ? 'exact' : 'BROKEN'} (${seconds} s)`,
    );
    return exact;
  } finally {
    removeTree(folder);
  }
}

/** Says which generation breaks first, and after which of its edits. What `failure` found may come from an earlier one. */
async function narrow(failure: BrokenHistory, seed: number): Promise<void> {
  const first = await play({ seed, restores: 'each' });
  if (first === undefined) {
    print(' (not when each snapshot is restored as it is made: what breaks it comes later)');
    return;
  }
  const { generation } = first;
  let [good, bad] = [0, first.edits.length];
  while (bad - good > 1) {
    const middle = Math.floor((good + bad) / 2);
    if ((await play({ seed, restores: 0, cut: { generation, edits: middle } })) === undefined) good = middle;
    else bad = middle;
  }
  print(` generation ${generation} breaks first, with edit ${bad}: ${first.edits[bad - 1] ?? 'none at all'}`);
  if (generation !== failure.generation) print(first.message);
}

/** How the history broke, if it did. */
async function play(
  options: Pick<HistoryOptions, 'seed' | 'restores' | 'cut'>,
): Promise<BrokenHistory | undefined> {
  const folder = makeTemp('qib-fidelity-');
  try {
    const generations = Number(values.generations);
    await playHistory({ ...options, generations, edits: EDITS, folder, abilities: abilitiesIn(folder) });
    return undefined;
  } catch (error) {
    if (error instanceof BrokenHistory) return error;
    throw error;
  } finally {
    removeTree(folder);
  }
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

process.exitCode = await main();
