import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as delay, setImmediate } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { hex } from '../../../shared/bytes.ts';
import { FRAME_COST, MAX_CONTROL_QUEUED } from '../../../shared/limits.ts';
import { MAGIC, bulk, control, creditFor, page } from '../../../shared/wire/frame.ts';
import type { Protocol } from '../../../shared/wire/frame.ts';
import type { ByteIo } from '../../../shared/wire/io.ts';
import { Session } from '../../../shared/wire/session.ts';
import type { SessionOptions } from '../../../shared/wire/session.ts';
import { failure, rejection } from '../../support/failure.ts';
import { waitFor } from '../../support/processes.ts';
import { readVectors } from '../../support/vectors.ts';
import {
  RawPeer,
  byteByByte,
  connectedPair,
  controlFrame,
  credit,
  end,
  error,
  frame,
  framesOf,
  ping,
} from '../../support/peers.ts';

const MiB = 1024 * 1024;
const PEER = 'vault: qubes.BackupTest';

const protocol = {
  service: 'qubes.BackupTest',
  toService: {
    ask: control(0x10, z.strictObject({ number: z.int().min(0) }), 100),
    data: bulk(0x80, MiB),
  },
  toCaller: {
    answer: control(0x10, z.strictObject({ number: z.int().min(0) }), 100),
    data: bulk(0x80, MiB),
    rows: page(0x90, z.strictObject({ rows: z.array(z.int().min(0)).max(1000) }), 10_000),
  },
} as const satisfies Protocol;

type Options = Partial<SessionOptions>;

function caller(io: ByteIo, options: Options = {}) {
  const tables = { incoming: protocol.toCaller, outgoing: protocol.toService };
  return new Session(io, tables, { peer: PEER, window: 4 * MiB, ...options });
}

function service(io: ByteIo, options: Options = {}) {
  const tables = { incoming: protocol.toService, outgoing: protocol.toCaller };
  return new Session(io, tables, { peer: 'the caller', window: 4 * MiB, ...options });
}

/** A caller's session with a peer that has said the magic and `pieces`. */
function facing(pieces: Uint8Array[], options: Options = {}) {
  const peer = new RawPeer().say(MAGIC, ...pieces);
  return { peer, session: caller(peer.io, options) };
}

const answer = (number: number) => controlFrame(0x10, { number });

describe('a whole conversation', () => {
  async function converse(a: ByteIo, b: ByteIo): Promise<void> {
    const [left, right] = [caller(a), service(b)];
    const blob = randomBytes(3000);
    const serving = (async () => {
      for (;;) {
        const message = await right.receive();
        if (message === undefined) break;
        if (message.name === 'ask') await right.send('answer', { number: message.value.number + 1 });
        else await right.send('data', [message.value.subarray(0, 7), message.value.subarray(7)]);
      }
      await right.finish();
    })();
    await left.send('ask', { number: 41 });
    await left.send('data', blob);
    await left.send('data', new Uint8Array(0));
    expect(await left.receive()).toEqual({ name: 'answer', value: { number: 42 } });
    expect((await left.receive())?.value).toEqual(blob);
    expect((await left.receive())?.value).toHaveLength(0);
    await left.finish();
    await left.drained();
    await serving;
    expect(await left.receive()).toBeUndefined();
  }

  test('in whole pieces', () => converse(...connectedPair()));

  test('byte by byte', () => {
    const [a, b] = connectedPair();
    return converse(byteByByte(a), byteByByte(b));
  });

  test('cut anywhere, it is never taken for success', async () => {
    const body = [credit(1000), answer(1), ping(), frame(0x80, Buffer.from('data'))];
    const bytes = Buffer.concat([MAGIC, ...body, end(body.length, Buffer.concat(body).length)]);
    const play = async (length: number) => {
      const peer = new RawPeer().say(bytes.subarray(0, length)).hangUp();
      const session = caller(peer.io);
      while ((await session.receive()) !== undefined);
    };
    await play(bytes.length);
    for (let length = 0; length < bytes.length; length++) {
      const failed = await rejection(play(length));
      expect(failed.code).toBe('service-died');
      expect(failed.message).toContain(PEER);
    }
  });
});

