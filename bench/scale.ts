/**
 * `npm run bench:scale [-- --files 10000,100000] [--runs N]`: volumes of many small files (0 to 4 KiB, 100 to 1,000 in a
 * folder): time of the first backup, of a run without changes and of a restore, and the peak memory of each
 * process. Through the command line, sandboxes on, whole processes. Needs /proc.
 */

import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Random } from '../test/support/random.ts';
import { COMMAND_PART, runMeasured } from './support/process-tree.ts';
import { median } from './support/statistics.ts';
import { print } from './support/terminal.ts';

const PROJECT = join(import.meta.dirname, '..');

const { values } = parseArgs({
  options: { files: { type: 'string', default: '10000,100000' }, runs: { type: 'string', default: '1' } },
});

/** One command: seconds, and the peak of resident memory of dom0 and of each service, in MiB. */
interface Measured {
  readonly seconds: number;
  readonly peaks: ReadonlyMap<string, number>;
  readonly events: readonly Readonly<Record<string, unknown>>[];
}

const STEPS = ['first backup', 'nothing changed', 'restore'] as const;

async function main(): Promise<void> {
  const runs = Number(values.runs);
  print(
    `${availableParallelism()} x ${cpus()[0]?.model ?? '?'}, Node ${process.version}, ${runs} runs, medians`,
  );
  print('');
  print('| files | step | seconds | dom0, MiB | disposable, MiB | storage VM, MiB | content read |');
  print('|---|---|---|---|---|---|---|');
  for (const files of values.files.split(',').map(Number)) {
    const all: (readonly Measured[])[] = [];
    for (let run = 0; run < runs; run++) all.push(await measureAll(files));
    STEPS.forEach((step, index) => {
      const here = all.map((measured) => measured[index]).filter((measured) => measured !== undefined);
      const peak = (part: string) => median(here.map(({ peaks }) => peaks.get(part) ?? NaN)).toFixed(0);
      const read = here.at(-1)?.events.find(({ event }) => event === 'backup')?.['readBytes'];
      const parts = [peak('dom0'), peak('dvm'), peak('storagevm')].join(' | ');
      const seconds = median(here.map((measured) => measured.seconds)).toFixed(2);
      print(
        `| ${files.toLocaleString('en-US')} | ${step} | ${seconds} | ${parts} | ${typeof read === 'number' ? read : ''} |`,
      );
    });
  }
}

async function measureAll(files: number): Promise<Measured[]> {
  const work = mkdtempSync(join(process.env['BENCH_FOLDER'] ?? tmpdir(), 'qib-scale-'));
  try {
    const home = join(work, 'home');
    makeFiles(join(home, 'vms/data/private'), files);
    // What is read is then what changed: nothing is read again to check the disk.
    writeFileSync(join(home, 'config.toml'), '[backup]\nrecheck_mib = 0\n');
    const command = (...args: string[]) =>
      measure(['--local', home, '--key-file', join(work, 'key'), '--json', ...args]);
    await command('init');
    await run('sync', []);
    await delay(2500); // Younger time stamps prove nothing: the second run would have to read.
    return [
      await command('backup', 'data'),
      await command('backup', 'data'),
      await command('restore', 'data', '--as', 'copy'),
    ];
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Small files of noise, the same for the same number. */
function makeFiles(folder: string, files: number): void {
  const random = new Random(files);
  const noise = random.bytes(2 ** 20);
  for (let made = 0, index = 0; made < files; index++) {
    const at = join(folder, `group-${index % 97}`, `folder-${index}`);
    mkdirSync(at, { recursive: true });
    const count = Math.min(files - made, 100 + random.below(901));
    for (let i = 0; i < count; i++) {
      const start = random.below(noise.length - 4096);
      writeFileSync(join(at, `file-${i}.txt`), noise.subarray(start, start + random.below(4097)));
    }
    made += count;
  }
}

/** Runs the command line, looking at its processes meanwhile. */
async function measure(args: readonly string[]): Promise<Measured> {
  const { seconds, code, stdout, stderr, parts } = await runMeasured(join(PROJECT, 'bin/qubes-backup'), args);
  if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code ?? 'a signal'}: ${stderr}`);
  const lines = stdout.split('\n').filter((line) => line !== '');
  const peaks = new Map<string, number>();
  for (const [part, { peak }] of parts) {
    const name = part === COMMAND_PART ? 'dom0' : (part.split('/')[0] ?? part);
    peaks.set(name, Math.max(peaks.get(name) ?? 0, peak));
  }
  return { seconds, peaks, events: lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

function run(program: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: 'ignore' });
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve();
      else reject(new Error(`${program} ended with ${code ?? 'a signal'}`));
    });
  });
}

await main();
