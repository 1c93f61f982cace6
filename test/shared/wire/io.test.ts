/** A session's two ways to its bytes: descriptors and streams. */

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, constants, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { utf8 } from '../../../shared/bytes.ts';
import { descriptorIo } from '../../../shared/wire/descriptor-io.ts';
import { streamIo } from '../../../shared/wire/io.ts';
import type { ByteIo } from '../../../shared/wire/io.ts';
import { rejection } from '../../support/failure.ts';
import { tempFolder } from '../../support/temp.ts';

async function readAll(io: ByteIo): Promise<string> {
  const space = Buffer.alloc(4);
  let text = '';
  for (let count = await io.read(space); count > 0; count = await io.read(space))
    text += space.toString('utf8', 0, count);
  return text;
}

/** Both ends of a pipe, non-blocking as qrexec may leave them. */
function openFifo(): { from: number; to: number } {
  const fifo = join(tempFolder(), 'fifo');
  execFileSync('mkfifo', [fifo]);
  const open = (mode: number) => openSync(fifo, mode | constants.O_NONBLOCK);
  return { from: open(constants.O_RDONLY), to: open(constants.O_WRONLY) };
}

describe('descriptors', () => {
  it('are read to their end and written in order, empty pieces left out', async () => {
    const folder = tempFolder();
    const [input, output] = [join(folder, 'in'), join(folder, 'out')];
    writeFileSync(input, 'what is to be read');
    const [from, to] = [openSync(input, 'r'), openSync(output, 'w')];
    const io = descriptorIo(from, to);
    expect(await readAll(io)).toBe('what is to be read');
    await io.write([utf8('one '), new Uint8Array(0), utf8('two')]);
    await io.write([]);
    expect(readFileSync(output, 'utf8')).toBe('one two');
    closeSync(from);
    closeSync(to);
  });

  it('that are not ready are tried again, and a write that went half is gone on with', async () => {
    const { from, to } = openFifo();
    const io = descriptorIo(from, to);
    const first = io.read(Buffer.alloc(1)); // Nothing is there yet.
    await io.write([utf8('a')]);
    expect(await first).toBe(1);
    const filling = randomBytes(2 ** 20);
    const before = filling.subarray(0, writeSync(to, filling)); // As much as the pipe holds.
    const pieces = [randomBytes(5), randomBytes(200_000), randomBytes(100_000)];
    const written = io.write(pieces);
    for (let i = 0; i < 5; i++) await stat('/'); // Queued behind the write, which finds no room.
    const all = Buffer.concat([before, ...pieces]);
    const read = Buffer.alloc(all.length);
    for (let at = 0; at < read.length;) at += await io.read(read.subarray(at));
    await written;
    expect(read.equals(all)).toBe(true);
    closeSync(to);
    expect(await io.read(read)).toBe(0);
    expect(await io.read(read)).toBe(0);
  });

  it('of a pipe are read two pieces ahead, and no further', async () => {
    const { from, to } = openFifo();
    const io = descriptorIo(from, to);
    const filling = randomBytes(2 ** 20);
    let written = writeSync(to, filling);
    const write = () => writeSync(to, filling, written);
    const read = Buffer.alloc(filling.length);
    expect(await io.read(read.subarray(0, 1))).toBe(1);
    for (let piece = 0; piece < 2; piece++) {
      for (let i = 0; i < 5; i++) await stat('/');
      const room = write(); // What was read ahead made room for as much, and for no more.
      expect(room).toBeGreaterThan(0);
      written += room;
    }
    for (let i = 0; i < 5; i++) await stat('/');
    expect(write).toThrow('EAGAIN');
    closeSync(to);
    for (let at = 1, count = 1; count > 0; at += count) count = await io.read(read.subarray(at));
    expect(read.subarray(0, written).equals(filling.subarray(0, written))).toBe(true);
  });

  it('that fail end the peer', async () => {
    const file = join(tempFolder(), 'file');
    writeFileSync(file, 'x');
    const [read, write] = [openSync(file, 'r'), openSync(file, 'a')];
    const io = descriptorIo(write, read);
    expect(await rejection(io.read(Buffer.alloc(1)))).toMatchObject({ code: 'service-died' });
    expect((await rejection(io.write([utf8('x')]))).message).toContain('writing to the peer failed (EBADF)');
    closeSync(read);
    closeSync(write);
    const fifo = openFifo();
    const reversed = descriptorIo(fifo.to, fifo.from);
    expect((await rejection(reversed.read(Buffer.alloc(1)))).message).toContain(
      'reading from the peer failed (ENOTCONN)', // As libuv says it.
    );
    expect(await rejection(reversed.read(Buffer.alloc(1)))).toMatchObject({ code: 'service-died' });
    closeSync(fifo.from);
  });
});

describe('streams', () => {
  it('are read in whatever pieces there is room for, to their end or their close', async () => {
    const input = new PassThrough();
    const io = streamIo(input, new PassThrough());
    const read = readAll(io);
    input.write('ab');
    input.end('cdefghi');
    expect(await read).toBe('abcdefghi');
    const closed = new PassThrough();
    const waiting = streamIo(closed, new PassThrough()).read(Buffer.alloc(1));
    closed.destroy();
    expect(await waiting).toBe(0);
  });

  it('that fail end the peer, also for what is written later', async () => {
    const input = new PassThrough();
    const broken = new Writable({
      write: (_chunk, _encoding, done) => done(Object.assign(new Error(), { code: 'EPIPE' })),
    });
    const io = streamIo(input, broken);
    const reading = rejection(io.read(Buffer.alloc(1)));
    input.destroy(new Error('gone'));
    expect((await reading).message).toContain('reading from the peer failed (unknown error)');
    expect((await rejection(io.write([utf8('x')]))).message).toContain('EPIPE');
    expect((await rejection(io.write([utf8('y')]))).code).toBe('service-died');
  });
});