describe('what its own side may not do', () => {
  test('is refused before it is sent', async () => {
    const { peer, session } = facing([credit(10 * MiB)]);
    expect(failure(() => session.send('answer' as 'ask', { number: 1 })).code).toBe('internal');
    expect((await rejection(session.send('ask', { number: -1 }))).code).toBe('internal');
    expect((await rejection(session.send('data', Buffer.alloc(MiB + 1)))).message).toContain('over its cap');
    await session.send('ask', { number: 1 }); // None of that ended the session.
    expect(framesOf(peer.written).filter(({ type }) => type >= 0x10)).toHaveLength(1);
  });

  test('ends it with a code and a text, whatever was thrown', async () => {
    for (const [thrown, text] of [
      [new TypeError('a mistake'), `${PEER} a mistake`],
      ['a text', `${PEER} a text`],
    ] as const) {
      const { session } = facing([]);
      const waiting = rejection(session.receive());
      expect(session.fail(thrown)).toMatchObject({ code: 'internal', message: text });
      expect(await waiting).toBe(session.fail(new Error('another'))); // The first failure stays.
    }
  });
});

describe('pages', () => {
  test('are held back while nobody takes them, however many there are', async () => {
    const [a, b] = connectedPair();
    const [left, right] = [caller(a, { window: 50_000 }), service(b)];
    const rows = new Array<number>(1000).fill(1);
    let sent = 0;
    const sending = (async () => {
      while (sent < 500) {
        await right.send('rows', { rows });
        sent += 1;
      }
      await right.finish();
    })();
    await left.send('ask', { number: 1 });
    await right.receive(); // All that could be sent on the way here was.
    for (let turns = 0; turns < 1000; turns++) await setImmediate();
    expect(sent).toBe(Math.floor(50_000 / creditFor(rows.length + 8)));
    for (let taken = 0; taken < 500; taken++) {
      expect(await left.receive()).toEqual({ name: 'rows', value: { rows } });
      expect(sent - taken).toBeLessThan(60);
    }
    await sending;
    expect(await left.receive()).toBeUndefined();
  });
});

describe('vectors', () => {
  const vectors = readVectors(
    'wire',
    z.strictObject({
      section: z.string(),
      magic: z.string(),
      frames: z.array(z.strictObject({ title: z.string(), type: z.int(), bytes: z.string() })),
      direction: z.string(),
    }),
  );
  const bytesOf = (text: string) => Buffer.from(text, 'hex');

  test('a whole direction is read', async () => {
    expect(hex(MAGIC)).toBe(vectors.magic);
    const session = caller(new RawPeer().say(bytesOf(vectors.direction)).io);
    expect((await session.receive())?.value).toEqual(Buffer.from('bulk'));
    expect(await session.receive()).toBeUndefined();
  });

  test('the same direction is written', async () => {
    const peer = new RawPeer().say(MAGIC, credit(1000));
    const session = caller(peer.io, { window: 32 * MiB });
    await session.send('data', Buffer.from('bulk'));
    await session.finish();
    const frames = [...vectors.frames.filter(({ type }) => type === 0x03 || type === 0x80)];
    const written = Buffer.concat(frames.map(({ bytes }) => bytesOf(bytes)));
    expect(hex(peer.written)).toBe(vectors.magic + hex(written) + hex(end(2, written.length)));
  });

  test.each(vectors.frames)('$title', ({ type, bytes }) => {
    const read = framesOf(Buffer.concat([MAGIC, bytesOf(bytes)]));
    expect(read).toHaveLength(1);
    expect(read[0]?.type).toBe(type);
    expect(hex(frame(type, read[0]?.payload ?? Buffer.alloc(0)))).toBe(bytes);
  });
});

