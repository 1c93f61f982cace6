/**
 * rclone as a child: `rclone rcd` on a free port of loopback, by a random name and password that only its environment has. One for
 * each process of a service, started at its first call, and killed with that process however it ends.
 */

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { createInterface } from 'node:readline';
import { BackupError, messageOf } from '../../shared/errors.ts';
import { Transient } from './remote.ts';

/** Milliseconds until it listens, and without an answer to a call: rclone repeats what fails for some time itself. */
const START_TIMEOUT = 30_000;
const CALL_TIMEOUT = 120_000;
/** Longest answer to a call, in bytes: the names of a shard of 300 million objects. */
const MAX_ANSWER = 256 * 1024 * 1024;
/** What it says once it listens. It is our own child, on a pipe of ours. */
const LISTENS = /Serving remote control on (http:\/\/127\.0\.0\.1:\d+)\//;

/** What is sent with a request that is no plain reading. */
export interface RclonePost {
  readonly method?: 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: FormData | string;
}

export interface RcloneDaemonOptions {
  /** Milliseconds. */
  readonly callTimeout?: number | undefined;
  /**
   * The folder where rclone keeps an object on its way to a remote that has to be told its size first. What one that is killed
   * leaves there is sealed.
   */
  readonly temporary?: string;
}

interface Running {
  readonly url: string;
  readonly authorization: string;
}

export class RcloneDaemon {
  readonly #config: string;
  readonly #callTimeout: number;
  readonly #temporary: string;
  #child: ChildProcess | undefined;
  #running: Promise<Running> | undefined;

  /** `config`: rclone's configuration file; it need not exist. */
  constructor(
    config: string,
    { callTimeout = CALL_TIMEOUT, temporary = tmpdir() }: RcloneDaemonOptions = {},
  ) {
    this.#config = config;
    this.#callTimeout = callTimeout;
    this.#temporary = temporary;
  }

  /** The process id of the child, while there is one. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Ends the child. The end of this process does so, too. */
  stop(): void {
    this.#child?.kill('SIGKILL');
    this.#child = undefined;
    this.#running = undefined;
  }

  /** Sends a request. Throws {@link Transient} if there is no answer. */
  async request(path: string, init: RclonePost = {}): Promise<Response> {
    this.#running ??= this.#start();
    const { url, authorization } = await this.#running;
    try {
      return await fetch(`${url}/${path}`, {
        ...init,
        headers: { ...init.headers, authorization },
        redirect: 'error',
        signal: AbortSignal.timeout(this.#callTimeout),
      });
    } catch (cause) {
      throw new Transient(
        new BackupError(
          'store-missing',
          `rclone in the storage VM does not answer: ${messageOf(cause)}. ` +
            'Look with "rclone lsd" there whether the remote does, and try again later',
          { cause },
        ),
      );
    }
  }

  async #start(): Promise<Running> {
    const [user, password] = [randomBytes(16).toString('hex'), randomBytes(32).toString('hex')];
    const rclone = [
      ...['rclone', 'rcd', '--rc-addr', '127.0.0.1:0', '--rc-serve', '--config', this.#config],
      ...['--temp-dir', this.#temporary],
      ...['--ask-password=false', '--contimeout', '15s', '--timeout', '30s', '--low-level-retries', '3'],
    ];
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...rclone], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: {
        PATH: process.env['PATH'],
        HOME: process.env['HOME'],
        LANG: 'C',
        RCLONE_RC_USER: user,
        RCLONE_RC_PASS: password,
      },
    });
    this.#child = child;
    const kill = () => child.kill('SIGKILL');
    process.once('exit', kill);
    child.once('exit', () => {
      process.off('exit', kill);
      if (this.#child === child) this.stop(); // The next attempt starts another one.
    });
    const url = await listening(child);
    // From here on it keeps nobody awake: the process ends when its work is done.
    child.unref();
    const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
    return { url, authorization };
  }
}

/** The URL at which `child` listens. */
async function listening(child: ChildProcess): Promise<string> {
  const { stderr } = child;
  if (stderr === null) throw new BackupError('internal', 'a child has no stderr');
  let said = '';
  const url = new Promise<string>((resolve) => {
    createInterface({ input: stderr }).on('line', (line) => {
      said = line;
      const found = LISTENS.exec(line)?.[1];
      if (found !== undefined) resolve(found);
    });
  });
  const ended = once(child, 'exit').then(
    () => `it ended, ${said}`,
    (error: unknown) => messageOf(error),
  );
  const late = AbortSignal.timeout(START_TIMEOUT);
  const result = await Promise.race([
    url.then((found) => ({ found, why: '' })),
    ended.then((why) => ({ found: undefined, why })),
    once(late, 'abort').then(() => ({ found: undefined, why: `no answer within ${START_TIMEOUT} ms` })),
  ]);
  // Whatever it says later goes nowhere, must not fill the pipe, and keeps nobody awake.
  if (stderr instanceof Socket) stderr.unref();
  if (result.found !== undefined) return result.found;
  child.kill('SIGKILL');
  throw new BackupError(
    'usage',
    `cannot run rclone in the storage VM, install the packages rclone and util-linux there: ${result.why}`,
  );
}

/** All of an answer, as it is. */
export async function readAnswer(answer: Response, max = MAX_ANSWER): Promise<Uint8Array | 'too large'> {
  const expected = Number(answer.headers.get('content-length') ?? NaN);
  if (expected > max) {
    await answer.body?.cancel();
    return 'too large';
  }
  const pieces: Uint8Array[] = [];
  let size = 0;
  try {
    const body: ReadableStream<Uint8Array> | null = answer.body;
    const reader = body?.getReader();
    for (let next = await reader?.read(); next?.done === false; next = await reader?.read()) {
      size += next.value.length;
      pieces.push(next.value);
      if (size <= max) continue;
      await reader?.cancel();
      return 'too large';
    }
  } catch (cause) {
    throw new Transient(
      new BackupError('io', `an answer of rclone in the storage VM was cut off: ${messageOf(cause)}`, {
        cause,
      }),
    );
  }
  if (!Number.isNaN(expected) && size !== expected)
    throw new Transient(
      new BackupError('io', `an answer of rclone ended after ${size} of ${expected} bytes`),
    );
  return Buffer.concat(pieces);
}
