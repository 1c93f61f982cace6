/** R02: the answer of a VM that receives files, whatever it is. */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { ServiceCall } from '../../dom0/domains/domains.ts';
import { FileCopy } from '../../dom0/session/file-copy.ts';
import { BackupError } from '../../shared/errors.ts';
import { rejection } from '../support/failure.ts';
import { answer } from '../support/file-copy.ts';

/** A call whose service answers `pieces`, then ends with `code`. */
class FakeCall {
  killed = false;
  readonly written: Uint8Array[] = [];
  readonly call: ServiceCall;
  #answer: (() => void) | undefined;

  /** `stuck`: never takes what is written, until it is killed; `silent`: never answers. */
  constructor(pieces: readonly Buffer[], options: { code?: number; stuck?: boolean; silent?: boolean } = {}) {
    let end: (outcome: { code: number | null; signal: string | null }) => void = () => undefined;
    const exited = new Promise<{ code: number | null; signal: string | null }>((resolve) => (end = resolve));
    const ready = new Promise<void>((resolve) => (this.#answer = resolve));
    const rest = pieces.filter((piece) => piece.length > 0);
    let fail: (error: Error) => void = () => undefined;
    this.call = {
      peer: 'target: qubes.Filecopy',
      idleTimeout: 200,
      io: {
        read: async (space) => {
          await ready;
          if (options.silent === true) await exited;
          const piece = rest.shift();
          if (piece === undefined) {
            end({ code: options.code ?? 0, signal: null });
            return 0;
          }
          if (piece.length > space.length) rest.unshift(piece.subarray(space.length));
          space.set(piece.subarray(0, space.length));
          return Math.min(piece.length, space.length);
        },
        write: (some) => {
          this.written.push(...some);
          return options.stuck === true
            ? new Promise((_resolve, reject) => (fail = reject))
            : Promise.resolve();
        },
      },
      exited,
      stderr: () => 'last words',
      hangUp: () => undefined,
      kill: () => {
        this.killed = true;
        end({ code: null, signal: 'SIGKILL' });
        fail(new BackupError('service-died', 'killed'));
      },
    };
  }

  /** Lets it answer; resolves when that was read. */
  async answer(): Promise<void> {
    this.#answer?.();
    for (let i = 0; i < 20; i++) await nextTurn();
  }
}

async function outcomeOf(pieces: readonly Buffer[], crc: number, code = 0): Promise<BackupError | undefined> {
  const fake = new FakeCall(pieces, { code });
  const copy = new FileCopy(fake.call);
  await copy.write(Buffer.from('piece'));
  await fake.answer();
  try {
    await copy.finish(crc);
    return undefined;
  } catch (error) {
    if (error instanceof BackupError) return error;
    throw error;
  }
}

test('success is an answer without error, the CRC of what was sent, and exit status 0', async () => {
  expect(await outcomeOf([answer(0, 77, 'last')], 77)).toBeUndefined();
  expect(await outcomeOf([answer(0, 77)], 77)).toBeUndefined(); // An older receiver.
  const bytes = [...answer(0, 2 ** 32 - 1, 'x')].map((byte) => Buffer.of(byte));
  expect(await outcomeOf(bytes, 2 ** 32 - 1)).toBeUndefined();
  expect(await outcomeOf([answer(0, 77, 'last')], 78)).toMatchObject({ code: 'verify-failed' });
  expect(await outcomeOf([answer(0, 77, 'last')], 77, 3)).toMatchObject({ code: 'service-died' });
});

test.each([
  [17, 'a/b', 'vm-exists', 'has a/b in its QubesIncoming already: move it away there'],
  [28, 'a/b', 'store-full', 'has no room for a/b'],
  [84, '\x1b[2J\xff', 'service-failed', 'refuses the name or the target of \\x1b[2J\\xff'],
  [5, 'a/b', 'service-failed', 'failed at a/b (EIO)'],
  [31_415_926, undefined, 'service-failed', 'failed at a file (code 31415926)'],
])('errno %i is explained', async (errno, name, code, text) => {
  const error = await outcomeOf([answer(errno, 0, name)], 0, 1);
  expect(error).toMatchObject({ code });
  expect(error?.message).toContain(`target: qubes.Filecopy ${text}`);
  expect(error?.message).toMatch(/^[\x20-\x7e]*$/);
});

test.each([
  ['nothing', Buffer.alloc(0), 'service-died'],
  ['too little', answer(0, 0).subarray(0, 15), 'protocol'],
  ['half a length', answer(0, 0, 'x').subarray(0, 18), 'protocol'],
  ['a name that ends early', answer(0, 0, 'name').subarray(0, 22), 'protocol'],
  ['a name that goes on', Buffer.concat([answer(0, 0, 'name'), Buffer.of(1)]), 'protocol'],
  ['a flood', Buffer.alloc(1_000_000, 1), 'protocol'],
])('%s is no answer', async (_what, bytes, code) => {
  const error = await outcomeOf([bytes], 0, 1);
  expect(error).toMatchObject({ code });
});

test('a name as long as the format has one is taken, and cut for showing', async () => {
  expect(await outcomeOf([answer(0, 1, 'n'.repeat(16_384))], 1)).toBeUndefined();
  expect((await outcomeOf([answer(17, 1, '\xff'.repeat(16_384))], 1, 1))?.message.length).toBeLessThan(5000);
});

test('what it said instead of an answer is told; so is how the call broke', async () => {
  const ending = (parts: Pick<ServiceCall, 'io' | 'stderr'>) => {
    const nothing = () => undefined;
    const exited = Promise.resolve({ code: null, signal: 'SIGKILL' });
    // Without a time of its own, as a receiver on Qubes OS: it is given RECEIVER_TIMEOUT.
    return new FileCopy({ peer: 'target: qubes.Filecopy', exited, hangUp: nothing, kill: nothing, ...parts });
  };
  const io = (read: () => Promise<number>) => ({ read, write: () => Promise.reject(new Error('EPIPE')) });
  const messageOf = async (copy: FileCopy) => (await rejection(copy.write(Buffer.from('piece')))).message;
  const quiet = { io: io(() => Promise.resolve(0)), stderr: () => ' ' };
  expect(await messageOf(ending({ ...quiet, stderr: () => 'no such user\n' }))).toContain(
    'ended without an answer (SIGKILL; it said: no such user)',
  );
  expect(await messageOf(ending(quiet))).toContain('ended without an answer (SIGKILL)');
  const broken = ending({ ...quiet, io: io(() => Promise.reject(new Error('the pipe is gone'))) });
  expect(await rejection(broken.write(Buffer.from('piece')))).toMatchObject({
    code: 'service-died',
    message: 'the pipe is gone',
  });
});

describe('an answer before the end', () => {
  test('frees a write that waits', async () => {
    const fake = new FakeCall([answer(28, 0, 'f')], { stuck: true, code: 1 });
    const copy = new FileCopy(fake.call);
    const write = rejection(copy.write(Buffer.from('piece')));
    await fake.answer();
    expect(await write).toMatchObject({ code: 'store-full' });
  });

  test('ends the next write, also if it says that all is well', async () => {
    for (const [errno, code] of [
      [28, 'store-full'],
      [0, 'protocol'],
    ] as const) {
      const fake = new FakeCall([answer(errno, 0, 'f')]);
      const copy = new FileCopy(fake.call);
      await copy.write(Buffer.from('piece'));
      await fake.answer();
      expect(await rejection(copy.write(Buffer.from('next')))).toMatchObject({ code });
      expect(fake.written.length).toBe(1);
    }
  });
});

test('R56: a receiver that neither takes nor answers is named in a timeout', async () => {
  const stuck = new FileCopy(new FakeCall([], { stuck: true }).call);
  expect(await rejection(stuck.write(Buffer.from('piece')))).toMatchObject({ code: 'timeout' });
  const fake = new FakeCall([], { silent: true });
  const silent = new FileCopy(fake.call);
  await silent.write(Buffer.from('piece'));
  await fake.answer();
  const error = await rejection(silent.finish(0));
  expect(error).toMatchObject({ code: 'timeout' });
  expect(error.message).toContain('target: qubes.Filecopy took nothing and said nothing');
  await silent.abort();
  expect(fake.killed).toBe(true);
});
