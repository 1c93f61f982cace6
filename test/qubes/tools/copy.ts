/** cp, and copies that the other stand-ins make. */

import { spawnSync } from 'node:child_process';
import { existsSync, lstatSync } from 'node:fs';
import { dirname } from 'node:path';
import { parse } from './options.ts';
import { Refusal } from './state.ts';
import type { World } from './state.ts';

/** A copy that takes room only where the original does. */
export function copySparse(from: string, to: string): void {
  const copied = spawnSync('cp', ['--reflink=auto', '--sparse=always', '--', from, to], { encoding: 'utf8' });
  if (copied.status !== 0) throw new Refusal(1, copied.stderr);
}

/** Plays a file system with reflinks; test/qubes/real-tools.process.test.ts has real ones. */
export function cp(world: World, args: readonly string[]): string {
  const flags = ['--reflink=always', '--reflink=auto', '--sparse=always'];
  const parsed = parse('cp', args, { flags });
  const [from = '', to = '', ...more] = parsed.rest;
  if (to === '' || more.length > 0) throw new Refusal(1, 'cp: extra operand');
  if (!existsSync(from)) throw new Refusal(1, `cp: cannot stat '${from}': No such file or directory`);
  if (!existsSync(dirname(to)))
    throw new Refusal(1, `cp: cannot create regular file '${to}': No such file or directory`);
  if (existsSync(to)) world.breach(`cp over ${to}, which exists`);
  if (!lstatSync(from).isFile()) world.breach(`cp of ${from}, which is no image`);
  copySparse(from, to);
  return '';
}
