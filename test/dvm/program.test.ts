/** Programs that a disposable runs. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runProgram } from '../../dvm/program.ts';
import { isAlive, waitFor } from '../support/processes.ts';
import { tempFolder } from '../support/temp.ts';

test('one that takes too long is over then, whatever it started lives on and holds its output', async () => {
  const file = join(tempFolder(), 'pid');
  const command = ['-c', 'sleep 60 & echo $! >"$0"; wait', file];
  const started = runProgram('sh', command, { timeout: 300, missing: 'install it' });
  await expect(started).rejects.toMatchObject({ code: 'timeout' });
  process.kill(Number(readFileSync(file, 'utf8')), 'SIGKILL');
});

test('what one with a group of its own started is gone at its end, and at its time limit', async () => {
  const folder = tempFolder();
  const start = (file: string, rest: string, timeout: number) =>
    runProgram('sh', ['-c', `sleep 60 & echo $! >"$0"; ${rest}`, join(folder, file)], {
      ...{ timeout, missing: 'install it', group: true },
    });
  expect(await start('end', 'echo said; exit 7', 60_000)).toEqual({ status: 7, output: 'said' });
  await expect(start('limit', 'wait', 300)).rejects.toMatchObject({ code: 'timeout' });
  for (const file of ['end', 'limit']) {
    const pid = Number(readFileSync(join(folder, file), 'utf8'));
    await waitFor(() => !isAlive(pid), 'the end of what was started');
  }
});
