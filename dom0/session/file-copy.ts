/**
 * A call of `qubes.Filecopy`: a stream that dom0 passes on unread, and the receiver's answer, which may come at any
 * time. Of the answer dom0 takes two numbers and a name, by their fixed places, and shows the name escaped.
 */

import { getSystemErrorName } from 'node:util';
import { byteString, escapeText } from '../../shared/bytes.ts';
import { BackupError, isBackupError, messageOf } from '../../shared/errors.ts';
import type { ErrorCode } from '../../shared/errors.ts';
import { EXIT_TIMEOUT, MAX_SHOWN_NAME, RECEIVER_TIMEOUT } from '../../shared/limits.ts';
import { exitText } from '../call.ts';
import type { ServiceCall } from '../domains/domains.ts';
import { within } from '../timeout.ts';

/** Error code (u32), padding (u32), CRC-32 (u64), little endian; newer receivers add a length (u32) and the last name. */
const ANSWER_SIZE = 16;
const NAME_AT = 20;
/** The longest name that the format knows. */
const MAX_NAME = 16_384;

/** What a receiver's errno means to the person who asked for the copy: a class, and what to do. */
const REASONS: Readonly<Record<number, readonly [ErrorCode, (name: string) => string]>> = {
  1: ['service-failed', (name) => `may not write ${name}`],
  13: [
    'service-failed',
    (name) => `may not write ${name}: a folder in the way is closed; move it away there`,
  ],
  17: ['vm-exists', (name) => `has ${name} in its QubesIncoming already: move it away there, and try again`],
  20: ['vm-exists', (name) => `has something else than a folder in the way of ${name}: move it away there`],
  22: ['service-failed', (name) => `says that the stream is wrong at ${name}`],
  28: ['store-full', (name) => `has no room for ${name}: make room there, or enlarge its private volume`],
  36: [
    'service-failed',
    (name) => `finds the name ${name} too long: extract --tar, or a folder further down`,
  ],
  40: ['vm-exists', (name) => `has a symlink in the way of ${name}: move it away there`],
  84: [
    'service-failed',
    (name) => `refuses the name or the target of ${name}: leave it out, or extract --tar`,
  ],
  122: ['store-full', (name) => `is over its quota at ${name}: make room there`],
};

export class FileCopy {
  readonly #call: ServiceCall;
  readonly #patience: number;
  readonly #answer: Promise<Buffer>;
  /** True once the answer is there: whatever it says, the receiver takes no more. */
  #answered = false;

  constructor(call: ServiceCall) {
    this.#call = call;
    this.#patience = call.idleTimeout ?? RECEIVER_TIMEOUT;
    this.#answer = this.#readAnswer();
    // A write that waits for a receiver which gave up must not wait on. Whoever waits for the answer reports it.
    this.#answer.then(
      (answer) => {
        if (this.#failureOf(answer) !== undefined) call.kill();
      },
      () => call.kill(),
    );
  }

  /** Passes on a piece of the stream. Throws what the receiver answered if it gave up. */
  async write(piece: Uint8Array): Promise<void> {
    if (this.#answered) throw await this.#gaveUp();
    try {
      await this.#patiently(this.#call.io.write([piece]));
    } catch (error) {
      if (isBackupError(error, 'timeout')) throw error;
      throw await this.#gaveUp(); // A broken pipe: what the receiver said before it went away explains more.
    }
  }

  /** Waits for the answer to the whole stream, whose CRC-32 the sender says to be `crc`. */
  async finish(crc: number): Promise<void> {
    const answer = await this.#patiently(this.#answer);
    const failure = this.#failureOf(answer);
    if (failure !== undefined) throw failure;
    if (Number(answer.readBigUInt64LE(8)) !== crc) {
      throw new BackupError(
        'verify-failed',
        `${this.#call.peer} received something else than was sent: remove what it got, and try again`,
      );
    }
    this.#call.hangUp();
    const exit = await within(EXIT_TIMEOUT, this.#call.exited, () => this.#silent());
    if (exit.code !== 0)
      throw new BackupError(
        'service-died',
        `${this.#call.peer} ended with ${exitText(exit)} after its answer`,
      );
  }

  /** Ends the call, in any state; it is over when this resolves. */
  async abort(): Promise<void> {
    this.#call.kill();
    await this.#call.exited;
  }

  /** Why the receiver ended before the stream did. */
  async #gaveUp(): Promise<BackupError> {
    try {
      const failure = this.#failureOf(await this.#patiently(this.#answer));
      return failure ?? new BackupError('protocol', `${this.#call.peer} answered before it had everything`);
    } catch (error) {
      return error instanceof BackupError ? error : new BackupError('service-died', messageOf(error));
    }
  }

  /** All of what the receiver writes, which is little. */
  async #readAnswer(): Promise<Buffer> {
    const untrusted = Buffer.alloc(NAME_AT + MAX_NAME + 1);
    let length = 0;
    for (;;) {
      const count = await this.#call.io.read(untrusted.subarray(length));
      if (count === 0) break;
      length += count;
      if (length === untrusted.length)
        throw new BackupError('protocol', `${this.#call.peer} answers too much`);
    }
    this.#answered = true;
    const named = length >= NAME_AT && length === NAME_AT + untrusted.readUInt32LE(ANSWER_SIZE);
    if (length !== ANSWER_SIZE && !named) throw await this.#noAnswer(length);
    return untrusted.subarray(0, length);
  }

  async #noAnswer(length: number): Promise<BackupError> {
    const exit = await within(EXIT_TIMEOUT, this.#call.exited, () => this.#silent());
    const said = this.#call.stderr().trim();
    const what = length === 0 ? 'ended without an answer' : 'gave an answer that is none';
    return new BackupError(
      length === 0 ? 'service-died' : 'protocol',
      `${this.#call.peer} ${what} (${exitText(exit)}${said === '' ? '' : `; it said: ${said}`})`,
    );
  }

  #failureOf(answer: Buffer): BackupError | undefined {
    const errno = answer.readUInt32LE(0);
    if (errno === 0) return undefined;
    const untrustedName = byteString(answer.subarray(NAME_AT, NAME_AT + MAX_SHOWN_NAME));
    const name = untrustedName === '' ? 'a file' : escapeText(untrustedName);
    const [code, reason] = REASONS[errno] ?? [
      'service-failed',
      () => `failed at ${name} (${nameOfErrno(errno)})`,
    ];
    return new BackupError(code, `${this.#call.peer} ${reason(name)}`);
  }

  #patiently<T>(work: Promise<T>): Promise<T> {
    return within(this.#patience, work, () => this.#silent());
  }

  #silent(): BackupError {
    const seconds = Math.round(this.#patience / 1000);
    return new BackupError(
      'timeout',
      `${this.#call.peer} took nothing and said nothing for ${seconds} s: is that VM paused, or its disk full?`,
    );
  }
}

function nameOfErrno(errno: number): string {
  // getSystemErrorName() knows the errors of this machine, which are those of the VM; others it refuses.
  return errno < 4096 ? getSystemErrorName(-errno) : `code ${errno}`;
}
