/** The command line on a home of the local driver: every part a process of its own, in its sandbox. */

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { SANDBOX } from '../support/home.ts';
import type { Event } from '../support/home.ts';

const COMMAND = join(import.meta.dirname, '../../bin/qubes-backup');

export interface HomeFolder {
  readonly folder: string;
  readonly keyFile: string;
}

/** Runs one command, which must end with 0; answers its events. */
export function runCommand({ folder, keyFile }: HomeFolder, ...args: readonly string[]): readonly Event[] {
  const options = ['--local', folder, '--sandbox', SANDBOX, '--key-file', keyFile, '--json'];
  const ended = spawnSync(COMMAND, [...options, ...args], {
    encoding: 'utf8',
    cwd: folder,
    maxBuffer: 2 ** 28,
  });
  if (ended.status !== 0)
    throw new Error(`${args.join(' ')} ended with ${ended.status ?? '?'}: ${ended.stderr}${ended.stdout}`);
  const lines = ended.stdout.split('\n').filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line) as Event);
}

/** The last event of this name. */
export function eventOf(events: readonly Event[], name: string): Event {
  const found = events.findLast(({ event }) => event === name);
  if (found === undefined)
    throw new Error(`no event ${name} among ${events.map(({ event }) => event).join(', ')}`);
  return found;
}
