/** What is written to somebody who reads slowly, or no more. */

import { execFileSync, spawn } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { writeAll, writeAllAtLeisure } from '../../shared/write-all.ts';
import { exited } from '../support/processes.ts';
import { tempFolder } from '../support/temp.ts';

/** More than a pipe takes at once. */
const MUCH = new Uint8Array(1 << 20).fill(1);

/** A pipe whose end for writing blocks nobody, and what closes its other end. */
function pipe(): { readonly path: string; readonly descriptor: number; readonly leave: () => void } {
  const path = join(tempFolder(), 'pipe');
  execFileSync('mkfifo', [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const descriptor = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  onTestFinished(() => closeSync(descriptor));
  return { path, descriptor, leave: () => closeSync(reader) };
}

describe.each([
  [
    'at once',
    (descriptor: number) => {
      writeAll(descriptor, MUCH);
      return Promise.resolve();
    },
  ],
  ['at leisure', (descriptor: number) => writeAllAtLeisure(descriptor, MUCH)],
])('all is written %s', (_title, write) => {
  it('to one who reads slowly', async () => {
    const { path, descriptor, leave } = pipe();
    const copy = join(path, '../copy');
    // It has opened the pipe once it says so, and ends when it has read all of it.
    const reader = spawn('sh', [
      '-c',
      'exec 3<"$0"; echo; head -c "$1" <&3 >"$2"',
      path,
      String(MUCH.length),
      copy,
    ]);
    await new Promise((resolve) => reader.stdout.once('data', resolve));
    leave();
    await write(descriptor);
    await exited(reader);
    expect(readFileSync(copy).equals(MUCH)).toBe(true);
  });

  it('unless nobody reads any more', async () => {
    const { descriptor, leave } = pipe();
    leave();
    await write(descriptor);
  });

  it('or it fails, where nobody can be written to', async () => {
    const descriptor = openSync('/dev/null', 'r');
    onTestFinished(() => closeSync(descriptor));
    await expect((async () => write(descriptor))()).rejects.toMatchObject({ code: 'EBADF' });
  });
});