describe('start', () => {
  test('a login profile that prints is named', async () => {
    const session = caller(new RawPeer().say(Buffer.from('Welcome to Debian GNU/Linux!\n')).io);
    const failed = await rejection(session.receive());
    expect(failed.code).toBe('protocol');
    expect(failed.message).toMatch(/^vault: qubes.BackupTest .*login profile/);
  });

  test('a newer protocol is named', async () => {
    const newer = Buffer.from(MAGIC);
    newer[7] = MAGIC.at(-1)! + 1;
    const failed = await rejection(caller(new RawPeer().say(newer).io).receive());
    expect(failed.code).toBe('protocol');
    expect(failed.message).toContain(`version ${newer[7]}`);
  });
});

describe('R02: what a peer may not do', () => {
  const refused: readonly (readonly [string, Uint8Array[]])[] = [
    ['an unknown control frame', [controlFrame(0x55, {})]],
    ['an unknown bulk frame', [frame(0xee, new Uint8Array(1))]],
    ['type 0', [frame(0, new Uint8Array(0))]],
    ['a control frame over its cap', [frame(0x10, new Uint8Array(101))]],
    ['a bulk frame over its cap', [frame(0x80, new Uint8Array(MiB + 1))]],
    ['an end frame over its cap', [frame(0x01, new Uint8Array(70_000))]],
    ['more bulk than it was granted', new Array<Uint8Array>(5).fill(frame(0x80, new Uint8Array(MiB)))],
    ['an extra field', [controlFrame(0x10, { number: 1, extra: 1 })]],
    ['a missing field', [controlFrame(0x10, {})]],
    ['a field of another type', [controlFrame(0x10, { number: 'one' })]],
    ['a non-minimal integer', [frame(0x10, Buffer.from('a1666e756d6265721801', 'hex'))]],
    ['a payload that is no CBOR', [frame(0x10, Buffer.from('garbage'))]],
    ['an empty control payload', [frame(0x10, new Uint8Array(0))]],
    ['a ping with content', [controlFrame(0x04, { a: 1 })]],
    ['a page over its cap', [frame(0x90, new Uint8Array(10_001))]],
    ['a page with an extra field', [controlFrame(0x90, { rows: [], extra: 1 })]],
    ['a page that is no CBOR', [frame(0x90, Buffer.from('garbage'))]],
    [
      'more pages than it was granted',
      new Array<Uint8Array>(600).fill(controlFrame(0x90, { rows: new Array(1000).fill(2 ** 40) })),
    ],
    ['no credit at all', [credit(0)]],
    ['credit over its cap', [credit(2 ** 32 + 1)]],
    ['an error of unprintable text', [error('internal', '\x1b[2J')]],
    ['an end that counts a frame too many', [answer(1), end(2, 16)]],
    ['an end that counts a frame too few', [answer(1), end(0, answer(1).length)]],
    ['an end that counts a byte too many', [answer(1), end(1, answer(1).length + 1)]],
    ['an end that counts nothing', [answer(1), answer(2), end(0, 0)]],
  ];
  test.each(refused)('%s', async (_name, pieces) => {
    const { session } = facing(pieces, { autoGrant: false });
    const failed = await rejection(
      (async () => {
        while ((await session.receive()) !== undefined);
      })(),
    );
    expect(failed.code).toBe('protocol');
    expect(failed.message.startsWith(`${PEER} `)).toBe(true);
    expect(await rejection(session.send('ask', { number: 1 }))).toBe(failed);
  });

  test.each([
    ['control', 0x10],
    ['bulk', 0x80],
    ['end', 0x01],
    ['unknown', 0x77],
  ])('a huge %s length is refused before a byte of it is read or room is made', async (_name, type) => {
    const header = Buffer.from([type, 0xff, 0xff, 0xff, 0xff]);
    const { peer, session } = facing([header]);
    const before = process.memoryUsage().arrayBuffers;
    expect((await rejection(session.receive())).code).toBe('protocol');
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(MiB);
    expect(peer.largestRoom).toBeLessThanOrEqual(64 * 1024);
    expect(peer.taken).toBe(MAGIC.length + header.length);
    peer.say(new Uint8Array(100));
    expect(peer.taken).toBe(MAGIC.length + header.length);
  });

  test('a flood of tiny messages is bounded while nobody receives', async () => {
    const { peer, session } = facing([]);
    const many = Buffer.concat(new Array<Buffer>(1000).fill(answer(1)));
    const frames = Math.ceil(MAX_CONTROL_QUEUED / FRAME_COST / 1000) + 1;
    for (let i = 0; i < frames; i++) peer.say(many);
    await session.closed;
    expect(peer.taken).toBeLessThan(MAX_CONTROL_QUEUED);
    const failed = await rejection(session.send('ask', { number: 1 }));
    expect(failed.code).toBe('protocol');
    expect(failed.message).toContain('flood');
  });

  test('empty bulk frames cost credit', async () => {
    const window = 100 * FRAME_COST;
    const { session } = facing(new Array<Buffer>(101).fill(frame(0x80, new Uint8Array(0))), {
      window,
      autoGrant: false,
    });
    for (let i = 0; i < 100; i++) expect((await session.receive())?.name).toBe('data');
    expect((await rejection(session.receive())).message).toContain('more than it was granted');
  });

  test('pings and credit are no flood, and take no memory', async () => {
    const { peer, session } = facing([]);
    const many = Buffer.concat(new Array<Buffer>(5000).fill(Buffer.concat([ping(), credit(1)])));
    for (let i = 0; i < 10; i++) peer.say(many);
    peer.say(answer(7));
    expect((await session.receive())?.value).toEqual({ number: 7 });
    expect(session.pending).toBe(false);
  });
});

