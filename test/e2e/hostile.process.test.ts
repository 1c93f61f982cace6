/**
 * R02 R05: a disposable or a storage VM that lies. For each lie the run must fail with a message that names the VM and
 * the service, in bounded time, with the store, the pin and all VMs as they were, and nothing left behind.
 */

import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { App } from '../../dom0/app.ts';
import { backup } from '../../dom0/commands/backup.ts';
import { check } from '../../dom0/commands/check.ts';
import { restore } from '../../dom0/commands/restore.ts';
import { encodeCbor } from '../../shared/cbor.ts';
import { BackupError } from '../../shared/errors.ts';
import type { ErrorCode } from '../../shared/errors.ts';
import { NumberSet } from '../../shared/numbers.ts';
import { Home } from '../support/home.ts';
import { runInProcess } from '../support/in-process.ts';
import { frameBytes, tampered } from '../support/tamper.ts';
import type { Frame, Instead } from '../support/tamper.ts';
import { WrappedDomains } from '../support/wrapped-domains.ts';

type Alter = (frame: Frame, index: number) => Instead | undefined;

/** Silence that counts as stuck in these tests, in milliseconds. */
const IDLE = 3_000;

/** Alters the first frame of `type` after `skip` others of it. */
function onType(type: number, make: (frame: Frame) => Instead, skip = 0): Alter {
  let seen = 0;
  return (frame) => (frame.type === type && seen++ === skip ? make(frame) : undefined);
}

const flip = ({ type, payload }: Frame): Uint8Array => {
  const changed = new Uint8Array(payload);
  const at = Math.floor(changed.length / 2);
  changed[at] = (changed[at] ?? 0) ^ 1;
  return frameBytes(type, changed);
};

/** Lies that any control or bulk frame can be made to tell, and what dom0 must call them. */
function generalLies(type: number): [string, Alter, ErrorCode[]][] {
  return [
    ['stops in the middle', onType(type, () => 'end'), ['service-died', 'protocol']],
    ['stalls', onType(type, () => 'stall'), ['timeout']],
    ['sends an unknown frame', onType(type, ({ payload }) => frameBytes(0x6f, payload)), ['protocol']],
    ['sends an oversized frame', onType(type, (frame) => frameBytes(frame.type, frame.payload, 2 ** 32 - 1)), ['protocol']],
    ['lies about a length, short', onType(type, (frame) => frameBytes(frame.type, frame.payload, frame.payload.length - 1)), ['protocol', 'service-died', 'store-damaged']],
    ['cuts a frame', onType(type, (frame) => frameBytes(frame.type, frame.payload).subarray(0, -1)), ['protocol', 'service-died', 'store-damaged', 'timeout']],
    ['leaves a frame out', onType(type, () => new Uint8Array(0)), ['protocol', 'service-died', 'timeout', 'store-damaged', 'refused']],
    ['ends with wrong counts', onType(0x01, () => frameBytes(0x01, encodeCbor({ frames: 1, bytes: 1 }))), ['protocol']],
    ['reports an error of its own', onType(type, () => frameBytes(0x02, encodeCbor({ code: 'io', message: 'disk on fire' }))), ['service-failed']],
    ['hides escapes in an error', onType(type, () => frameBytes(0x02, encodeCbor({ code: 'io', message: '\u001b[2J' }))), ['protocol']],
    ['says impossible credit', onType(type, () => frameBytes(0x03, encodeCbor({ bytes: 2 ** 33 }))), ['protocol']],
  ];
}

/** Lies in the CBOR of a control frame. */
function controlLies(type: number): [string, Alter, ErrorCode[]][] {
  const raw = (hexText: string) => onType(type, () => frameBytes(type, Buffer.from(hexText, 'hex')));
  return [
    ['sends non-minimal CBOR', raw('a1616e1805'), ['protocol']],
    ['sends unknown fields', raw('a1656578747261f5'), ['protocol']],
    ['sends a tag', raw('c001'), ['protocol']],
    ['sends indefinite lengths', raw('bfff'), ['protocol']],
    ['sends duplicate keys', raw('a2616101616102'), ['protocol']],
    ['sends deep nesting', raw('81'.repeat(2000) + '80'), ['protocol']],
    ['sends nothing', onType(type, () => frameBytes(type, new Uint8Array(0))), ['protocol']],
    ['floods with messages', onType(type, (frame) => Buffer.concat(Array.from({ length: 100_000 }, () => frameBytes(frame.type, frame.payload)))), ['protocol', 'refused', 'store-damaged']],
  ];
}

