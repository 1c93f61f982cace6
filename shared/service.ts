/**
 * The harness of every service: the one way in for data of another VM. A service file declares its protocol
 * and a handler; framing, caps, credit, pings, timeouts, the counted end and the exit code are done here.
 */

import { writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { BackupError, isBackupError, messageOf, systemCode } from './errors.ts';
import { SERVICE_IDLE_TIMEOUT, SERVICE_WINDOW, SESSION_TIMEOUT } from './limits.ts';
import { printableText } from './format.ts';
import { descriptorIo } from './wire/descriptor-io.ts';
import type { FrameTable, Protocol } from './wire/frame.ts';
import { Session } from './wire/session.ts';

/** Milliseconds that a failed service waits for its caller to hang up. */
const LAST_WORDS = 5_000;

/** The service's end of a session. */
export type ServiceSession<P extends Protocol> = Session<P['toService'], P['toCaller']>;

/** How the service was called (qrexec environment). */
export interface Invocation {
  /** The part after `+`, or the empty string. Characters were limited by qrexec, nothing else was checked. */
  readonly argument: string;
  /** The calling VM. */
  readonly caller: string;
}

/**
 * Serves one call on descriptors 0 and 1: runs `handler`, then exchanges final frames. The process exits 0
 * only if all of it worked, else 1 after telling the caller why.
 */
export async function serve<ToService extends FrameTable, ToCaller extends FrameTable>(
  protocol: Protocol<ToService, ToCaller>,
  handler: (session: Session<ToService, ToCaller>, invocation: Invocation) => Promise<void>,
): Promise<void> {
  const lifetime = setTimeout(() => kill('the session took longer than allowed'), SESSION_TIMEOUT);
  lifetime.unref();
  claimDescriptors();
  process.on('uncaughtException', (error) => kill(printableText(messageOf(error))));
  const session = new Session(
    descriptorIo(0, 1),
    { incoming: protocol.toService, outgoing: protocol.toCaller },
    { peer: 'the caller', window: SERVICE_WINDOW, idleTimeout: SERVICE_IDLE_TIMEOUT },
  );
  try {
    await handler(session, invocation());
    await session.finish();
    await session.drained();
  } catch (error) {
    const code = isBackupError(error) ? error.code : 'internal';
    const text = printableText(messageOf(error));
    process.exitCode = 1;
    log(text);
    const gone = Promise.allSettled([session.sendError(code, text), session.closed]).then(() => true);
    if (!(await Promise.race([gone, delay(LAST_WORDS, false, { ref: false })])))
      kill('the caller did not hang up');
  }
}

/**
 * Leaves descriptors 0 and 1 to the session alone: a package that imports `node:process` would make streams of them by that, which
 * fails on what is read already, and makes what is written non-blocking.
 */
function claimDescriptors(): void {
  for (const name of ['stdin', 'stdout']) Object.defineProperty(process, name, { value: undefined });
}

function invocation(): Invocation {
  const { QREXEC_SERVICE_ARGUMENT: argument = '', QREXEC_REMOTE_DOMAIN: caller = '' } = process.env;
  return { argument, caller };
}

/**
 * Ends the process at once. Not by `process.exit`: a write to descriptor 1, or a read of a file, that still blocks a thread of
 * the pool would hold it for ever.
 */
function kill(why: string): void {
  log(why);
  process.kill(process.pid, 'SIGKILL');
}

/** Says `text` on stderr, as far as somebody listens. */
function log(text: string): void {
  try {
    writeSync(2, `${text}\n`);
  } catch (cause) {
    if (systemCode(cause) === undefined) throw cause;
  }
}

/** Throws `protocol` unless `message` is the expected one. */
export function expect<M extends { readonly name: string }, Name extends M['name']>(
  message: M | undefined,
  name: Name,
): Extract<M, { name: Name }> {
  if (message?.name === name) return message as Extract<M, { name: Name }>;
  throw new BackupError('protocol', `expected ${name}, got ${message?.name ?? 'the end'}`);
}
