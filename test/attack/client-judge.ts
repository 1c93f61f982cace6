/** What must hold of a store after any session of a hostile client, whatever it said, and of what the service said. */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeWith } from '../../shared/cbor.ts';
import { isBackupError } from '../../shared/errors.ts';
import { MAX_OBJECT } from '../../shared/limits.ts';
import { MIN_OBJECT, put } from '../../shared/protocol/storage.ts';
import { decodeRoot } from '../../shared/root.ts';
import type { Root } from '../../shared/root.ts';
import { COMMON, MAGIC, creditFor } from '../../shared/wire/frame.ts';
import type { FrameTable } from '../../shared/wire/frame.ts';
import { rootName } from '../../storagevm/back-end.ts';
import { framesOf } from '../support/peers.ts';
import type { Taken } from './client.ts';
import type { GeneratedClient } from './generate-client.ts';
import type { HomeState } from './home-state.ts';
import { changes } from './home-state.ts';
import type { Store } from './list/client.ts';
import { protocolOf } from './program.ts';

const STORE = 'storage/main/qubes-backup/';
/** Roots that the store has before. */
const ROOTS = 3;
const PRINTABLE = /^[\x20-\x7e]*$/;
/** How a session may end. `service-failed`: the client itself reported an error. */
const OUTCOMES: readonly string[] = [
  'done',
  'protocol',
  'service-died',
  'service-failed',
  'refused',
  'store-damaged',
  'store-version',
  'store-replaced',
  'store-rolled-back',
];

/** What is wrong after `session`; undefined if nothing is. */
export function faultOfClient(
  home: string,
  before: HomeState,
  after: HomeState,
  session: GeneratedClient,
  taken: Taken,
  { roots: [, , last] }: Store,
): string | undefined {
  const { outcome, message, status } = taken;
  if (!OUTCOMES.includes(outcome)) return `it ended with ${outcome}: ${message}`;
  if ((outcome === 'done') !== (status === 0)) return `it exited with ${status ?? 'a signal'}`;
  if (!PRINTABLE.test(message)) return `it says ${JSON.stringify(message)}`;
  const left = changes(before, after).filter(({ path }) => !path.startsWith('state/'));
  for (const { path, how } of left) {
    const problem = problemOfFile(home, path, how, session, last);
    if (problem !== undefined) return problem;
  }
  const rooted = left.filter(({ path }) => path.startsWith(`${STORE}roots/`));
  if (rooted.length > 1) return `it published ${rooted.length} roots`;
  return problemOfAnswer(session, taken.said, after);
}

function problemOfFile(
  home: string,
  path: string,
  how: string,
  { service, bytes }: GeneratedClient,
  last: Root,
): string | undefined {
  const name = path.startsWith(STORE) ? path.slice(STORE.length) : '';
  if (service === put.service && how === 'new' && /^objects\/[0-9a-f]{2}$/.test(name)) return undefined;
  if (service === put.service && how === 'new' && /^objects\/[0-9a-f]{2}\/[0-9a-f]{64}$/.test(name))
    return problemOfObject(readFileSync(join(home, path)), name.slice(-64), bytes);
  // Before an object comes, the ledger has its row.
  if (service === put.service && how === 'new' && /^ledger\/puts(\/[0-9a-f]{16})?$/.test(name))
    return undefined;
  const roots = service.endsWith('SetRoot');
  if (roots && how === 'new' && name === rootName(ROOTS + 1))
    return problemOfRoot(readFileSync(join(home, path)), last, bytes);
  // A root that was published has its row in the ledger, and its key is the pinned one.
  if (roots && how === 'changed' && (name.startsWith('ledger/') || name === 'key')) return undefined;
  return `${path} is ${how}`;
}

/** An object is whole, under its name, of a possible size, and what was sent. */
function problemOfObject(object: Buffer, name: string, sent: readonly Uint8Array[]): string | undefined {
  if (createHash('sha256').update(object).digest('hex') !== name) return `the object ${name} is half`;
  if (object.length < MIN_OBJECT || object.length > MAX_OBJECT) return `${name} has ${object.length} bytes`;
  return Buffer.concat(sent).includes(object) ? undefined : `nobody sent the object ${name}`;
}

/** A root is whole, signed, newer than the one before, and what was sent. */
function problemOfRoot(bytes: Buffer, last: Root, sent: readonly Uint8Array[]): string | undefined {
  const { body } = decodeRoot(bytes);
  const { counter, repository } = last.body;
  if (body.repository !== repository || body.counter <= counter)
    return `root ${body.counter} is no newer one`;
  return Buffer.concat(sent).includes(bytes) ? undefined : 'nobody sent that root';
}

/** Every frame is one that this service has; what it acknowledges and delivers is there. */
function problemOfAnswer(
  { service, bytes }: GeneratedClient,
  said: Buffer,
  after: HomeState,
): string | undefined {
  let granted = creditIn(Buffer.concat(bytes));
  if (!said.subarray(0, MAGIC.length).equals(MAGIC.subarray(0, said.length))) return 'it says no magic';
  const table: FrameTable = { ...COMMON, ...protocolOf(service).toCaller };
  for (const { type, payload } of framesOf(said)) {
    const spec = Object.values(table).find((one) => one.type === type);
    if (spec === undefined || payload.length > spec.max) return `it says a frame of type ${type}`;
    if (spec.form !== 'bulk') decodeWith(spec.schema, payload);
    else granted -= creditFor(payload.length);
    if (granted < 0) return 'it says more than it was granted';
    if (spec === put.toCaller.ack) {
      const { objects } = decodeWith(put.toCaller.ack.schema, payload);
      const lost = objects.find(({ id }) => !after.has(`${STORE}objects/${id.slice(0, 2)}/${id}`));
      if (lost !== undefined) return `it acknowledged ${lost.id}, which is not there`;
    }
    if (service.endsWith('Get') && type === 0x80 && ![...after.values()].includes(hashOf(payload)))
      return 'it delivers what is not in the store';
  }
  return undefined;
}

function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** What a client granted, as far as it was understood. */
function creditIn(bytes: Buffer): number {
  let sum = 0;
  for (const { type, payload } of framesOf(bytes)) {
    if (type !== COMMON.credit.type) continue;
    try {
      sum += decodeWith(COMMON.credit.schema, payload).bytes;
    } catch (error) {
      if (isBackupError(error, 'protocol')) return sum; // Altered: the service hears nothing after it.
      throw error;
    }
  }
  return sum;
}
