/**
 * R02 R05: a disposable or a storage VM that lies. For each lie the run must fail with a message that names the VM and
 * the service, in bounded time, with the store, the pin and all VMs as they were, and nothing left behind.
 */

import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { App } from '../../dom0/app.ts';
import { backup } from '../../dom0/commands/backup.ts';
import { check } from '../../dom0/commands/check.ts';
import { init } from '../../dom0/commands/init.ts';
import { restore } from '../../dom0/commands/restore.ts';
import type { Domains } from '../../dom0/domains/domains.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { encodeCbor } from '../../shared/cbor.ts';
import { BackupError } from '../../shared/errors.ts';
import type { ErrorCode } from '../../shared/errors.ts';
import { NumberSet } from '../../shared/numbers.ts';
import { rejection } from '../support/failure.ts';
import { Home } from '../support/home.ts';
import { runInProcess } from '../support/in-process.ts';
import { frameBytes, tampered } from '../support/tamper.ts';
import type { Frame, Instead } from '../support/tamper.ts';
import { makeTemp, removeTree } from '../support/temp.ts';
import { WrappedDomains } from '../support/wrapped-domains.ts';

/** A title, what is altered, and what dom0 may call it. */
type Lie = [string, Alter, ErrorCode[]];

/** Failures of a peer: their messages start with its VM and service. */
const NAMES_ITS_PEER: ErrorCode[] = ['protocol', 'timeout', 'service-died', 'service-failed', 'refused'];

type Alter = (frame: Frame, index: number) => Instead | undefined;

/** Silence that counts as stuck in these tests, in milliseconds. */
const IDLE = 1_500;

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
function generalLies(type: number): Lie[] {
  return [
    ['stops in the middle', onType(type, () => 'end'), ['service-died', 'protocol']],
    ['stalls', onType(type, () => 'stall'), ['timeout']],
    ['sends an unknown frame', onType(type, ({ payload }) => frameBytes(0x6f, payload)), ['protocol']],
    ['sends an oversized frame', onType(type, (frame) => frameBytes(frame.type, frame.payload, 2 ** 32 - 1)), ['protocol']],
    ['lies about a length, short', onType(type, (frame) => frameBytes(frame.type, frame.payload, frame.payload.length - 1)), ['protocol', 'service-died', 'store-damaged']],
    ['cuts a frame', onType(type, (frame) => frameBytes(frame.type, frame.payload).subarray(0, -1)), ['protocol', 'service-died', 'store-damaged', 'timeout']],
    ['leaves a frame out', onType(type, () => new Uint8Array(0)), ['protocol', 'service-died', 'timeout', 'store-damaged', 'refused']],
    ['reports an error of its own', onType(type, () => frameBytes(0x02, encodeCbor({ code: 'io', message: 'disk on fire' }))), ['service-failed']],
    ['hides escapes in an error', onType(type, () => frameBytes(0x02, encodeCbor({ code: 'io', message: '\u001b[2J' }))), ['protocol']],
    ['says impossible credit', onType(type, () => frameBytes(0x03, encodeCbor({ bytes: 2 ** 33 }))), ['protocol']],
  ];
}

const WRONG_END: Lie = [
  'ends with wrong counts',
  ({ type }) => (type === 0x01 ? frameBytes(0x01, encodeCbor({ frames: 1, bytes: 1 })) : undefined),
  ['protocol'],
];

