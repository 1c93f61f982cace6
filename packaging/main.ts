/**
 * `npm run package`: all packages, into dist/. With arguments only those kinds: deb, rpm, installer. With --to FOLDER
 * into that one. The same sources give the same bytes.
 */

import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { PROJECT } from './bundle.ts';
import { packages } from './contents.ts';
import type { Package } from './contents.ts';
import { makeDeb } from './deb.ts';
import { makeInstaller } from './installer.ts';
import { readRelease } from './release.ts';
import type { Release } from './release.ts';
import { makeRpm } from './rpm.ts';

const KINDS = ['deb', 'rpm', 'installer'] as const;

const DIST = join(PROJECT, 'dist');

const { values, positionals } = parseArgs({ options: { to: { type: 'string' } }, allowPositionals: true });
const unknown = positionals.find((kind) => !(KINDS as readonly string[]).includes(kind));
if (unknown !== undefined) throw new Error(`${unknown} is none of ${KINDS.join(', ')}`);
const kinds = positionals.length === 0 ? KINDS : positionals;

const work = await mkdtemp(join(tmpdir(), 'qubes-backup-package-'));
try {
  if (values.to === undefined) await rm(DIST, { recursive: true, force: true });
  await makeAll(readRelease(), values.to ?? DIST);
} finally {
  await rm(work, { recursive: true, force: true });
}

async function makeAll(release: Release, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  const made: string[] = [];
  const all = await packages(release);
  for (const what of all) {
    for (const format of what.formats)
      if (kinds.includes(format)) made.push(await make(format, what, release, to));
  }
  if (kinds.includes('installer')) {
    made.push(await inEmptyFolder((folder) => makeInstaller(release, folder, to)));
  }
  const sums = await Promise.all(made.sort().map((name) => describe(join(to, name), name)));
  await writeFile(join(to, 'SHA256SUMS'), sums.join(''));
}

function make(format: 'deb' | 'rpm', what: Package, release: Release, to: string): Promise<string> {
  return inEmptyFolder((folder) => (format === 'deb' ? makeDeb : makeRpm)(what, release, folder, to));
}

/** What one step needs is gone after it: several copies of Node.js at once would fill a small /tmp. */
async function inEmptyFolder<T>(step: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(work, 'step-'));
  try {
    return await step(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A line of sha256sum(1); and one for the person who watches. */
async function describe(path: string, name: string): Promise<string> {
  const bytes = await readFile(path);
  const sum = createHash('sha256').update(bytes).digest('hex');
  console.log(`${String(bytes.length).padStart(10)}  ${sum}  ${name}`);
  return `${sum}  ${name}\n`;
}
