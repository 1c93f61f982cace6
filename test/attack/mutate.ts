/**
 * `npm run attack -- --mutants`: leaves out one check of the program after the other (mutants.ts), and shows that an attack
 * notices. All of it in a copy, in which each check asks first whether it is the one that is left out: so one bench tries
 * them all. dom0 is told by its job, a service by a file that it reads when it starts.
 */

import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { Bench } from './bench.ts';
import { ClientBench } from './client-bench.ts';
import { writtenList } from './list/list.ts';
import { MUTANTS } from './mutants.ts';
import type { Mutant } from './mutants.ts';

const PROJECT = join(import.meta.dirname, '..', '..');
const COPIED = ['shared', 'dom0', 'dvm', 'storagevm', 'services', 'policies', 'test', 'bin', 'package.json'];
/** Of the copy: what tells which check is left out, and the file that services read. */
const SWITCH = join('shared', 'mutant.ts');
const NAME = join('shared', 'mutant');

/** Milliseconds after which a mutant counts as hung, which is noticed as well. */
const LIMIT = 45_000;
/** Generated sessions of clients for one mutant. */
const SESSIONS = 300;

const SOURCE = `import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const file = join(import.meta.dirname, 'mutant');
const own = existsSync(file) ? readFileSync(file, 'utf8') : '';

/** True if the check \`id\` is left out. */
export function isLeftOut(id) {
  return (globalThis.mutant ?? own) === id;
}
`;

/** True in a copy that {@link prepare} made. */
export function isPrepared(): boolean {
  return existsSync(join(PROJECT, SWITCH));
}

/** Makes the copy in `folder` and runs the same command there; answers its exit status. */
export function runInCopy(folder: string, args: readonly string[]): number {
  prepare(folder);
  const { status } = spawnSync(process.execPath, [join(folder, 'test/attack/main.ts'), ...args], {
    stdio: 'inherit',
  });
  return status ?? 1;
}

function prepare(folder: string): void {
  for (const part of COPIED) cpSync(join(PROJECT, part), join(folder, part), { recursive: true });
  symlinkSync(join(PROJECT, 'node_modules'), join(folder, 'node_modules'));
  for (const [file, source] of instrumentedFiles()) writeFileSync(join(folder, file), source);
  writeFileSync(join(folder, SWITCH), SOURCE);
}

/** Each file that has checks to leave out, as it is in the copy. Throws if a check is not there, or more than once. */
export function instrumentedFiles(): Map<string, string> {
  const all = Map.groupBy(MUTANTS, ({ file }) => file);
  const sources = [...all].map(([file, mutants]): [string, string] => {
    return [file, instrumented(file, readFileSync(join(PROJECT, file), 'utf8'), mutants)];
  });
  return new Map(sources);
}

/** `source` in which each check of `mutants` can be left out. */
function instrumented(file: string, source: string, mutants: readonly Mutant[]): string {
  const places = Map.groupBy(mutants, ({ id, text }) => {
    const at = source.indexOf(text);
    if (at === -1 || source.includes(text, at + 1)) throw new Error(`${id}: ${file} has not once: ${text}`);
    return at;
  });
  let changed = source;
  for (const [at, same] of [...places].sort(([a], [b]) => b - a)) {
    const length = same[0]?.text.length ?? 0;
    const text = changed.slice(at, at + length);
    changed = changed.slice(0, at) + same.reduce(switched, text) + changed.slice(at + length);
  }
  const path = relative(dirname(file), SWITCH);
  return `import { isLeftOut } from '${path.startsWith('.') ? path : `./${path}`}';\n${changed}`;
}

function switched(text: string, { id, instead }: Mutant): string {
  const leftOut = `isLeftOut('${id}')`;
  return instead.includes('@') ? instead.replaceAll('@', leftOut) : `(${leftOut} ? (${instead}) : (${text}))`;
}

interface Options {
  /** An empty folder, which is filled. */
  readonly folder: string;
  /** Ids of mutants; undefined for all. */
  readonly only: readonly string[] | undefined;
  readonly print: (line: string) => void;
}

/** In the copy: tries all, and answers how many were not as is written. */
export async function attackMutants({ folder, only, print }: Options): Promise<number> {
  const mutants = MUTANTS.filter(({ id }) => only?.includes(id) ?? true);
  let faults = 0;
  const tell = ({ id, file, redundant }: Mutant, seen: string | undefined) => {
    const right = (seen === undefined) === (redundant !== undefined);
    print(
      `${id.padEnd(20)} ${file.padEnd(34)} ${seen ?? `not noticed: ${redundant ?? 'AN ATTACK IS MISSING'}`}`,
    );
    if (right) return;
    faults += 1;
    print('  NOT AS EXPECTED');
  };
  const isReverse = ({ cases }: Mutant) => cases.every((id) => id.startsWith('client-'));
  await attackDom0(
    folder,
    mutants.filter((mutant) => !isReverse(mutant)),
    tell,
  );
  for (const mutant of mutants.filter(isReverse)) tell(mutant, await attackStorage(folder, mutant));
  print(`${mutants.length} checks left out, one at a time: ${faults} not as expected`);
  return faults;
}

type Tell = (mutant: Mutant, seen: string | undefined) => void;

async function attackDom0(folder: string, mutants: readonly Mutant[], tell: Tell): Promise<void> {
  if (mutants.length === 0) return;
  const bench = await Bench.open(folder, Math.min(4, availableParallelism()), LIMIT);
  try {
    const list = writtenList(bench);
    await bench.each(mutants, async (mutant, lane) => {
      const cases = list.filter(({ id }) => isAimedAt(mutant, id));
      if (cases.length === 0) throw new Error(`${mutant.id}: there is no such case`);
      for (const one of cases) {
        const { seen, fault } = await bench.try(one, lane, mutant.id);
        if (fault === undefined) continue;
        tell(mutant, `${one.id}: ${seen.outcome}, not ${one.expected}`);
        return;
      }
      tell(mutant, undefined);
    });
  } finally {
    await bench.close();
  }
}

/** How it was noticed, if it was. */
async function attackStorage(folder: string, mutant: Mutant): Promise<string | undefined> {
  writeFileSync(join(PROJECT, NAME), mutant.id);
  const place = join(folder, mutant.id);
  mkdirSync(place);
  const bench = await ClientBench.open(place);
  try {
    for (const one of bench.cases.filter(({ id }) => isAimedAt(mutant, id))) {
      const { taken, fault } = await bench.try(one);
      if (fault !== undefined) return `${one.id}: ${taken.outcome}, not ${one.expected}`;
    }
    for (let number = 0; mutant.cases.includes('client-generated') && number < SESSIONS; number++) {
      const session = bench.generate(1, number);
      const { fault } = await bench.tryGenerated(session);
      if (fault !== undefined) return `${session.id}: ${fault}`;
    }
    return undefined;
  } finally {
    await bench.close();
    rmSync(join(PROJECT, NAME));
  }
}

function isAimedAt({ cases }: Mutant, id: string): boolean {
  return cases.some((aimed) => id === aimed || id.startsWith(`${aimed}-`));
}
