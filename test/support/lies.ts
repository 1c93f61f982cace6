/**
 * Peers that lie: a hand alters one frame of a real service on its way to dom0, and what must hold afterwards. For
 * each lie the run must fail with a message that names the VM and the service, in bounded time, with the store, the pin
 * and all VMs as they were.
 */

import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { App } from '../../dom0/app.ts';
import { backup } from '../../dom0/commands/backup.ts';
import { check } from '../../dom0/commands/check.ts';
import { diff } from '../../dom0/commands/diff.ts';
import { history } from '../../dom0/commands/history.ts';
import { init } from '../../dom0/commands/init.ts';
import { ls } from '../../dom0/commands/ls.ts';
import { restore } from '../../dom0/commands/restore.ts';
import type { Domains } from '../../dom0/domains/domains.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { encodeCbor } from '../../shared/cbor.ts';
import { BackupError } from '../../shared/errors.ts';
import type { ErrorCode } from '../../shared/errors.ts';
import { rejection } from './failure.ts';
import { Home } from './home.ts';
import { runInProcess } from './in-process.ts';
import { frameBytes, tampered } from './tamper.ts';
import type { Frame, Instead } from './tamper.ts';
import { makeTemp } from './temp.ts';
import { WrappedDomains } from './wrapped-domains.ts';

/** A title, what is altered, and what dom0 may call it. */
export type Lie = [string, Alter, ErrorCode[]];

/** Failures of a peer: their messages start with its VM and service. */
const NAMES_ITS_PEER: ErrorCode[] = ['protocol', 'timeout', 'service-died', 'service-failed', 'refused'];

export type Alter = (frame: Frame, index: number) => Instead | undefined;

/** Silence that counts as stuck in these tests, in milliseconds. */
const IDLE = 1_500;

/** Alters the first frame of `type` after `skip` others of it. */
export function onType(type: number, make: (frame: Frame) => Instead, skip = 0): Alter {
  let seen = 0;
  return (frame) => (frame.type === type && seen++ === skip ? make(frame) : undefined);
}

export const flip = ({ type, payload }: Frame): Uint8Array => {
  const changed = new Uint8Array(payload);
  const at = Math.floor(changed.length / 2);
  changed[at] = (changed[at] ?? 0) ^ 1;
  return frameBytes(type, changed);
};

/** Lies that any control or bulk frame can be made to tell, and what dom0 must call them. */
export function generalLies(type: number): Lie[] {
  return [
    ['stops in the middle', onType(type, () => 'end'), ['service-died', 'protocol']],
    ['stalls', onType(type, () => 'stall'), ['timeout']],
    ['sends an unknown frame', onType(type, ({ payload }) => frameBytes(0x6f, payload)), ['protocol']],
    [
      'sends an oversized frame',
      onType(type, (frame) => frameBytes(frame.type, frame.payload, 2 ** 32 - 1)),
      ['protocol'],
    ],
    [
      'lies about a length, short',
      onType(type, (frame) => frameBytes(frame.type, frame.payload, frame.payload.length - 1)),
      ['protocol', 'service-died', 'store-damaged'],
    ],
    [
      'cuts a frame',
      onType(type, (frame) => frameBytes(frame.type, frame.payload).subarray(0, -1)),
      ['protocol', 'service-died', 'store-damaged', 'timeout'],
    ],
    [
      'leaves a frame out',
      onType(type, () => new Uint8Array(0)),
      ['protocol', 'service-died', 'timeout', 'store-damaged', 'refused'],
    ],
    [
      'reports an error of its own',
      onType(type, () => frameBytes(0x02, encodeCbor({ code: 'io', message: 'disk on fire' }))),
      ['service-failed'],
    ],
    [
      'hides escapes in an error',
      onType(type, () => frameBytes(0x02, encodeCbor({ code: 'io', message: '\u001b[2J' }))),
      ['protocol'],
    ],
    [
      'says impossible credit',
      onType(type, () => frameBytes(0x03, encodeCbor({ bytes: 2 ** 33 }))),
      ['protocol'],
    ],
  ];
}

