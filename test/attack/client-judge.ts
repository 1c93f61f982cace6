/** What must hold of a store after any session of a hostile client, whatever it said, and of what the service said. */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeWith } from '../../shared/cbor.ts';
import { MAX_OBJECT } from '../../shared/limits.ts';
import { MIN_OBJECT, put } from '../../shared/protocol/storage.ts';
import { decodeRoot } from '../../shared/root.ts';
import { COMMON, MAGIC } from '../../shared/wire/frame.ts';
import type { FrameTable } from '../../shared/wire/frame.ts';
import { framesOf } from '../support/peers.ts';
import type { Taken } from './client.ts';
import type { GeneratedClient } from './generate-client.ts';
import type { HomeState } from './home-state.ts';
import { changes } from './home-state.ts';
import type { Store } from './list/client.ts';
import { protocolOf } from './program.ts';

const STORE = 'storage/main/qubes-backup/';
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
    const problem = problemOfFile(home, path, how, session, last.hash);
    if (problem !== undefined) return problem;
  }
  const rooted = left.filter(({ path }) => path.startsWith(`${STORE}roots/`));
  if (rooted.length > 1) return `it published ${rooted.length} roots`;
  return problemOfAnswer(session.service, taken.said, after);
}

function problemOfFile(
  home: string,
  path: string,
  how: string,
  { service, bytes }: GeneratedClient,
  current: string,
): string | undefined {
  const name = path.startsWith(STORE) ? path.slice(STORE.length) : '';
  if (service === put.service && how === 'new' && /^objects\/[0-9a-f]{2}$/.test(name)) return undefined;
  if (service === put.service && how === 'new' && /^objects\/[0-9a-f]{2}\/[0-9a-f]{64}$/.test(name))
    return problemOfObject(readFileSync(join(home, path)), name.slice(-64), bytes);
  const roots = service.endsWith('SetRoot');
  if (roots && how === 'new' && name === `roots/${current}`)
    return problemOfRoot(readFileSync(join(home, path)), current, bytes);
  // A root that was published moves the hint, and its key the pin.
  if (roots && how === 'changed' && (name === 'head' || name === 'key')) return undefined;
  return `${path} is ${how}`;
}

/** An object is whole, under its name, of a possible size, and what was sent. */
function problemOfObject(object: Buffer, name: string, sent: readonly Uint8Array[]): string | undefined {
  if (createHash('sha256').update(object).digest('hex') !== name) return `the object ${name} is half`;
  if (object.length < MIN_OBJECT || object.length > MAX_OBJECT) return `${name} has ${object.length} bytes`;
  return Buffer.concat(sent).includes(object) ? undefined : `nobody sent the object ${name}`;
}

/** A root is whole, signed, follows the current one, and is what was sent. */
function problemOfRoot(bytes: Buffer, current: string, sent: readonly Uint8Array[]): string | undefined {
  const { body } = decodeRoot(bytes);
  if (body.previous !== current || body.counter <= 3) return `root ${body.counter} does not follow`;
  return Buffer.concat(sent).includes(bytes) ? undefined : 'nobody sent that root';
}

/** Every frame is one that this service has; what it acknowledges and delivers is there. */
function problemOfAnswer(service: string, said: Buffer, after: HomeState): string | undefined {
  if (!said.subarray(0, MAGIC.length).equals(MAGIC.subarray(0, said.length))) return 'it says no magic';
  const table: FrameTable = { ...COMMON, ...protocolOf(service).toCaller };
  for (const { type, payload } of framesOf(said)) {
    const spec = Object.values(table).find((one) => one.type === type);
    if (spec === undefined || payload.length > spec.max) return `it says a frame of type ${type}`;
    if (spec.form !== 'bulk') decodeWith(spec.schema, payload);
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
