/** What the benchmark reports: what failed is there as loudly as what did not, and its data is the same for the same seed. */

import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { changeBytes, changeFiles, largeFile } from '../../bench/compare/data-sets.ts';
import { groundIn } from '../../bench/compare/ground.ts';
import { markdown } from '../../bench/compare/report.ts';
import { Results } from '../../bench/compare/results.ts';
import { TITLES } from '../../bench/compare/rows.ts';
import { COMMAND_PART, runMeasured } from '../../bench/support/process-tree.ts';
import type { Cost } from '../../bench/support/process-tree.ts';
import { tempFolder } from '../support/temp.ts';

const MiB = 2 ** 20;
const hashOf = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

function cost(seconds: number, proof?: number): Cost {
  const part = (own: number) => ({ peak: 100, threads: new Map([['node', own]]), seconds: own });
  const parts = new Map([[COMMAND_PART, part(seconds)]]);
  if (proof !== undefined) parts.set('dvm/qubes.BackupVerify', part(proof));
  return { seconds, code: 0, stdout: '', stderr: '', parts };
}

function reportOf(results: Results): string {
  const machine = {
    cores: '2 x any',
    memory: '1 GiB',
    kernel: 'any',
    fileSystem: 'any',
    software: [],
    load: 0,
    date: 'today',
  };
  return markdown({ machine, missing: ['borg'], contenders: [], data: [], rounds: 3, limits: [], results });
}

describe('the table', () => {
  test('has medians with what they came from, and ratios to ours', () => {
    const results = new Results();
    for (const seconds of [4, 1, 2]) results.addTime('row', 'qubes-backup', [cost(seconds)]);
    results.addTime('row', 'restic', [cost(3), cost(1)]);
    expect(reportOf(results)).toContain(
      '| row | qubes-backup | 2.00 s | 1.00 s | 4.00 s |  |\n| row | restic | 4.00 s | 4.00 s | 4.00 s | 0.50 |',
    );
  });

  test('says what failed, how often and why, and what is not installed', () => {
    const results = new Results();
    results.addTime('row', 'restic', [cost(3)]);
    expect(results.failed).toBe(false);
    results.addFailure('row', 'restic', 's', 'no space\nleft | on device');
    expect(results.failed).toBe(true);
    const report = reportOf(results);
    expect(report).toContain('| 3.00 s **FAILED 1 times: no space left / on device** |');
    expect(report).toContain('borg is not installed');
  });

  test('counts the proof of a restore, and shows it apart', () => {
    const results = new Results();
    results.addTime(TITLES.restore, 'qubes-backup', [cost(10, 4)]);
    const report = reportOf(results);
    expect(report).toContain(`| ${TITLES.restore} | qubes-backup | 10.00 s |`);
    expect(report).toContain('the proof by a second disposable took 4.00 s, all else 6.00 s');
  });
});

describe('data', () => {
  test('is the same for the same seed, and changes are of as much as they say', () => {
    const hashes = [1, 1, 2].map((seed) => {
      const source = largeFile(groundIn(tempFolder()), 20 * MiB, 'noise', seed);
      const path = join(source.data, 'large');
      expect(statSync(path).size).toBe(20 * MiB);
      const before = readFileSync(path);
      changeBytes(source, 0.05, seed);
      const after = readFileSync(path);
      const changed = before.reduce((sum, byte, at) => sum + Number(byte !== after[at]), 0);
      expect(changed).toBeGreaterThan(0.99 * MiB);
      expect(changed).toBeLessThanOrEqual(MiB);
      return hashOf(path);
    });
    expect(hashes[0]).toBe(hashes[1]);
    expect(hashes[0]).not.toBe(hashes[2]);
  });

  test('of a tree: one file of a hundred is another one', () => {
    const data = tempFolder();
    mkdirSync(join(data, 'folder'));
    const paths = Array.from({ length: 300 }, (_, i) => join(data, 'folder', `file-${i}`));
    for (const path of paths) writeFileSync(path, `content of ${path}`);
    const before = paths.map(hashOf);
    expect(changeFiles({ data }, 0.01, 7)).toBe(3);
    expect(paths.filter((path, i) => hashOf(path) !== before[i])).toHaveLength(3);
  });
});

test('a command is measured with its children: processor time of each thread, and memory', async () => {
  const burn =
    'const held = Buffer.alloc(64 << 20, 1); while (process.cpuUsage().user < 400e3); held.fill(2)';
  const { code, seconds, parts } = await runMeasured('sh', [
    '-c',
    '"$1" -e "$2"; exit 3',
    'sh',
    process.execPath,
    burn,
  ]);
  expect(code).toBe(3);
  expect(seconds).toBeGreaterThan(0.4);
  const part = parts.get(COMMAND_PART);
  expect(part?.peak).toBeGreaterThan(64);
  expect(Math.max(...(part?.threads.values() ?? []))).toBeGreaterThan(0.1);
});

test('what a service took stays its own when it has ended, though nobody has noticed', async () => {
  const service = join(tempFolder(), 'services', 'dvm', 'qubes.Burn.mjs');
  mkdirSync(dirname(service), { recursive: true });
  writeFileSync(service, 'while (process.cpuUsage().user < 600e3);');
  // What the shell becomes has a child that it knows nothing of, and goes on for a while after that has ended.
  const wait = `
    const hasEnded = () => require('node:fs').readFileSync('/proc/' + process.argv[1] + '/stat', 'latin1').includes(') Z ');
    const timer = setInterval(() => hasEnded() && (clearInterval(timer), setTimeout(() => {}, 400)), 20);`;
  const args = ['-c', '"$1" "$2" & exec "$1" -e "$3" "$!"', 'sh', process.execPath, service, wait];
  const { parts } = await runMeasured('sh', args);
  const took = (part: string) => [...(parts.get(part)?.threads.values() ?? [])].reduce((a, b) => a + b, 0);
  expect(took('dvm/qubes.Burn')).toBeGreaterThan(0.4);
  expect(took(COMMAND_PART)).toBeLessThan(0.4);
});
