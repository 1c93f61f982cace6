/**
 * `npm run faults [-- --long | --sample N] [--seed S] [--lanes N] [--case ID]`: kills processes of the product at each step that the outside can
 * see, lets steps fail, or has something else go wrong around them (around.ts), and looks what the next run makes of it (judge.ts). All points
 * of a small run, at least 5,000; with --long at least 50,000, of several seeds; with --sample N so many of one seed. --case (any number of
 * times) tries those whose id is or begins so, with any part for `*`. Ends with 1 if anything is lost.
 */

import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { memoryFolder } from '../support/memory.ts';
import { makeTemp, removeTree } from '../support/temp.ts';
import { runCampaign } from './campaign.ts';

const { values } = parseArgs({
  options: {
    long: { type: 'boolean', default: false },
    sample: { type: 'string' },
    seed: { type: 'string', default: '1' },
    lanes: { type: 'string' },
    case: { type: 'string', multiple: true },
  },
});

/** Milliseconds between two lines of progress where there is no terminal. */
const EVERY = 30_000;
const started = performance.now();
let told = started;

function progress(done: number, total: number, lost: number): void {
  const now = performance.now();
  const isLast = done === total;
  if (!process.stderr.isTTY && !isLast && now - told < EVERY) return;
  told = now;
  const left = Math.round((((now - started) / done) * (total - done)) / 1000);
  const text = `${done} of ${total} points, ${lost} lost, ${left} s to go`;
  process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${text}${isLast ? '\n' : ''}` : `${text}\n`);
}

const stopped = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stopped.abort());

/** What a process wrote is there after its death, as on a disk. */
const folder = makeTemp('qib-faults-', memoryFolder());
try {
  const { lost } = await runCampaign({
    folder,
    seed: Number(values.seed),
    points: Number(values.sample ?? (values.long ? 50_000 : 5_000)),
    sample: values.sample !== undefined,
    only: values.case,
    lanes: Number(values.lanes ?? Math.min(4, availableParallelism())),
    signal: stopped.signal,
    print: (line) => void process.stdout.write(`${line}\n`),
    progress,
  });
  process.exitCode = lost === 0 && !stopped.signal.aborted ? 0 : 1;
} finally {
  removeTree(folder);
}