describe('credit', () => {
  const sent = (peer: RawPeer) =>
    framesOf(peer.written)
      .filter((one) => one.type === 0x80)
      .reduce((sum, one) => sum + creditFor(one.payload.length), 0);

  test('without credit no bulk is sent, and control passes', async () => {
    const { peer, session } = facing([]);
    await session.send('ask', { number: 1 });
    const blocked = session.send('data', new Uint8Array(10));
    await peer.wrote((frames) => frames.some((one) => one.type === 0x10));
    expect(sent(peer)).toBe(0);
    peer.say(credit(creditFor(10) - 1), answer(1));
    await session.receive();
    expect(sent(peer)).toBe(0);
    peer.say(credit(1));
    await blocked;
    expect(sent(peer)).toBe(creditFor(10));
  });

  test('buys bytes, not any number of frames', async () => {
    const tiny = frame(0x80, Buffer.of(1));
    const unread = async (count: number) => {
      const frames = new Array<Buffer>(count).fill(tiny);
      const { session } = facing([...frames, end(count, count * tiny.length)], { maxBulkQueued: 10 });
      await session.closed;
      return session.failure;
    };
    expect(await unread(10)).toBeUndefined();
    const failed = await unread(11);
    expect([failed?.code, failed?.message]).toEqual(['protocol', `${PEER} floods with small blobs`]);
  });

  test('is never exceeded', async () => {
    const { peer, session } = facing([]);
    const sending = (async () => {
      for (let i = 0; i < 200; i++) await session.send('data', new Uint8Array((i * 7919) % 5000));
      await session.finish();
    })();
    let granted = 0;
    for (let round = 0; !framesOf(peer.written).some((one) => one.type === 0x01); round++) {
      const more = 1 + ((round * 104_729) % 9000);
      granted += more;
      peer.say(credit(more), answer(round));
      await session.receive();
      await setImmediate(); // All that the sender can do by now is done.
      expect(sent(peer)).toBeLessThanOrEqual(granted);
    }
    await sending;
  });

  test('is given back when a message is received, and not before', async () => {
    const window = 3 * creditFor(1000);
    const { peer, session } = facing(new Array<Buffer>(3).fill(frame(0x80, new Uint8Array(1000))), {
      window,
    });
    const granted = () => framesOf(peer.written).filter((one) => one.type === 0x03).length;
    await waitFor(() => granted() > 0 && peer.taken === MAGIC.length + 3 * 1005, 'all three are queued');
    expect(granted()).toBe(1);
    await session.receive();
    await waitFor(() => granted() === 2, 'credit for one');
  });

  test('a peer that ends while it still owes credit is an error, no wait', async () => {
    const { peer, session } = facing([credit(10)]);
    const blocked = session.send('data', new Uint8Array(100));
    peer.say(end(1, credit(10).length));
    expect((await rejection(blocked)).code).toBe('protocol');
  });

  test('two sides that write 50 MiB before they read do not dead-lock', async () => {
    const [a, b] = connectedPair();
    const piece = randomBytes(MiB);
    const both = { data: protocol.toCaller.data };
    const exchange = async (io: ByteIo) => {
      // The credit for the last messages must not come after the final frame: all 50 fit the window.
      const session = new Session(io, { incoming: both, outgoing: both }, { peer: PEER, window: 64 * MiB });
      const hash = createHash('sha256');
      const writing = (async () => {
        for (let i = 0; i < 50; i++) await session.send('data', piece);
        await session.finish();
      })();
      for (let i = 0; i < 50; i++) {
        const message = await session.receive();
        if (message?.name === 'data') hash.update(message.value);
      }
      await writing;
      await session.drained();
      return hash.digest('hex');
    };
    const expected = createHash('sha256');
    for (let i = 0; i < 50; i++) expected.update(piece);
    const want = expected.digest('hex');
    expect(await Promise.all([exchange(a), exchange(b)])).toEqual([want, want]);
  });
});

