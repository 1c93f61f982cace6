/** Requests of VMs to dom0: what they may say, how often, and what they are told. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { pathBytes } from '../../dom0/commands/paths.ts';
import { RequestLog } from '../../dom0/request/log.ts';
import { answerTo } from '../../dom0/request/perform.ts';
import { ALLOWANCES, Rates } from '../../dom0/request/rates.ts';
import type { Uptime } from '../../dom0/request/rates.ts';
import { readAction, readForm, readInvocation, readTarget } from '../../dom0/request/request.ts';
import { byteString, bytesOf, escapeText } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { parseVmName } from '../../shared/ids.ts';
import { MAX_REQUEST_FORM, MAX_REQUEST_LOG, MAX_REQUEST_PATH } from '../../shared/limits.ts';
import { formOf } from '../support/call-dom0.ts';
import { failure, rejection } from '../support/failure.ts';
import { RawPeer } from '../support/peers.ts';
import { tempFolder } from '../support/temp.ts';

const work = parseVmName('work');
const HOUR = 3600_000;

describe('who asks', () => {
  test('is what qrexec says, and a VM', () => {
    expect(readInvocation({ QREXEC_REMOTE_DOMAIN: 'work', QREXEC_SERVICE_ARGUMENT: 'list' })).toEqual({
      caller: 'work',
      argument: 'list',
    });
    for (const name of [undefined, '', 'dom0', '@adminvm', '../work', 'work\n', 'a b', 'x'.repeat(32), '-d'])
      expect(failure(() => readInvocation({ QREXEC_REMOTE_DOMAIN: name })).code).toBe('protocol');
  });

  test('may ask for three things; to start backups, by the name of a VM or none', () => {
    for (const argument of ['backup', 'list', 'restore']) expect(readAction(argument)).toBe(argument);
    for (const argument of ['', 'backup+work', 'LIST', '--all', 'constructor', '__proto__'])
      expect(failure(() => readAction(argument)).code).toBe('protocol');
    expect([readTarget(''), readTarget('work')]).toEqual(['all', 'work']);
    for (const argument of ['+', 'dom0', '--all', 'work+other', '.', 'x'.repeat(32)])
      expect(failure(() => readTarget(argument)).code).toBe('protocol');
    const long = { QREXEC_REMOTE_DOMAIN: 'work', QREXEC_SERVICE_ARGUMENT: 'x'.repeat(65) };
    expect(failure(() => readInvocation(long)).code).toBe('protocol');
  });
});

describe('a form', () => {
  const read = (bytes: Uint8Array, patience = 5_000) =>
    readForm(new RawPeer().say(bytes).hangUp().io, patience);

  test('is a snapshot and paths of any bytes, in any pieces', async () => {
    const path = fc
      .uint8Array({ minLength: 1, maxLength: 40 })
      .map((bytes) => bytes.filter((byte) => byte > 0));
    const paths = fc.array(
      path.filter((bytes) => bytes.length > 0),
      { minLength: 1, maxLength: 5 },
    );
    await fc.assert(
      fc.asyncProperty(paths, fc.constantFrom('latest', '1', '999999999'), async (list, snapshot) => {
        const texts = list.map(byteString);
        const peer = new RawPeer();
        const reading = readForm({ read: (target) => peer.io.read(target.subarray(0, 7)) }, 5_000);
        peer.say(formOf(snapshot, ...texts)); // The end of stdin is not waited for.
        expect(await reading).toEqual({ snapshot, paths: texts });
      }),
      { numRuns: 100 },
    );
  });

  test('of a path means the very bytes to extract', () => {
    const bytes = fc.uint8Array({ minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(bytes, (raw) => {
        const path = byteString(Uint8Array.of(0x61, ...raw, 0x62)); // Slashes around a path are no part of it.
        expect(Buffer.compare(pathBytes(escapeText(path)), bytesOf(path))).toBe(0);
      }),
    );
  });

  test.each([
    ['nothing', Buffer.alloc(0)],
    ['no path', formOf('latest')],
    ['a snapshot alone', Buffer.from('latest\0')],
    ['no end, as of a killed client', formOf('latest', 'a', 'b').subarray(0, -1)],
    ['an empty path', Buffer.from('latest\0\0a\0\0')],
    ['no snapshot', Buffer.from('\0a\0\0')],
    ['the name of another VM', formOf('vault@1', 'a')],
    ['a snapshot that is none', formOf('-1', 'a')],
    ['a number too long', formOf('9999999999', 'a')],
    ['a date', formOf('2026-11', 'a')],
    ['more after its end', Buffer.concat([formOf('latest', 'a'), Buffer.from('a')])],
    ['two of them', Buffer.concat([formOf('latest', 'a'), formOf('1', 'b')])],
    ['too many paths', formOf('latest', ...Array.from({ length: 65 }, () => 'a'))],
    ['a path too long', formOf('latest', 'a'.repeat(MAX_REQUEST_PATH + 1))],
    ['too much', Buffer.alloc(MAX_REQUEST_FORM + 1000, 'a')],
  ])('that has %s is none', async (_what, bytes) => {
    expect((await rejection(read(bytes))).code).toBe('protocol');
  });

  test('is never read beyond its cap, and not waited for without end', async () => {
    const peer = new RawPeer().say(Buffer.alloc(10 * MAX_REQUEST_FORM, 'a'));
    expect((await rejection(readForm(peer.io, 5_000))).code).toBe('protocol');
    expect(peer.taken).toBe(MAX_REQUEST_FORM);
    expect((await rejection(readForm(new RawPeer().say(Buffer.from('latest\0a')).io, 5))).code).toBe(
      'timeout',
    );
  });

  test('of any other bytes is none, and costs nothing else', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
        fc.pre(Buffer.from(bytes).indexOf(Buffer.from([0, 0])) !== bytes.length - 2);
        expect((await rejection(read(bytes))).code).toBe('protocol');
      }),
      { numRuns: 300 },
    );
  });
});

describe('how often', () => {
  /** A machine whose uptime the test sets, and its Rates as each process finds them. */
  function machine() {
    const folder = tempFolder();
    const now: { boot: string; milliseconds: number } = { boot: 'first', milliseconds: 5 * HOUR };
    const uptime = (): Uptime => ({ ...now });
    const rates = () => new Rates(folder, uptime);
    const charge = (vm = work, kind: 'backup' | 'read' | 'start' = 'backup'): string => {
      try {
        rates().check(vm, kind);
        rates().charge(vm, kind);
        return 'ok';
      } catch (error) {
        return error instanceof BackupError ? error.code : String(error);
      }
    };
    return { folder, now, charge };
  }

  test('a VM may ask is a number at once, and then one at a time, whoever asks besides', () => {
    const { now, charge } = machine();
    const { burst, every } = ALLOWANCES.backup;
    for (let count = 0; count < burst; count++) expect(charge()).toBe('ok');
    expect(charge()).toBe('limit');
    expect([charge(parseVmName('other')), charge(work, 'read'), charge(work, 'start')]).toEqual([
      'ok',
      'ok',
      'ok',
    ]);
    now.milliseconds += every - 1;
    expect(charge()).toBe('limit');
    now.milliseconds += 1;
    expect([charge(), charge()]).toEqual(['ok', 'limit']);
  });

  test('does not depend on any clock that can be set', () => {
    const { now, charge } = machine();
    while (charge() === 'ok');
    vi.useFakeTimers({ now: Date.now() + 1000 * 24 * HOUR });
    try {
      expect(charge()).toBe('limit');
      vi.setSystemTime(0);
      expect(charge()).toBe('limit');
    } finally {
      vi.useRealTimers();
    }
    now.milliseconds = 0; // No uptime goes back; if it did, nothing would be gained.
    expect(charge()).toBe('limit');
  });

  test('outlives the process and the machine’s starts, of which each counts as some hours', () => {
    const { now, charge } = machine();
    for (const boot of ['second', 'third']) {
      while (charge() === 'ok');
      Object.assign(now, { boot, milliseconds: 1000 });
      expect([charge(), charge(), charge()]).toEqual(['ok', 'limit', 'limit']);
    }
  });

  test('is forgotten of who may ask as it likes again', () => {
    const { folder, now, charge } = machine();
    charge(parseVmName('other'));
    now.milliseconds += ALLOWANCES.backup.every;
    charge();
    const kept = JSON.parse(readFileSync(join(folder, 'rates.json'), 'utf8')) as { full: object };
    expect(Object.keys(kept.full)).toEqual(['backup work']);
  });

  test.each(['', '{', '[]', '{"age":1e99}', '{"age":-1,"boot":"first","uptime":0,"full":{}}'])(
    'cannot be told from what is damaged (%j): nothing is answered',
    (text) => {
      const { folder, charge } = machine();
      writeFileSync(join(folder, 'rates.json'), text);
      expect(charge()).toBe('io');
    },
  );
});

