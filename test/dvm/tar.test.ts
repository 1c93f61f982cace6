import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, onTestFinished, test } from 'vitest';
import { concat } from '../../shared/bytes.ts';
import type { ByteString } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { TYPE } from '../../dvm/entry.ts';
import { TarWriter } from '../../dvm/tar.ts';
import { rejection } from '../support/failure.ts';
import { program, testNeeding } from '../support/needs.ts';
import { entryOf } from './tree-kit.ts';

testNeeding(program('tar'))(
  'a file of more than 8 GiB goes through, without being held',
  async () => {
    const size = 8 * 1024 ** 3 + 4097;
    const list = spawn('tar', ['-tvf', '-'], { stdio: ['pipe', 'pipe', 'inherit'] });
    onTestFinished(() => {
      list.kill();
    });
    let output = '';
    list.stdout.on('data', (piece: Buffer) => (output += piece.toString()));
    let largest = 0;
    const writer = new TarWriter(async (pieces) => {
      const data = concat(pieces);
      largest = Math.max(largest, data.length);
      if (!list.stdin.write(data)) await once(list.stdin, 'drain');
    });
    await writer.add(entryOf('big', TYPE.file, { size }));
    const zeros = new Uint8Array(2 * 1024 * 1024);
    for (let rest = size; rest > 0; rest -= zeros.length)
      await writer.write(zeros.subarray(0, Math.min(rest, zeros.length)));
    await writer.endFile();
    await writer.add(entryOf('after', TYPE.fifo));
    await writer.finish();
    list.stdin.end();
    await once(list, 'close');
    expect(output).toContain(` ${size} `);
    expect(output).toContain('after');
    expect(largest).toBeLessThanOrEqual(1024 * 1024);
  },
  120_000,
);

/** Everything a writer says about `name`. */
async function archive(name: string): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  const writer = new TarWriter((some) => {
    pieces.push(...some.map((piece) => new Uint8Array(piece)));
    return Promise.resolve();
  });
  await writer.add({ ...entryOf('', TYPE.fifo), path: name as ByteString });
  await writer.finish();
  return concat(pieces);
}

test('pax records have their own length, and whole blocks, for names of any length', async () => {
  for (let length = 90; length < 1200; length += 1) {
    const name = 'n'.repeat(length);
    const tar = Buffer.from(await archive(name));
    expect(tar.length % 512).toBe(0);
    if (length < 100) continue;
    const size = parseInt(tar.toString('latin1', 124, 135), 8);
    expect(size % 512).toBe(0);
    const body = tar.toString('latin1', 512, 512 + size);
    let at = 0;
    const found = new Map<string, string>();
    while (at < body.length) {
      const own = Number(body.slice(at, body.indexOf(' ', at)));
      const record = body.slice(at, at + own);
      expect(record.endsWith('\n')).toBe(true);
      const [key = '', value = ''] = record.slice(record.indexOf(' ') + 1, -1).split('=', 2);
      found.set(key, value);
      at += own;
    }
    expect(at).toBe(body.length);
    expect(found.get('path')).toBe(name);
  }
});

test('names that are not UTF-8 are marked as such, others are not', async () => {
  const marked = (name: string) =>
    archive(name).then((tar) => Buffer.from(tar).includes('21 hdrcharset=BINARY\n'));
  expect(await marked('\xe9')).toBe(true);
  expect(await marked('\xc3\xa9')).toBe(false);
  expect(await marked('plain')).toBe(false);
});

test('a stream that cannot be sent fails the writer instead of stalling it', async () => {
  const writer = new TarWriter(() => Promise.reject(new BackupError('service-died', 'gone')));
  const write = async () => {
    await writer.add(entryOf('f', TYPE.file, { size: 100 * 1024 * 1024 }));
    for (let i = 0; i < 100; i++) await writer.write(new Uint8Array(1024 * 1024));
    await writer.endFile();
    await writer.finish();
  };
  expect((await rejection(write())).code).toBe('service-died');
});
