/**
 * What qubesd says of itself while it works: `1\0SUBJECT\0EVENT\0(KEY\0VALUE\0)*\0` again and again on a connection that stays
 * open. The first is `connection-established`, with an empty subject: what happens after it is not missed.
 */

import { connect } from 'node:net';
import { BackupError } from '../../../../shared/errors.ts';
import { MAX_ADMIN_EVENT } from '../../../../shared/limits.ts';
import { AdminError, EMPTY_ANSWER } from './admin-error.ts';
import { contentOf, describeCall, encodeRequest, isAbort, unreachable } from './connection.ts';
import { METHODS } from './methods.ts';

export interface AdminEvent {
  /** The VM it is about; empty for the system itself. */
  readonly subject: string;
  readonly event: string;
  readonly details: Readonly<Record<string, string>>;
}

const HEADER_EVENT = 0x31;

/**
 * The events of `destination`, all VMs' for `dom0`, until `signal` is aborted: the loop over them then just ends. Throws
 * `limit` for an event beyond MAX_ADMIN_EVENT, `protocol` for what is none, and an error when qubesd goes away.
 */
export async function* followEvents(
  socketPath: string,
  destination: string,
  signal: AbortSignal,
): AsyncGenerator<AdminEvent, void> {
  const { method } = METHODS.events;
  const request = { method, argument: '', destination, payload: new Uint8Array() };
  const what = describeCall(request);
  const bytes = encodeRequest(request);
  const socket = connect({ path: socketPath, allowHalfOpen: true, signal });
  const pieces: AsyncIterable<Buffer> = socket;
  let pending = Buffer.alloc(0);
  let failure: unknown;
  socket.on('error', (error) => (failure = error));
  try {
    socket.end(bytes);
    for await (const piece of pieces) {
      pending = Buffer.concat([pending, piece]);
      for (let next = takeEvent(pending); next !== undefined; next = takeEvent(pending)) {
        pending = pending.subarray(next.length);
        yield next.event;
      }
      if (pending.length > MAX_ADMIN_EVENT)
        throw new BackupError('limit', `${what}: qubesd sent an event of more than ${MAX_ADMIN_EVENT} bytes`);
    }
    contentOf(what, pending); // Throws what qubesd said in the place of an event, or that it said nothing.
    throw new AdminError(what, EMPTY_ANSWER, '');
  } catch (error) {
    if (signal.aborted) return;
    if (error !== failure) throw error;
    throw isAbort(error) ? new AdminError(what, EMPTY_ANSWER, '') : unreachable(socketPath, what, error);
  } finally {
    socket.destroy();
  }
}

/** The event that `bytes` begin with, and its length; undefined while it is not complete, or of what is no event. */
function takeEvent(bytes: Buffer): { readonly event: AdminEvent; readonly length: number } | undefined {
  if (bytes[0] !== HEADER_EVENT || bytes[1] !== 0) return undefined;
  const fields: string[] = [];
  let at = 2;
  for (;;) {
    const end = bytes.indexOf(0, at);
    if (end < 0) return undefined;
    const field = bytes.toString('latin1', at, end);
    at = end + 1;
    // After SUBJECT and EVENT come pairs, up to an empty KEY.
    if (field === '' && fields.length >= 2 && fields.length % 2 === 0)
      return { event: eventOf(fields), length: at };
    fields.push(field);
  }
}

function eventOf([subject = '', event = '', ...rest]: readonly string[]): AdminEvent {
  const details: [string, string][] = [];
  for (let i = 0; i + 1 < rest.length; i += 2) details.push([rest[i] ?? '', rest[i + 1] ?? '']);
  return { subject, event, details: Object.fromEntries(details) };
}
