/**
 * What a disposable that was taken over serves in the place of its scan: it asks dom0 for all that its job grants, and for what it does
 * not, as /run/greed says: the `content` of its own VM's snapshots, or a blob `beyond` them, whose number only another VM has.
 */

import { readFileSync } from 'node:fs';
import { scan } from '../../../shared/protocol/disposable.ts';
import { expect, serve } from '../../../shared/service.ts';

const greed = readFileSync('/run/greed', 'utf8').trim();

await serve(scan, async (session) => {
  const { value: job } = expect(await session.receive(), 'job');
  const known = Array.from({ length: job.firstNumber }, (_, number) => job.firstNumber - 1 - number);
  for (const number of greed === 'content' ? known : [job.base?.top ?? 0, job.firstNumber]) {
    await session.send('get', { numbers: [number] });
    expect(await session.receive(), 'blob');
  }
});
