/**
 * `npm run bench [-- FOLDER] [--runs N]`: first backup, unchanged backup and restore of a copy of FOLDER (default
 * /usr/share), against restic and borg where they are installed. Whole processes, sandboxes on, key-file slot, sync
 * before each, interleaved; medians and ratios to ours. Installs nothing; says what is missing.
 */

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { isInstalled } from '../test/support/needs.ts';
import { NO_EXCLUDES } from './support/config.ts';
import { median } from './support/statistics.ts';
import { print } from './support/terminal.ts';

const PROJECT = join(import.meta.dirname, '..');

/** A backup program, as commands. */
interface Contestant {
  readonly name: string;
  prepare(): void;
  backup(): void;
  /** Restores into `to`, which is where the program wants it. */
  restore(): void;
  readonly store: string;
}

const STEPS = ['first backup', 'nothing changed', 'restore'] as const;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: 'string', default: '3' } },
});
const source = positionals[0] ?? '/usr/share';
const runs = Number(values.runs);
const work = mkdtempSync(join(process.env['BENCH_FOLDER'] ?? tmpdir(), 'qib-bench-'));

process.on('exit', () => rmSync(work, { recursive: true, force: true }));
process.on('SIGINT', () => (process.exitCode = 130));
main();

function main(): void {
  const data = join(work, 'home/vms/data/private');
  mkdirSync(data, { recursive: true });
  run('cp', ['-a', `${source}/.`, data]);
  const contestants = [
    ours(),
    ...(isInstalled('restic') ? [restic(data)] : []),
    ...(isInstalled('borg') ? [borg(data)] : []),
  ];
  for (const peer of ['restic', 'borg'])
    if (!isInstalled(peer))
      print(`${peer} is not installed: no figures for it (apt-get install restic borgbackup)`);
  print(
    `${source}: ${count(data)} entries, ${kib(data)} KiB; ${runs} runs; ${cpus().length} x ${cpus()[0]?.model ?? '?'}, ${Math.round(totalmem() / 2 ** 30)} GiB; Node ${process.version}`,
  );
  const times = new Map<string, number[]>();
  for (let i = 0; i < runs; i++) for (const contestant of contestants) measure(contestant, times);
  report(contestants, times);
}

function measure(contestant: Contestant, times: Map<string, number[]>): void {
  contestant.prepare();
  const timed = (step: (typeof STEPS)[number], work: () => void) => {
    run('sync', []);
    const start = performance.now();
    work();
    const key = `${contestant.name} ${step}`;
    times.set(key, [...(times.get(key) ?? []), (performance.now() - start) / 1000]);
  };
  timed('first backup', () => contestant.backup());
  timed('nothing changed', () => contestant.backup());
  timed('restore', () => contestant.restore());
}

function report(contestants: readonly Contestant[], times: ReadonlyMap<string, number[]>): void {
  print('');
  print('| step | program | median s | min | max | ours / theirs |');
  print('|---|---|---|---|---|---|');
  for (const step of STEPS) {
    const mine = median(times.get(`qubes-backup ${step}`) ?? []);
    for (const { name } of contestants) {
      const seconds = times.get(`${name} ${step}`) ?? [];
      const ratio = name === 'qubes-backup' ? '' : (mine / median(seconds)).toFixed(2);
      print(
        `| ${step} | ${name} | ${median(seconds).toFixed(2)} | ${Math.min(...seconds).toFixed(2)} | ${Math.max(...seconds).toFixed(2)} | ${ratio} |`,
      );
    }
  }
  for (const { name, store } of contestants) print(`| store, KiB | ${name} | ${kib(store)} | | | |`);
}

function ours(): Contestant {
  const home = join(work, 'home');
  const keyFile = join(work, 'key');
  const command = (...args: string[]) =>
    run(join(PROJECT, 'bin/qubes-backup'), ['--local', home, '--key-file', keyFile, ...args]);
  const store = join(home, 'storage');
  writeFileSync(join(home, 'config.toml'), NO_EXCLUDES);
  return {
    name: 'qubes-backup',
    store,
    prepare() {
      for (const part of ['storage', 'state', 'vms/copy'])
        rmSync(join(home, part), { recursive: true, force: true });
      command('init');
    },
    backup: () => command('backup', 'data'),
    restore: () => command('restore', 'data', '--as', 'copy'),
  };
}

function restic(data: string): Contestant {
  const [store, target] = [join(work, 'restic'), join(work, 'restic-restored')];
  const command = (...args: string[]) =>
    run('restic', ['-q', '--no-cache', '-r', store, ...args], { RESTIC_PASSWORD: 'bench' });
  return {
    name: 'restic',
    store,
    prepare() {
      for (const folder of [store, target]) rmSync(folder, { recursive: true, force: true });
      command('init');
    },
    backup: () => command('backup', data),
    restore: () => command('restore', 'latest', '--target', target),
  };
}

function borg(data: string): Contestant {
  const [store, target] = [join(work, 'borg'), join(work, 'borg-restored')];
  const environment = {
    BORG_PASSPHRASE: 'bench',
    BORG_BASE_DIR: join(work, 'borg-base'),
    BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: 'yes',
  };
  let archive = 0;
  return {
    name: 'borg',
    store,
    prepare() {
      for (const folder of [store, target, join(work, 'borg-base')])
        rmSync(folder, { recursive: true, force: true });
      mkdirSync(target);
      run('borg', ['init', '-e', 'repokey', store], environment);
    },
    backup: () => run('borg', ['create', `${store}::${++archive}`, data], environment),
    restore: () => run('borg', ['extract', `${store}::${archive}`], environment, target),
  };
}

function run(
  program: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  cwd = work,
): void {
  const { status, stderr, error } = spawnSync(program, args, {
    cwd,
    env: { ...process.env, ...environment },
    encoding: 'utf8',
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} failed: ${error?.message ?? stderr}`);
}

function count(folder: string): string {
  return spawnSync('sh', ['-c', 'find "$1" | wc -l', 'sh', folder], { encoding: 'utf8' }).stdout.trim();
}

function kib(folder: string): string {
  return spawnSync('du', ['-sk', folder], { encoding: 'utf8' }).stdout.split('\t')[0] ?? '?';
}
