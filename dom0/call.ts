/** A session with a service, from dom0's side: opens it over a call, ends it properly, explains how it failed. */

import { BackupError, isBackupError } from '../shared/errors.ts';
import { IDLE_TIMEOUT, EXIT_TIMEOUT } from '../shared/limits.ts';
import type { FrameTable, Protocol } from '../shared/wire/frame.ts';
import { Session } from '../shared/wire/session.ts';
import type { SessionOptions } from '../shared/wire/session.ts';
import type { ServiceCall } from './domains/domains.ts';
import { within } from './timeout.ts';

type Exit = Awaited<ServiceCall['exited']>;

/** How a process ended: `status 1`, or the name of the signal that killed it. */
export function exitText({ code, signal }: Exit): string {
  return signal ?? `status ${String(code)}`;
}

export class Call<ToService extends FrameTable, ToCaller extends FrameTable> {
  readonly session: Session<ToCaller, ToService>;
  readonly #call: ServiceCall;

  constructor(
    call: ServiceCall,
    protocol: Protocol<ToService, ToCaller>,
    options: Pick<SessionOptions, 'window' | 'autoGrant' | 'answerTimeout' | 'maxBulkQueued'>,
  ) {
    this.#call = call;
    this.session = new Session(
      call.io,
      { incoming: protocol.toCaller, outgoing: protocol.toService },
      {
        ...options,
        peer: call.peer,
        idleTimeout: call.idleTimeout ?? IDLE_TIMEOUT,
        ...(options.answerTimeout === undefined
          ? {}
          : { answerTimeout: call.answerTimeout ?? options.answerTimeout }),
      },
    );
  }

  /** Exchanges final frames and waits for exit status 0. Success of a service is never assumed before this. */
  async finish(): Promise<void> {
    await this.session.finish();
    await this.session.drained();
    this.#call.hangUp();
    const exit = await within(EXIT_TIMEOUT, this.#call.exited, () => {
      return new BackupError('timeout', `${this.#call.peer} answered, but does not exit`);
    });
    if (exit.code !== 0) {
      throw new BackupError(
        'service-died',
        `${this.#call.peer} ended with ${exitText(exit)} after its last message`,
      );
    }
  }

  /** `error`, found after the conversation was over, as what this peer did. */
  blame(error: BackupError): BackupError {
    return new BackupError(error.code, `${this.#call.peer} ${error.message}`, { cause: error });
  }

  /** Ends the call at once. Safe to call in any state, any number of times. */
  abort(): void {
    this.session.fail(new BackupError('internal', 'was given up'));
    this.#call.kill();
  }

  /**
   * `error` with what is known of the service's end: its status and what it wrote to stderr. The call is over
   * afterwards.
   */
  async explain(error: unknown): Promise<BackupError> {
    const code = isBackupError(error) ? error.code : 'internal';
    const text = error instanceof Error ? error.message : String(error);
    if (!isBackupError(error, 'service-died', 'protocol', 'timeout')) {
      this.abort();
      return isBackupError(error) ? error : new BackupError(code, text, { cause: error });
    }
    if (isBackupError(error, 'timeout', 'protocol')) this.#call.kill();
    this.#call.hangUp();
    const ended = await within(
      LAST_WORDS,
      this.#call.exited,
      () => new BackupError('timeout', 'still running'),
    ).catch(() => undefined);
    this.abort();
    const parts: string[] = [];
    if (ended !== undefined && isBackupError(error, 'service-died')) {
      parts.push(`${ended.signal === null ? 'exit' : 'killed by'} ${exitText(ended)}`);
    }
    const stderr = this.#call.stderr().trim();
    if (stderr !== '') parts.push(`it said: ${stderr}`);
    return new BackupError(code, parts.length === 0 ? text : `${text} (${parts.join('; ')})`, {
      cause: error,
    });
  }
}

/** Milliseconds to wait for a failed service's exit status, for the message only. */
const LAST_WORDS = 2_000;