const names = (home: Home) => readdirSync(join(home.folder, 'vms')).sort();

async function fails(home: Home, service: string, alter: Alter, command: (app: App) => Promise<void>): Promise<BackupError> {
  const wrap = (inner: ConstructorParameters<typeof WrappedDomains>[0]) =>
    new WrappedDomains(inner, (call, called) => (called === service ? { ...tampered(call, alter), idleTimeout: IDLE } : call));
  let failure: unknown;
  const lines: string[] = [];
  try {
    const app = await runInProcess(home, command, wrap);
    throw new Error(`it succeeded: ${JSON.stringify(app.output)}`);
  } catch (error) {
    failure = error;
  }
  if (!(failure instanceof BackupError)) throw failure;
  void lines;
  // `backup` reports each VM's failure and throws a summary that carries the first as its cause.
  return failure.cause instanceof BackupError && command.name === 'backUp' ? failure.cause : failure;
}

describe('a lying peer', () => {
  let home: Home;
  const snapshotsOf = async () => {
    const { events } = await home.expectRun(0, 'list');
    return events.filter(({ event }) => event === 'snapshot').map((event) => event['snapshot']);
  };
  const backUp = (app: App) => backup(app, ['work'], false);
  const restoreCopy = (app: App) => restore(app, 'work', 'copy');
  const checkAll = (app: App) => check(app, 100);

  async function expectLie(service: string, [, alter, codes]: [string, Alter, ErrorCode[]], command: (app: App) => Promise<void>) {
    const fresh = await aHome();
    home = fresh;
    const before = await snapshotsOf();
    const error = await fails(fresh, service, alter, command);
    expect(codes, error.message).toContain(error.code);
    if (['protocol', 'timeout', 'service-died', 'service-failed', 'refused'].includes(error.code)) {
      expect(error.message).toContain(service);
      expect(error.message).toMatch(/^(?:main|disp[^:]*|[A-Za-z0-9_-]+):/);
    }
    expect(names(fresh)).toEqual(['work']);
    expect(await snapshotsOf()).toEqual(before);
    const { code } = await fresh.expectRun(0, 'backup', 'work');
    expect(code).toBe(0);
    await fresh.expectRun(0, 'check', '--read-data', '100');
  }

  async function aHome(): Promise<Home> {
    const made = new Home();
    for (let i = 0; i < 20; i++) made.write('work', `file-${i}`, createHash('sha512').update(String(i)).digest('hex').repeat(50));
    await made.expectRun(0, 'init');
    await made.expectRun(0, 'backup', 'work');
    made.write('work', 'file-new', 'something new to store');
    return made;
  }

  beforeAll(() => undefined);

  describe('qubes.BackupPut', () => {
    const ACK = 0x10;
    it.each([
      ...generalLies(ACK),
      ...controlLies(ACK),
      ['acknowledges what it was not sent', onType(ACK, () => frameBytes(ACK, encodeCbor({ objects: [{ id: new Uint8Array(32), stored: true }] }))), ['protocol']],
      ['acknowledges twice', onType(ACK, (frame) => Buffer.concat([frameBytes(ACK, frame.payload), frameBytes(ACK, frame.payload)])), ['protocol']],
    ] as [string, Alter, ErrorCode[]][])('%s', async (...lie) => expectLie('qubes.BackupPut', lie, backUp));
  });

  describe('qubes.BackupGet', () => {
    const [OBJECT, ROOT] = [0x80, 0x81];
    it.each([
      ...generalLies(OBJECT),
      ['flips a bit of an object', onType(OBJECT, flip), ['store-damaged']],
      ['flips a bit of the root', onType(ROOT, flip), ['store-damaged']],
      ['sends the root as an object', onType(OBJECT, ({ payload }) => frameBytes(ROOT, payload.subarray(0, 1000))), ['protocol']],
      ['claims that an object is missing', onType(OBJECT, () => frameBytes(0x10, encodeCbor({ id: new Uint8Array(32) }))), ['protocol']],
      ['claims that there is no root', onType(ROOT, () => frameBytes(0x11, encodeCbor({}))), ['store-missing']],
    ] as [string, Alter, ErrorCode[]][])('%s', async (...lie) => expectLie('qubes.BackupGet', lie, restoreCopy));
  });

  describe('qubes.BackupSetRoot', () => {
    const DONE = 0x10;
    it.each([...generalLies(DONE).filter(([title]) => title !== 'ends with wrong counts'), ...controlLies(DONE)])('%s', async (...lie) => {
      // The root may be published although its answer was garbled: then the next run finds it, and nothing is lost.
      const fresh = await aHome();
      home = fresh;
      const error = await fails(fresh, 'qubes.BackupSetRoot', lie[1], backUp);
      expect(lie[2], error.message).toContain(error.code);
      expect(error.message).toContain('qubes.BackupSetRoot');
      await fresh.expectRun(0, 'backup', 'work');
      await fresh.expectRun(0, 'check', '--read-data', '100');
    });
  });

  describe('qubes.BackupList', () => {
    const PAGE = 0x80;
    it.each([
      ...generalLies(PAGE).filter(([title]) => title !== 'reports an error of its own' || title.length > 0),
      ['sends half a row', onType(PAGE, ({ payload }) => frameBytes(PAGE, payload.subarray(0, 35))), ['protocol']],
      ['leaves objects out', onType(PAGE, ({ payload }) => frameBytes(PAGE, payload.subarray(36))), ['store-damaged', 'protocol']],
    ] as [string, Alter, ErrorCode[]][])('%s', async (...lie) => expectLie('qubes.BackupList', lie, checkAll));
  });

  describe('qubes.BackupScan', () => {
    const [GET, CONTENT, TREE, LIVE, DONE] = [0x10, 0x80, 0x81, 0x82, 0x14];
    const live = (set: NumberSet) => onType(LIVE, () => frameBytes(LIVE, set.encode()));
    it.each([
      ...generalLies(CONTENT),
      ...controlLies(DONE),
      ['asks for a blob that was never stored', onType(GET, () => frameBytes(GET, encodeCbor({ numbers: [999] }))), ['refused']],
      ['asks for old content', onType(GET, () => frameBytes(GET, encodeCbor({ numbers: [0] }))), ['refused']],
      ['asks for the same blob without end', onType(GET, (frame) => Buffer.concat(Array.from({ length: 5000 }, () => frameBytes(GET, frame.payload)))), ['protocol', 'refused']],
      ['names a live set that it never owned', live(NumberSet.range(0, 100_000)), ['refused']],
      ['names an empty live set', live(NumberSet.range(5000, 5001)), ['refused']],
      ['sends a malformed live set', onType(LIVE, () => frameBytes(LIVE, Uint8Array.of(0, 0))), ['store-damaged', 'protocol']],
      ['sends no live set', onType(LIVE, () => new Uint8Array(0)), ['protocol']],
      ['puts its tree as content', onType(TREE, ({ payload }) => frameBytes(CONTENT, payload), 1), ['refused']],
      ['sends more than it was granted', onType(CONTENT, () => Buffer.concat(Array.from({ length: 5 }, () => frameBytes(CONTENT, new Uint8Array(8 * 2 ** 20))))), ['protocol']],
    ] as [string, Alter, ErrorCode[]][])('%s', async (...lie) => expectLie('qubes.BackupScan', lie, backUp));
  });

  describe('qubes.BackupRestore', () => {
    const [GET, DONE] = [0x10, 0x14];
    it.each([
      ...generalLies(DONE).filter(([title]) => !title.startsWith('ends')),
      ...controlLies(DONE),
      ['asks for a blob of no snapshot', onType(GET, () => frameBytes(GET, encodeCbor({ numbers: [4095] }))), ['refused']],
      ['is done before it wrote anything', onType(GET, () => frameBytes(DONE, encodeCbor({ entries: 1, files: 1, bytes: 1 }))), ['protocol', 'service-died', 'service-failed', 'verify-failed', 'timeout']],
    ] as [string, Alter, ErrorCode[]][])('%s', async (...lie) => expectLie('qubes.BackupRestore', lie, restoreCopy));
  });

  describe('qubes.BackupVerify', () => {
    const DONE = 0x14;
    it.each([
      ...generalLies(DONE).filter(([title]) => !title.startsWith('ends')),
      ['answers another digest', onType(DONE, () => frameBytes(DONE, encodeCbor({ digest: new Uint8Array(32), entries: 1, files: 1, bytes: 1 }))), ['verify-failed']],
    ] as [string, Alter, ErrorCode[]][])('R31: %s', async (...lie) => expectLie('qubes.BackupVerify', lie, restoreCopy));
  });
});
