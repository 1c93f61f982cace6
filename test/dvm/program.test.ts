/** Programs that a disposable runs. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runProgram } from '../../dvm/program.ts';
import { tempFolder } from '../support/temp.ts';

test('one that takes too long is over then, whatever it started lives on and holds its output', async () => {
  const file = join(tempFolder(), 'pid');
  const command = ['-c', 'sleep 60 & echo $! >"$0"; wait', file];
  const started = runProgram('sh', command, { timeout: 300, missing: 'install it' });
  await expect(started).rejects.toMatchObject({ code: 'timeout' });
  process.kill(Number(readFileSync(file, 'utf8')), 'SIGKILL');
});
