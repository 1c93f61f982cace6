/**
 * `npm run attack [-- --short] [--generated N] [--seed S] [--case ID]`: hostile peers against dom0, and hostile clients
 * against a storage VM. The whole written list, then N generated attacks on dom0 (10,000; with --short 2,000) and a fifth as
 * many on the storage VM. --case runs one: a written one by its id, a generated one by its id and its seed. Exits 0 only if all went as is written.
 */

import { parseArgs } from 'node:util';
import { makeTemp, removeTree } from '../support/temp.ts';
import { attackAll } from './run.ts';

const { values } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    generated: { type: 'string' },
    seed: { type: 'string' },
    case: { type: 'string' },
  },
});

const folder = makeTemp('qib-attack-');
try {
  const totals = await attackAll({
    folder,
    generated: Number(values.generated ?? (values.short ? 2_000 : 10_000)),
    seed: Number(values.seed ?? 1),
    only: values.case,
    print: (line) => process.stdout.write(`${line}\n`),
  });
  process.exitCode = totals.faults === 0 ? 0 : 1;
} finally {
  removeTree(folder);
}