describe('failure', () => {
  test('R56: silence ends in a message that names the VM and the service', async () => {
    const { session } = facing([], { idleTimeout: 30 });
    const failed = await rejection(session.receive());
    expect(failed.code).toBe('timeout');
    expect(failed.message).toContain(PEER);
  });

  test('R56: a send that waits for credit gives up after silence', async () => {
    const { session } = facing([], { idleTimeout: 30 });
    expect((await rejection(session.send('data', new Uint8Array(1)))).code).toBe('timeout');
  });

  test('R56: a send to a peer that stopped reading gives up after silence', async () => {
    const { peer, session } = facing([], { idleTimeout: 30 });
    peer.stopReading();
    expect((await rejection(session.send('ask', { number: 1 }))).code).toBe('timeout');
    const other = facing([], { idleTimeout: 30 });
    other.peer.stopReading();
    expect((await rejection(other.session.finish())).code).toBe('timeout');
  });

  test('a peer that only pings is alive: the wait goes on', async () => {
    const { peer, session } = facing([], { idleTimeout: 200 });
    const waiting = session.receive();
    const started = performance.now();
    await new Promise<void>((resolve) => {
      const beat = setInterval(() => {
        peer.say(ping());
        if (performance.now() - started < 600) return;
        clearInterval(beat);
        resolve();
      }, 20);
    });
    peer.say(answer(5));
    expect((await waiting)?.value).toEqual({ number: 5 });
  });

  test('a peer that only pings is given up where an answer is owed in time', async () => {
    const { peer, session } = facing([], { answerTimeout: 60 });
    const received = rejection(session.receive());
    const pings = setInterval(() => peer.say(ping()), 5);
    const failed = await received;
    clearInterval(pings);
    expect(failed.code).toBe('timeout');
    expect(failed.message).toContain(`${PEER} lives, but did not answer`);
  });

  test('an answer that comes slowly has the longer time for what comes of it', async () => {
    const { peer, session } = facing([], { answerTimeout: 60 });
    const whole = frame(0x80, Buffer.alloc(2000));
    const received = session.receive();
    for (let at = 0; at < whole.length; at += 100) {
      await delay(15);
      peer.say(whole.subarray(at, at + 100));
    }
    expect((await received)?.value).toHaveLength(2000);
  });

  test('an answer that stops coming is given up after that time, whatever came of it', async () => {
    const { peer, session } = facing([], { answerTimeout: 60, idleTimeout: 5000 });
    const started = performance.now();
    peer.say(frame(0x80, Buffer.alloc(2000)).subarray(0, 1900)); // 3.7 s at the slowest.
    expect((await rejection(session.receive())).message).toContain(`${PEER} lives, but did not answer`);
    expect(performance.now() - started).toBeLessThan(3000);
  });

  test('so is one to what was sent, to which a peer only pings', async () => {
    const { peer, session } = facing([credit(8 * MiB)], { answerTimeout: 60, idleTimeout: 5000 });
    const started = performance.now();
    const waiting = rejection(session.receive());
    await session.send('data', Buffer.alloc(20_000)); // 39 s at the slowest.
    const pings = setInterval(() => peer.say(ping()), 5);
    expect((await waiting).message).toContain(`${PEER} lives, but did not answer`);
    clearInterval(pings);
    expect(performance.now() - started).toBeLessThan(3000);
  });

  test('a peer that grants nothing, but pings, is given up as well', async () => {
    const { peer, session } = facing([], { answerTimeout: 60 });
    const sent = rejection(session.send('data', Buffer.alloc(10)));
    const pings = setInterval(() => peer.say(ping()), 5);
    expect((await sent).code).toBe('timeout');
    clearInterval(pings);
  });

  test('the text of an error frame reaches the caller', async () => {
    const { session } = facing([answer(1), error('store-full', 'no room: 3 MiB are free')]);
    expect((await session.receive())?.name).toBe('answer');
    const failed = await rejection(session.receive());
    expect(failed.code).toBe('service-failed');
    expect(failed.message).toBe(`${PEER} reports store-full: no room: 3 MiB are free`);
  });

  test('a peer that tells why and dies: the reason wins over the broken pipe', async () => {
    const peer = new RawPeer();
    const session = caller({
      read: (target) => peer.io.read(target),
      write: () => Promise.reject(new Error('EPIPE')),
    });
    const sending = session.send('ask', { number: 1 });
    peer.say(MAGIC, error('store-full', 'no room')).hangUp();
    expect((await rejection(sending)).message).toContain('no room');
  });

  test('every waiting call gets the same error, and so does every later one', async () => {
    const { peer, session } = facing([]);
    const waiting = [
      session.receive(),
      session.receive(),
      session.send('data', new Uint8Array(1)),
      session.send('data', new Uint8Array(2)),
      session.drained(),
    ];
    peer.say(error('internal', 'broken'));
    const errors = await Promise.all(waiting.map(rejection));
    expect(new Set(errors).size).toBe(1);
    expect(await rejection(session.receive())).toBe(errors[0]);
    expect(await rejection(session.send('ask', { number: 1 }))).toBe(errors[0]);
    await session.closed;
    expect(session.ended).toBe(true);
  });

  test('nothing is sent after the final frame', async () => {
    const { peer, session } = facing([]);
    await session.finish();
    session.grant(100);
    expect((await rejection(session.send('ask', { number: 1 }))).code).toBe('internal');
    expect(framesOf(peer.written).at(-1)?.type).toBe(0x01);
  });

  test('a peer that has more to say after the work is done breaks the protocol', async () => {
    const { session } = facing([answer(1)]);
    expect((await rejection(session.drained())).code).toBe('protocol');
  });

  test('a value that its own schema refuses is never sent', async () => {
    const { peer, session } = facing([]);
    await expect(session.send('ask', { number: -1 })).rejects.toThrow();
    expect(framesOf(peer.written).some((one) => one.type === 0x10)).toBe(false);
  });
});
