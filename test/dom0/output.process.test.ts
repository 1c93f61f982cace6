import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { PROJECT, outcome, start } from '../support/processes.ts';

const LISTING = join(PROJECT, 'test/support/slow-listing.ts');

describe('a listing', () => {
  test.each([
    ['lines', [], (i: number) => `row ${i}`],
    ['objects', ['--json'], (i: number) => JSON.stringify({ event: 'row', i })],
  ])('of %s waits for a slow reader, while the program goes on', async (_title, args, row) => {
    const child = start(process.execPath, [LISTING, ...args], {});
    let dots = 0;
    const alive = new Promise<void>((resolve) => {
      child.stderr.on('data', (piece: Buffer) => {
        dots += piece.length;
        if (dots > 20) resolve();
      });
    });
    await alive; // The reader has not read anything yet, and the pipe is full.
    let text = '';
    child.stdout.on('data', (piece: Buffer) => (text += piece.toString()));
    const code = await new Promise((resolve) => child.once('close', resolve));
    expect(code).toBe(0);
    expect(text).toBe(Array.from({ length: 300_000 }, (_, i) => `${row(i)}\n`).join(''));
  });

  test('ends in order if its reader goes away', async () => {
    const child = start(process.execPath, [LISTING], {});
    child.stdout.destroy();
    child.stderr.resume();
    expect(await new Promise((resolve) => child.once('close', resolve))).toBe(0);
  });
});

test.each(['qubes-backup', 'qubes-backup-storage'])('nobody has to read the help of %s', async (name) => {
  const help = start(join(PROJECT, 'bin', name), ['--help'], {});
  help.stdout.destroy();
  expect(await outcome(help)).toMatchObject({ code: 0, stderr: '' });
  const wrong = start(join(PROJECT, 'bin', name), ['no such command'], {});
  wrong.stderr.destroy();
  expect((await outcome(wrong)).code).toBe(2);
});