/** Lies in the CBOR of a control frame. */
function controlLies(type: number): Lie[] {
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

/** All that a failed run must leave as it was: the VMs, the store's root, and this machine's pin of it. */
function stateOf(home: Home): unknown {
  return {
    vms: readdirSync(join(home.folder, 'vms')).sort(),
    root: readFileSync(join(home.store, 'head'), 'utf8'),
    pin: readFileSync(join(home.state, 'pins/main/pin.json'), 'utf8'),
  };
}

type Command = (app: App) => Promise<void>;

/** Runs `command` with `alter` between `service` and dom0; answers how it failed. */
async function failure(home: Home, service: string, alter: Alter, command: Command): Promise<BackupError> {
  const wrap = (inner: Domains) =>
    new WrappedDomains(inner, (call, called) => (called === service ? { ...tampered(call, alter), idleTimeout: IDLE } : call));
  const error = await rejection(runInProcess(home, command, wrap));
  // A backup reports each VM's failure and ends with a summary of which the first is the cause.
  return error.message.endsWith('not backed up') && error.cause instanceof BackupError ? error.cause : error;
}

describe('a lying peer', () => {
  const template = new Home({ folder: makeTemp() });
  const backUp = (app: App) => backup(app, ['work'], false);
  const restoreCopy = (app: App) => restore(app, 'work', 'copy');
  const checkAll = (app: App) => check(app, 100);

  beforeAll(async () => {
    for (let i = 0; i < 20; i++) template.write('work', `file-${i}`, createHash('sha512').update(String(i)).digest('hex').repeat(50));
    template.identify('work');
    createKeyFile(template.keyFile);
    await runInProcess(template, (app) => init(app, async () => [await app.secret()]));
    await runInProcess(template, backUp);
    template.write('work', 'file-new', 'something new to store');
  });

  afterAll(() => removeTree(template.folder));

  async function expectLie(service: string, [, alter, codes]: Lie, command: Command): Promise<void> {
    const home = new Home({ template });
    const before = stateOf(home);
    const error = await failure(home, service, alter, command);
    expect(codes, error.message).toContain(error.code);
    if (NAMES_ITS_PEER.includes(error.code)) expect(error.message).toMatch(new RegExp(`^[A-Za-z][A-Za-z0-9_-]*: ${service} `));
    if (service !== 'qubes.BackupSetRoot') expect(stateOf(home)).toEqual(before);
    // The next run completes, and everything is there.
    await runInProcess(home, backUp);
    await runInProcess(home, checkAll);
  }

  it.each(['qubes.BackupPut', 'qubes.BackupGet'])('%s ends with wrong counts after all was acknowledged: a warning', async (service) => {
    const home = new Home({ template });
    const wrap = (inner: Domains) => new WrappedDomains(inner, (call, called) => (called === service ? tampered(call, WRONG_END[1]) : call));
    expect((await runInProcess(home, backUp, wrap)).warnings).toBe(1);
    await runInProcess(home, checkAll);
  });

  describe('qubes.BackupPut', () => {
    const ACK = 0x10;
    it.each([
      ...generalLies(ACK),
      ...controlLies(ACK),
      ['acknowledges what it was not sent', onType(ACK, () => frameBytes(ACK, encodeCbor({ objects: [{ id: new Uint8Array(32), stored: true }] }))), ['protocol']],
      ['acknowledges twice', onType(ACK, (frame) => Buffer.concat([frameBytes(ACK, frame.payload), frameBytes(ACK, frame.payload)])), ['protocol']],
    ] as Lie[])('%s', async (...lie) => expectLie('qubes.BackupPut', lie, backUp));
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
    ] as Lie[])('%s', async (...lie) => expectLie('qubes.BackupGet', lie, restoreCopy));
  });

  describe('qubes.BackupSetRoot', () => {
    const DONE = 0x10;
    // The root may be published although its answer was garbled: then the next run finds it, and nothing is lost.
    it.each([...generalLies(DONE), WRONG_END, ...controlLies(DONE)])('%s', async (...lie) => expectLie('qubes.BackupSetRoot', lie, backUp));
  });

  describe('qubes.BackupList', () => {
    const PAGE = 0x80;
    it.each([
      ...generalLies(PAGE),
      WRONG_END,
      ['sends half a row', onType(PAGE, ({ payload }) => frameBytes(PAGE, payload.subarray(0, 35))), ['protocol']],
      ['leaves objects out', onType(PAGE, ({ payload }) => frameBytes(PAGE, payload.subarray(36))), ['store-damaged', 'protocol']],
    ] as Lie[])('%s', async (...lie) => expectLie('qubes.BackupList', lie, checkAll));
  });

  describe('qubes.BackupScan', () => {
    const [GET, CONTENT, TREE, LIVE, DONE] = [0x10, 0x80, 0x81, 0x82, 0x14];
    const live = (set: NumberSet) => onType(LIVE, () => frameBytes(LIVE, set.encode()));
    it.each([
      ...generalLies(CONTENT),
      WRONG_END,
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
    ] as Lie[])('%s', async (...lie) => expectLie('qubes.BackupScan', lie, backUp));
  });

  describe('qubes.BackupRestore', () => {
    const [GET, DONE] = [0x10, 0x14];
    it.each([
      ...generalLies(DONE),
      ...controlLies(DONE),
      ['asks for a blob of no snapshot', onType(GET, () => frameBytes(GET, encodeCbor({ numbers: [4095] }))), ['refused']],
      ['is done before it wrote anything', onType(GET, () => frameBytes(DONE, encodeCbor({ entries: 1, files: 1, bytes: 1 }))), ['protocol', 'service-died', 'service-failed', 'verify-failed', 'timeout']],
    ] as Lie[])('%s', async (...lie) => expectLie('qubes.BackupRestore', lie, restoreCopy));
  });

  describe('qubes.BackupVerify', () => {
    const DONE = 0x14;
    it.each([
      ...generalLies(DONE),
      WRONG_END,
      ['answers another digest', onType(DONE, () => frameBytes(DONE, encodeCbor({ digest: new Uint8Array(32), entries: 1, files: 1, bytes: 1 }))), ['verify-failed']],
    ] as Lie[])('R31: %s', async (...lie) => expectLie('qubes.BackupVerify', lie, restoreCopy));
  });
});
