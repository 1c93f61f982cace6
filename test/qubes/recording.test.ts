/**
 * The stand-in answers what the real qubesd answered: 230 calls in order, by its socket and byte for byte but for what is
 * random or measured (test/fixtures/qubesd/README.md).
 */

import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import * as z from 'zod';
import { tempFolder } from '../support/temp.ts';
import { FakeQubesd } from './fake-qubesd.ts';

const recorded = z.strictObject({
  n: z.int(),
  call: z.string(),
  dest: z.string(),
  payload: z.string(),
  response: z.string(),
  norm: z.string(),
});

const RECORDING = readFileSync(join(import.meta.dirname, '../fixtures/qubesd/scenario.jsonl'), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => recorded.parse(JSON.parse(line)));

test('the stand-in answers all 230 recorded calls as the real qubesd', async () => {
  const qubesd = await FakeQubesd.open(tempFolder(), { shownRoot: '' });
  onTestFinished(() => qubesd.close());
  expect(RECORDING).toHaveLength(230);
  let token = '';
  let disposable = '';
  for (const { n, call, dest, payload, response, norm } of RECORDING) {
    const isDisposable = /^disp[0-9]+$/.test(dest);
    const answer = await send(
      qubesd.socketPath,
      `${call.includes('+') ? call : `${call}+`} dom0 name ${isDisposable ? disposable : dest}\0`,
      payload.replace('${0}', token),
    );
    if (call.startsWith('admin.vm.volume.CloneFrom') && answer.startsWith('0\0')) token = answer.slice(2);
    if (call === 'admin.vm.CreateDisposable' && answer.startsWith('0\0')) disposable = answer.slice(2);
    expect(`${n} ${normalised(answer)}`).toBe(`${n} ${norm}`);
    expect(normalised(response)).toBe(norm); // The recording itself: nothing more is left out than it says.
  }
});

/** What is random or measured, as the recording replaced it. */
function normalised(answer: string): string {
  return answer
    .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'UUID')
    .replace(/\bdisp[0-9]+\b/g, 'DISP')
    .replace(/^0\0[A-Za-z0-9]{32}$/, '0\0TOKEN')
    .replace(/\b(usage|data_size|data_usage|cputime)=[0-9]+/g, '$1=N')
    .replace(/(revisions_to_keep=2\nsize)=[0-9]+/, '$1=N')
    .replace(/\b(10\.137\.[0-9.]+|255\.255\.255\.255)/g, 'ADDR')
    .replace(/<[^\0]*/g, 'OBJ');
}

function send(path: string, header: string, payload: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path, allowHalfOpen: true });
    const pieces: Buffer[] = [];
    socket.on('data', (piece) => pieces.push(piece));
    socket.on('end', () => resolve(Buffer.concat(pieces).toString('latin1')));
    socket.on('error', (error) => {
      if ('code' in error && error.code === 'ECONNRESET') resolve('');
      else reject(error);
    });
    socket.end(Buffer.concat([Buffer.from(header, 'latin1'), Buffer.from(payload, 'utf8')]));
  });
}
