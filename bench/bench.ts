/**
 * `npm run bench [-- --quick] [--rows first,restore] [--runs N] [--contenders NAME,...] [--tree FOLDER]... [--seed S] [--output FILE] [--add]`: this
 * program against Debian's restic and borgbackup, each as it is and with its fastest sensible settings. Whole processes, sandboxes on, in
 * turn, medians. Prints a table in Markdown and writes all values to bench/results.json, or to FILE. --quick: small data and one round, to
 * see that all of it works; that writes no file by itself. --add: keeps the rows of the file that are not measured anew. Installs nothing,
 * and says what is missing. Data is made in BENCH_FOLDER or /var/tmp (five times the tree and the large file), and removed. Exits 1 if a
 * contender failed at anything.
 */

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { contenders } from './compare/contenders.ts';
import { sizeOf, tool } from './compare/contender.ts';
import { apart, groundIn, unmountBelow } from './compare/ground.ts';
import type { Source } from './compare/ground.ts';
import { limits } from './compare/limits.ts';
import { machineOf } from './compare/machine.ts';
import { json, markdown } from './compare/report.ts';
import { Results } from './compare/results.ts';
import type { SavedRow } from './compare/results.ts';
import { ROWS, runAll } from './compare/rows.ts';
import type { Plan, RowName } from './compare/rows.ts';
import { banner, print, size } from './support/terminal.ts';

const FULL = {
  rounds: 5,
  folders: ['/usr/lib', '/usr/share'],
  large: 4 * 2 ** 30,
  generations: 30,
  snapshots: 100,
};
const QUICK = { rounds: 1, folders: ['/usr/share/doc'], large: 64 * 2 ** 20, generations: 2, snapshots: 4 };

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    rows: { type: 'string', default: ROWS.join(',') },
    runs: { type: 'string' },
    contenders: { type: 'string' },
    tree: { type: 'string', multiple: true },
    seed: { type: 'string', default: '1' },
    output: { type: 'string' },
    add: { type: 'boolean', default: false },
  },
});

const elsewhere = apart();
if (elsewhere !== undefined) process.exit(elsewhere);

const work = mkdtempSync(join(process.env['BENCH_FOLDER'] ?? '/var/tmp', 'qib-bench-'));
const removeWork = () => {
  unmountBelow(work);
  rmSync(work, { recursive: true, force: true });
};
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.once(signal, () => {
    removeWork();
    process.kill(process.pid, signal);
  });
try {
  process.exitCode = await main();
} finally {
  removeWork();
}

async function main(): Promise<number> {
  const { present, missing } = contenders();
  const sizes = values.quick ? QUICK : FULL;
  const wanted = values.contenders?.split(',');
  const unknown = wanted?.find((name) => !present.some((contender) => contender.name === name));
  if (unknown !== undefined)
    throw new Error(`no contender ${unknown} here: ${present.map(({ name }) => name).join(', ')}`);
  const ground = groundIn(join(work, 'data'));
  mkdirSync(join(work, 'data'));
  const plan: Plan = {
    ...sizes,
    work,
    ground,
    rows: new Set(values.rows.split(',').map(rowNamed)),
    contenders: present.filter(({ name }) => wanted?.includes(name) ?? true),
    rounds: values.runs === undefined ? sizes.rounds : Number(values.runs),
    folders: values.tree ?? sizes.folders,
    seed: Number(values.seed),
  };
  if (missing.length > 0)
    banner(missing.map((name) => `${name} is not installed: there will be no figures for it`));
  const machine = machineOf(work);
  const results = new Results();
  const tree = await runAll(plan, results);
  const file = values.output ?? (values.quick ? undefined : join(import.meta.dirname, 'results.json'));
  if (values.add && file !== undefined && existsSync(file)) results.addEarlier(rowsIn(file));
  const report = {
    ...{ machine, missing, results, contenders: plan.contenders, rounds: plan.rounds },
    data: dataOf(plan, tree),
    limits: limits(tree),
  };
  tree.close();
  print(`\n${markdown(report)}`);
  if (file !== undefined) {
    writeFileSync(file, json(report));
    print(`All values: ${file}`);
  }
  if (results.failed) banner(['A contender FAILED at something: see the lines above.']);
  return results.failed ? 1 : 0;
}

/** Rows that an earlier run wrote. */
function rowsIn(file: string): readonly SavedRow[] {
  return (JSON.parse(readFileSync(file, 'utf8')) as { rows: readonly SavedRow[] }).rows;
}

function rowNamed(name: string): RowName {
  const found = ROWS.find((row) => row === name);
  if (found === undefined) throw new Error(`no row ${name}; there are ${ROWS.join(', ')}`);
  return found;
}

function dataOf({ folders, large, ground }: Plan, { data }: Source): readonly string[] {
  const entries = Number(tool('sh', '-c', 'find "$1" | wc -l', 'sh', data)).toLocaleString('en-US');
  return [
    `mixed tree: ${folders.join(' and ')}, ${entries} entries, ${size(sizeOf(data))}`,
    `one file: ${size(large)}`,
    ground.description,
  ];
}