export const WRONG_END: Lie = [
  'ends with wrong counts',
  ({ type }) => (type === 0x01 ? frameBytes(0x01, encodeCbor({ frames: 1, bytes: 1 })) : undefined),
  ['protocol'],
];

/** Lies in the CBOR of a control frame. */
export function controlLies(type: number): Lie[] {
  const raw = (hexText: string) => onType(type, () => frameBytes(type, Buffer.from(hexText, 'hex')));
  return [
    ['sends non-minimal CBOR', raw('a1616e1805'), ['protocol']],
    ['sends unknown fields', raw('a1656578747261f5'), ['protocol']],
    ['sends a tag', raw('c001'), ['protocol']],
    ['sends indefinite lengths', raw('bfff'), ['protocol']],
    ['sends duplicate keys', raw('a2616101616102'), ['protocol']],
    ['sends deep nesting', raw('81'.repeat(2000) + '80'), ['protocol']],
    ['sends nothing', onType(type, () => frameBytes(type, new Uint8Array(0))), ['protocol']],
    [
      'floods with messages',
      onType(type, (frame) =>
        Buffer.concat(Array.from({ length: 100_000 }, () => frameBytes(frame.type, frame.payload))),
      ),
      ['protocol', 'refused', 'store-damaged'],
    ],
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

export type Command = (app: App) => Promise<void>;

/** Runs `command` with `alter` between `service` and dom0; answers how it failed. */
async function failure(home: Home, service: string, alter: Alter, command: Command): Promise<BackupError> {
  const wrap = (inner: Domains) =>
    new WrappedDomains(inner, (call, called) =>
      called === service ? { ...tampered(call, alter), idleTimeout: IDLE } : call,
    );
  const error = await rejection(runInProcess(home, command, wrap));
  // A backup reports each VM's failure and ends with a summary of which the first is the cause.
  return error.message.endsWith('not backed up') && error.cause instanceof BackupError ? error.cause : error;
}

export const backUp: Command = (app) => backup(app, ['work']);
export const backUpAudited: Command = (app) => backup(app, ['work'], { audit: true });
export const restoreCopy: Command = (app) => restore(app, 'work', 'copy');
export const listAll: Command = (app) => ls(app, 'work', '', { recursive: true, skipped: false });
export const historyOfFile: Command = (app) => history(app, 'work', 'file-0');
export const diffLive: Command = (app) => diff(app, 'work', 'live', false);
export const checkAll: Command = (app) => check(app, 100);

/** A home with one snapshot of `work` and something new to back up. The caller removes its folder. */
export async function liarsHome(): Promise<Home> {
  const home = new Home({ folder: makeTemp() });
  for (let i = 0; i < 20; i++)
    home.write('work', `file-${i}`, createHash('sha512').update(String(i)).digest('hex').repeat(50));
  home.identify('work');
  createKeyFile(home.keyFile);
  await runInProcess(home, (app) => init(app, () => app.secrets()));
  await runInProcess(home, backUp);
  home.write('work', 'file-new', 'something new to store');
  return home;
}

/** Holds one lie of `service` against `command` on a copy of `template`; with `goOn`, the next run has to complete. */
export async function expectLie(
  template: Home,
  service: string,
  [, alter, codes]: Lie,
  command: Command,
  goOn = false,
): Promise<void> {
  const home = new Home({ template });
  const before = stateOf(home);
  const error = await failure(home, service, alter, command);
  expect(codes, error.message).toContain(error.code);
  if (NAMES_ITS_PEER.includes(error.code))
    expect(error.message).toMatch(new RegExp(`^[A-Za-z][A-Za-z0-9_-]*: ${service} `));
  if (service !== 'qubes.BackupSetRoot') expect(stateOf(home)).toEqual(before);
  if (!goOn) return;
  await runInProcess(home, backUp);
  await runInProcess(home, checkAll);
}