describe('what is told', () => {
  test('of a failure is a sentence of ours, whatever the failure says', () => {
    const secret = 'VM vault at /var/lib/qubes-backup';
    for (const code of [
      'io',
      'internal',
      'store-damaged',
      'usage',
      'unknown-vm',
      'unknown-path',
      'locked',
    ] as const)
      expect(answerTo(new BackupError(code, secret))).toMatchObject({
        ok: false,
        lines: [expect.not.stringMatching(/vault|var\/lib/)],
      });
    expect(answerTo(new TypeError(secret)).lines).toEqual(answerTo(new BackupError('io', 'x')).lines);
  });

  test('to dom0’s log is bounded, printable, and sets an old log aside', () => {
    const file = join(tempFolder(), 'log');
    const log = new RequestLog(file, 'work');
    log.warn('an \x1b[31mescape\nand a forged line');
    for (let count = 0; count < 40; count++) log.line('x'.repeat(MAX_REQUEST_LOG / 32));
    log.close();
    const text = readFileSync(file, 'latin1');
    expect(text.length).toBeLessThanOrEqual(MAX_REQUEST_LOG);
    expect(text.split('\n')[0]).toMatch(/^\S+ work: warning: an \?\[31mescape\?and a forged line$/);
    writeFileSync(file, Buffer.alloc(MAX_REQUEST_LOG + 1, 'x'));
    new RequestLog(file, 'work').close();
    expect([readFileSync(file).length, readFileSync(`${file}.1`).length]).toEqual([0, MAX_REQUEST_LOG + 1]);
  });
});
