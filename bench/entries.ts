/**
 * `npm run bench:entries [-- --entries 10000000]`: the tree of a volume of so many files, without the volume. Written once, then merged
 * with a walk that finds everything as it was, and with one that finds a hundredth of it changed: in one place, and all over. The code is the
 * scanner's own, with its options of Node.js; only the file system is made up. Each step is a process of its own.
 */

import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { BlobSource } from '../dvm/blobs.ts';
import { Describer } from '../dvm/describe.ts';
import type { Entry } from '../dvm/entry.ts';
import { Base } from '../dvm/scan-base.ts';
import { ScanOutput } from '../dvm/scan-output.ts';
import type { BlobSink } from '../dvm/scan-output.ts';
import { concat } from '../shared/bytes.ts';
import { NODE_OPTIONS } from '../shared/node-options.ts';
import { TAKEN_AT, chunksOf, entries, found } from './support/made-up-volume.ts';
import { count, print, size } from './support/terminal.ts';

/** Which of the files a walk finds changed. */
const CHANGES: Readonly<Record<string, (index: number, of: number) => boolean>> = {
  'nothing changed': () => false,
  'one in a hundred changed, side by side': (index, of) => index >= of / 2 && index < of / 2 + of / 100,
  'one in a hundred changed, all over': (index) => index % 100 === 50,
};
const FIRST = 'first backup';

/** What one step says of itself. */
interface Measured {
  readonly top: number;
  readonly blobs: number;
  readonly bytes: number;
  readonly seconds: number;
  /** Peak of resident memory, in MiB. */
  readonly peak: number;
}

const { values } = parseArgs({
  options: {
    entries: { type: 'string', default: '10000000' },
    step: { type: 'string' },
    folder: { type: 'string' },
    base: { type: 'string' },
  },
});
const total = Number(values.entries);

function runAll(): void {
  const folder = mkdtempSync(join(process.env['BENCH_FOLDER'] ?? tmpdir(), 'qib-entries-'));
  try {
    print(`${availableParallelism()} x ${cpus()[0]?.model ?? '?'}, Node ${process.version}, one run`);
    print('');
    print(`| ${count(total)} entries | seconds | entries/s | peak, MiB | blobs put | bytes put |`);
    print('|---|---|---|---|---|---|');
    const first = row(FIRST, folder);
    for (const step of Object.keys(CHANGES)) {
      const again = row(step, folder, first.top);
      if (step === 'nothing changed' && again.blobs > 0) throw new Error('an unchanged tree was put again');
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function row(step: string, folder: string, base?: number): Measured {
  const given = base === undefined ? [] : ['--base', String(base)];
  const args = [
    import.meta.filename,
    '--entries',
    String(total),
    '--step',
    step,
    '--folder',
    folder,
    ...given,
  ];
  const measured = JSON.parse(
    execFileSync(process.execPath, [...NODE_OPTIONS.dvm, ...args], { encoding: 'utf8' }),
  ) as Measured;
  const { blobs, bytes, seconds, peak } = measured;
  print(
    `| ${step} | ${seconds.toFixed(1)} | ${count(Math.round(total / seconds))} | ${peak.toFixed(0)} | ${count(blobs)} | ${size(bytes)} |`,
  );
  return measured;
}

async function runStep(step: string, folder: string, top: string | undefined): Promise<void> {
  const start = performance.now();
  const blobs = new BlobFile(folder);
  const base =
    top === undefined ? undefined : await Base.open({ top: Number(top), takenAt: TAKEN_AT }, blobs);
  const output = new ScanOutput(blobs, { firstNumber: blobs.next, compress: true, base });
  const cursor = base?.cursor();
  const describer = new Describer(() => undefined, { user: true, group: true });
  const changed = CHANGES[step] ?? (() => false);
  for (const { index, path } of entries(total)) {
    const here = found(index, path, changed(index, total));
    const looked = cursor?.find(path);
    const known = looked instanceof Promise ? await looked : looked;
    const unchanged = known !== undefined && base?.isUnchanged(here, known.entry) === true;
    const entry = describer.describe(here, unchanged ? known.entry : undefined) as Entry;
    const added = output.add({ entry, chunks: unchanged ? known.chunks : chunksOf(index, entry) });
    if (added !== undefined) await added;
    // As a scan does, so that the garbage collector meets the same pauses.
    if (index % 5000 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await cursor?.finish();
  const done = await output.finish();
  const peak = Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024;
  const measured: Measured = {
    ...{ top: done.top, blobs: blobs.put, bytes: blobs.bytes },
    ...{ seconds: (performance.now() - start) / 1000, peak },
  };
  if (step === FIRST) blobs.save();
  blobs.close();
  process.stdout.write(JSON.stringify(measured));
}

/** Blobs by number, one after the other in a file; what later steps put is counted and dropped. */
class BlobFile implements BlobSource, BlobSink {
  readonly #descriptor: number;
  readonly #index: string;
  /** Where each blob ends. Numbers start at 1. */
  readonly #ends: number[];
  readonly #kept: number;
  put = 0;
  bytes = 0;

  constructor(folder: string) {
    this.#descriptor = openSync(join(folder, 'blobs'), 'a+');
    this.#index = join(folder, 'ends');
    try {
      this.#ends = JSON.parse(readFileSync(this.#index, 'utf8')) as number[];
    } catch {
      this.#ends = [0]; // The first step.
    }
    this.#kept = this.#ends.length;
  }

  get next(): number {
    return this.#ends.length;
  }

  get(number: number): Promise<Uint8Array> {
    const from = this.#ends[number - 1] ?? 0;
    const blob = Buffer.alloc((this.#ends[number] ?? 0) - from);
    readSync(this.#descriptor, blob, 0, blob.length, from);
    return Promise.resolve(blob);
  }

  prefetch(): void {
    // What is on this machine is here at once.
  }

  send(_name: string, value: Uint8Array | readonly Uint8Array[]): Promise<void> {
    const blob = value instanceof Uint8Array ? value : concat(value);
    this.put += 1;
    this.bytes += blob.length;
    if (this.#kept > 1) return Promise.resolve();
    writeSync(this.#descriptor, blob);
    this.#ends.push((this.#ends.at(-1) ?? 0) + blob.length);
    return Promise.resolve();
  }

  save(): void {
    writeFileSync(this.#index, JSON.stringify(this.#ends));
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}

if (values.step === undefined) runAll();
else await runStep(values.step, values.folder ?? '', values.base);
