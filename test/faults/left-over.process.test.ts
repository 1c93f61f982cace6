/** What makes the campaign see processes that outlive their run. */

import { expect, test } from 'vitest';
import { exited, start } from '../support/processes.ts';
import { tempFolder } from '../support/temp.ts';
import { endLeftOver } from './left-over.ts';

test('a process that names the folder is found and ended, no other', async () => {
  const [folder, another] = [tempFolder(), tempFolder()];
  const stay = ['-e', 'setInterval(() => undefined, 1000); console.log(1)'];
  const children = [folder, another].map((of) => start(process.execPath, [...stay, `${of}/place`]));
  await Promise.all(children.map((child) => new Promise((resolve) => child.stdout.once('data', resolve))));
  expect(await endLeftOver(folder, 0)).toEqual([expect.stringContaining(`${folder}/place`)]);
  expect(await exited(children[0]!)).toEqual({ code: null, signal: 'SIGKILL' });
  expect(children[1]!.exitCode ?? children[1]!.signalCode).toBeNull();
  expect(await endLeftOver(folder, 0)).toEqual([]);
});
