/**
 * `npm run attack [-- --short] [--generated N] [--seed S] [--case ID]`: hostile peers against dom0, and hostile clients
 * against a storage VM. The whole written list, then N generated attacks on dom0 (10,000; with --short 2,000) and a fifth as
 * many on the storage VM. --case (any number of times) runs what is named: a written case by its id, a generated one by its id
 * and its seed. --mutants [--case ID] runs nothing of that, but leaves out one check after the other (mutants.ts). Exits 0 only
 * if all went as is written.
 */

import { parseArgs } from 'node:util';
import { memoryFolder } from '../support/memory.ts';
import { makeTemp, removeTree } from '../support/temp.ts';
import { attackMutants, isPrepared, runInCopy } from './mutate.ts';
import { attackAll } from './run.ts';

const { values } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    generated: { type: 'string' },
    seed: { type: 'string' },
    case: { type: 'string', multiple: true },
    mutants: { type: 'boolean', default: false },
  },
});

const folder = makeTemp('qib-attack-', memoryFolder());
const print = (line: string) => process.stdout.write(`${line}\n`);

async function run(): Promise<boolean> {
  if (values.mutants && !isPrepared()) return runInCopy(folder, process.argv.slice(2)) === 0;
  if (values.mutants) return (await attackMutants({ folder, only: values.case, print })) === 0;
  const { faults } = await attackAll({
    folder,
    generated: Number(values.generated ?? (values.short ? 2_000 : 10_000)),
    seed: Number(values.seed ?? 1),
    only: values.case,
    written: 'all',
    print,
  });
  return faults === 0;
}

try {
  process.exitCode = (await run()) ? 0 : 1;
} finally {
  removeTree(folder);
}
