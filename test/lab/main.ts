/**
 * `npm run lab [-- --short] [-t REGEX] [FILE...]`: the product on real virtual machines. Makes what guests boot of Debian's packages and the
 * sources as they are, and runs the tests of this folder; with --short one backup, one restore and one attack. Where no guest can be
 * booted, each test is skipped, by name, and counted.
 */

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { messageOf } from '../../shared/errors.ts';
import { PROJECT } from '../../packaging/bundle.ts';
import { makeGuestImage } from './image.ts';
import { IMAGE, NO_IMAGE, missing } from './needs.ts';

const { values, positionals } = parseArgs({
  options: { short: { type: 'boolean', default: false }, only: { type: 'string', short: 't' } },
  allowPositionals: true,
});

/** A variable for the tests: the folder of the image, or why there is none. */
async function prepared(): Promise<Record<string, string>> {
  const reason = missing();
  if (reason !== undefined) return { [NO_IMAGE]: reason };
  try {
    return { [IMAGE]: await makeGuestImage() };
  } catch (error) {
    return { [NO_IMAGE]: `the image of a guest cannot be made: ${messageOf(error).slice(0, 500)}` };
  }
}

const filters = values.short ? ['test/lab/short.lab.ts'] : positionals;
const only = values.only === undefined ? [] : ['-t', values.only];
const vitest = [
  join(PROJECT, 'node_modules/vitest/vitest.mjs'),
  'run',
  '--config',
  'test/lab/vitest.config.ts',
];
// What is mounted for a test is gone with the last process of the run, however it ends.
const apart = spawnSync('unshare', ['--mount', 'true']).status === 0 ? ['unshare', '--mount', '--'] : [];
const [program = '', ...args] = [...apart, process.execPath, ...vitest, ...only, ...filters];
const { status } = spawnSync(program, args, {
  cwd: PROJECT,
  stdio: 'inherit',
  env: { ...process.env, ...(await prepared()) },
});
process.exitCode = status ?? 1;
