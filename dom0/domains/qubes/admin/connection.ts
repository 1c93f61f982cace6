/**
 * A call of qubesd: one connection to its socket, `METHOD+ARG dom0 name DEST\0` and the payload, then the answer to its end.
 * What could not be framed is refused before anything is sent. Source: qubes/api/__init__.py of qubes-core-admin.
 */

import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { lengthOf, utf8 } from '../../../../shared/bytes.ts';
import { BackupError, messageOf, systemCode } from '../../../../shared/errors.ts';
import { MAX_ADMIN_ANSWER, MAX_ADMIN_ARGUMENT, MAX_ADMIN_REQUEST } from '../../../../shared/limits.ts';
import { within } from '../../../timeout.ts';
import { AdminError, EMPTY_ANSWER } from './admin-error.ts';

/** Where qubesd listens in dom0. */
export const QUBESD_SOCKET = '/var/run/qubesd.sock';

/** What is asked of qubesd. */
export interface AdminRequest {
  readonly method: string;
  /** May be empty. */
  readonly argument: string;
  /** A VM's name; `dom0` for what is asked of the system. */
  readonly destination: string;
  readonly payload: Uint8Array;
}

const METHOD = /^admin\.[A-Za-z][A-Za-z._]{0,126}$/;
const ARGUMENT = /^[A-Za-z0-9._+:@-]*$/;
const DESTINATION = /^[A-Za-z][A-Za-z0-9_.-]{0,30}$/;

/** The first byte of an answer, before a NUL; events have one of their own. */
const HEADER_OK = 0x30;
const HEADER_EXCEPTION = 0x32;

/** The call as messages name it. The payload is never shown: notes and firewall rules are private. */
export function describeCall({ method, argument, destination }: AdminRequest): string {
  return `VM ${destination}: ${argument === '' ? method : `${method}+${argument}`}`;
}

/** The bytes of a request. Throws `usage` for what has no place in a frame, `limit` beyond MAX_ADMIN_REQUEST. */
export function encodeRequest(request: AdminRequest): Uint8Array {
  const { method, argument, destination, payload } = request;
  if (!METHOD.test(method)) throw new BackupError('internal', 'no method of the Admin API has such a name');
  if (!ARGUMENT.test(argument) || argument.length > MAX_ADMIN_ARGUMENT) {
    throw new BackupError(
      'usage',
      `${method}: Qubes OS has no property, feature, tag or volume of that name`,
    );
  }
  if (!DESTINATION.test(destination)) throw new BackupError('usage', `${method}: this is no name of a VM`);
  const header = utf8(`${method}+${argument} dom0 name ${destination}\0`);
  const length = header.length + payload.length;
  if (length > MAX_ADMIN_REQUEST) {
    throw new BackupError(
      'limit',
      `${describeCall(request)}: ${length} bytes are more than the ${MAX_ADMIN_REQUEST} that qubesd takes`,
    );
  }
  return Buffer.concat([header, payload]);
}

/**
 * The content of qubesd's answer. Throws {@link AdminError} for a refusal, `timeout` after `timeout` milliseconds, `limit`
 * for an answer beyond MAX_ADMIN_ANSWER, `protocol` for one that is none, `io` where there is no qubesd.
 */
export async function callQubesd(
  socketPath: string,
  request: AdminRequest,
  timeout: number,
): Promise<Uint8Array> {
  const what = describeCall(request);
  const bytes = encodeRequest(request);
  const socket = connect({ path: socketPath, allowHalfOpen: true });
  try {
    const answer = await within(timeout, exchange(socket, socketPath, bytes, what), () => {
      return new BackupError(
        'timeout',
        `${what}: no answer of qubesd within ${Math.ceil(timeout / 1000)} s. Look at "systemctl status qubesd" and ` +
          `"journalctl -u qubesd" in dom0; if it hangs, "systemctl restart qubesd" leaves running VMs alone`,
      );
    });
    return contentOf(what, answer);
  } finally {
    socket.destroy();
  }
}

/** Sends `request` and reads to the end of the answer. */
function exchange(socket: Socket, path: string, request: Uint8Array, what: string): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const pieces: Uint8Array[] = [];
    let connected = false;
    socket.on('connect', () => {
      connected = true;
      socket.end(request);
    });
    socket.on('data', (piece: Uint8Array) => {
      pieces.push(piece);
      if (lengthOf(pieces) > MAX_ADMIN_ANSWER)
        reject(new BackupError('limit', `${what}: qubesd answered more than ${MAX_ADMIN_ANSWER} bytes`));
    });
    socket.on('end', () => resolve(Buffer.concat(pieces)));
    socket.on('error', (cause) => {
      // qubesd aborts the connection of what it refuses without a word: reading it or writing to it fails then.
      if (connected && isAbort(cause)) resolve(Buffer.concat(pieces));
      else reject(unreachable(path, what, cause));
    });
  });
}

/** True of the error with which a connection ends that qubesd aborted. */
export function isAbort(error: unknown): boolean {
  return ['ECONNRESET', 'EPIPE'].includes(systemCode(error) ?? '');
}

/** The bytes after `0\0`. Throws what an answer says that is none. */
export function contentOf(what: string, answer: Uint8Array): Uint8Array {
  if (answer.length === 0) throw new AdminError(what, EMPTY_ANSWER, '');
  if (answer[1] === 0 && answer[0] === HEADER_OK) return answer.subarray(2);
  if (answer[1] === 0 && answer[0] === HEADER_EXCEPTION) throw exceptionOf(what, answer.subarray(2));
  throw new BackupError('protocol', `${what}: qubesd's answer is none of the Admin API`);
}

/** `TYPE\0TRACEBACK\0MESSAGE\0`; the traceback is empty in production, and not ours to show. */
function exceptionOf(what: string, fields: Uint8Array): Error {
  const [type, , message, end, ...more] = Buffer.from(fields).toString('latin1').split('\0');
  if (type === undefined || message === undefined || end !== '' || more.length > 0 || !/^\w+$/.test(type))
    return new BackupError('protocol', `${what}: qubesd's exception is none of the Admin API`);
  return new AdminError(what, type, Buffer.from(message, 'latin1').toString('utf8'));
}

export function unreachable(path: string, what: string, cause: unknown): BackupError {
  return new BackupError(
    'io',
    `${what}: cannot reach qubesd at ${path} (${messageOf(cause)}): is this dom0, may you use it, and does ` +
      `"systemctl status qubesd" say that it runs?`,
    { cause },
  );
}
