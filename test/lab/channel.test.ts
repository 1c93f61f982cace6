/** The channel to a guest: order and flow of three streams, ends, and what a hostile other side may not do. */

import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { Channel, WINDOW, encodeFrame, relay } from './channel.ts';
import type { ClientCall, ServedCall } from './channel.ts';

const REQUEST = { service: 'qubes.Test', argument: '', source: 'dom0' };

/** A host and a guest whose service is `serve`. */
function pair(serve: (call: ServedCall) => void): { readonly host: Channel; readonly guest: Channel } {
  const [there, back] = [new PassThrough(), new PassThrough()];
  return { host: new Channel(back, there), guest: new Channel(there, back, (_request, call) => serve(call)) };
}

/** A host, and what a hostile guest may write to it. */
function hosted(): { readonly host: Channel; readonly port: PassThrough } {
  const port = new PassThrough();
  return { host: new Channel(port, new PassThrough().resume()), port };
}

async function textOf(call: ClientCall): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of call.stdout) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString('latin1');
}

const frame = (type: number, stream: number, call: number, payload?: Buffer) =>
  encodeFrame({ type, stream, call, ...(payload === undefined ? {} : { payload }) });

describe('a channel', () => {
  test('carries stdin, stdout, stderr and the status, whatever the size', async () => {
    const { host } = pair((call) => {
      call.stderr.end('said');
      call.stdin.pipe(call.stdout);
      call.exit(7);
    });
    const call = host.call(REQUEST);
    const sent = 'abcdefghij'.repeat(WINDOW / 4);
    call.stdin.end(sent);
    const said = once(call.stderr, 'data');
    expect(await textOf(call)).toBe(sent);
    expect(String((await said)[0])).toBe('said');
    call.stderr.resume();
    expect(await call.exited).toBe(7);
  });

  test('lets no more than the window wait for who does not read, and holds up no other call', async () => {
    let slow: ServedCall | undefined;
    const { host } = pair((call) => {
      if (slow !== undefined) call.stdout.end('quick');
      else slow = call;
      call.stderr.end();
      call.exit(0);
    });
    const first = host.call(REQUEST);
    const second = host.call(REQUEST);
    slow?.stdout.write(Buffer.alloc(4 * WINDOW));
    slow?.stdout.end();
    expect(await textOf(second)).toBe('quick');
    expect(first.stdout.readableLength).toBeLessThanOrEqual(WINDOW);
    expect((await textOf(first)).length).toBe(4 * WINDOW);
  });

  test('drops what is written to a service that is over', async () => {
    const { host } = pair((call) => {
      for (const stream of [call.stdout, call.stderr]) stream.end();
      call.exit(3);
    });
    const call = host.call(REQUEST);
    for (const stream of [call.stdout, call.stderr]) stream.resume();
    expect(await call.exited).toBe(3);
    await new Promise<void>((resolve) => call.stdin.write(Buffer.alloc(2 * WINDOW), () => resolve()));
  });

  test('tells the service when nobody wants it any more, through a relay as well', async () => {
    let served: ServedCall | undefined;
    const behind = pair((call) => (served = call));
    const { host } = pair((call) => relay(call, behind.host.call(REQUEST)));
    host.call(REQUEST).abandon();
    await expect.poll(() => served).toBeDefined();
    await served?.abandoned;
  });

  test('ends every call with 255 when the other side is gone', async () => {
    const { host, port } = hosted();
    const call = host.call(REQUEST);
    port.end();
    expect(await textOf(call)).toBe('');
    expect(await call.exited).toBe(255);
    expect(await host.call(REQUEST).exited).toBe(255);
  });

  const HOSTILE: readonly (readonly [string, Buffer])[] = [
    ['noise', Buffer.alloc(64, 0xff)],
    ['a frame that is too long', Buffer.concat([frame(2, 1, 1).subarray(0, 8), Buffer.of(0xff, 0, 0, 0)])],
    [
      'more bytes than were granted',
      Buffer.concat(Array(5).fill(frame(2, 1, 1, Buffer.alloc(65_536))) as Buffer[]),
    ],
    ['bytes after their end', Buffer.concat([frame(3, 1, 1), frame(2, 1, 1, Buffer.of(1))])],
    ['a stream that there is not', frame(2, 9, 1, Buffer.of(1))],
    ['bytes for the stream that the host writes', frame(2, 0, 1, Buffer.of(1))],
    ['credit beyond the window', frame(4, 0, 1, Buffer.of(0xff, 0xff, 0xff, 0xff))],
    ['credit of another size', frame(4, 0, 1, Buffer.of(1))],
    ['an end without a status', frame(5, 0, 1)],
    ['a type that there is not', frame(77, 0, 1)],
    ['a frame of a call that there never was', frame(2, 1, 2, Buffer.of(1))],
    ['a call of its own', frame(1, 0, 9, Buffer.from(JSON.stringify(REQUEST)))],
    ['an abandoned call, which is the host’s to abandon', frame(6, 0, 1)],
  ];

  test.each(HOSTILE)('ends at %s', async (_what, bytes) => {
    const { host, port } = hosted();
    const call = host.call(REQUEST);
    port.write(bytes);
    expect(await call.exited).toBe(255);
    expect(await host.closed).not.toBe('the other side is gone');
  });
});
