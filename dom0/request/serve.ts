/**
 * A service of dom0: one request of a VM, by qrexec, to one short answer on stdout. The answer is all that the VM gets: qrexec hands
 * it this process's stderr as well, so nothing is ever written there.
 */

import { read, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import * as z from 'zod';
import { BackupError, isBackupError, messageOf, systemCode } from '../../shared/errors.ts';
import { REQUEST_FORM_TIMEOUT } from '../../shared/limits.ts';
import { App } from '../app.ts';
import { loadConfig } from '../config.ts';
import type { Config, ConfigOptions } from '../config.ts';
import { readKeyFile } from '../keys/secret.ts';
import { openDomains, stopOnSignal } from '../run.ts';
import { makePrivateFolder } from '../state/files.ts';
import { lockFolder } from '../state/lock.ts';
import { RequestLog } from './log.ts';
import { answerTo, perform, start } from './perform.ts';
import type { Answer } from './perform.ts';
import { Rates } from './rates.ts';
import { readAction, readForm, readInvocation, readTarget } from './request.ts';
import type { Invocation } from './request.ts';

// The launcher forbids to compile text as code; so zod need not try.
z.config({ jitless: true });

const INSTALLED: ConfigOptions = { file: undefined, localHome: undefined, sandbox: undefined };

type Work = (app: App, rates: Rates) => Promise<Answer>;

/**
 * `qubes.BackupRequest`: a VM asks for its own backup, the list of its snapshots, or files of its own. `patience`: milliseconds that it
 * has to say which.
 */
export function answerRequest(options = INSTALLED, patience = REQUEST_FORM_TIMEOUT): Promise<void> {
  return serve(options, async ({ caller, argument }) => {
    const action = readAction(argument);
    const asked =
      action === 'restore'
        ? ({ action, form: await readForm({ read: readStdin }, patience) } as const)
        : { action };
    return (app, rates) => perform(app, rates, caller, asked);
  });
}

/** `qubes.BackupStart`: a VM that the policy lets do so starts a backup of the VM named, or of all. */
export function answerStart(options = INSTALLED): Promise<void> {
  return serve(options, ({ caller, argument }) => {
    const target = readTarget(argument);
    return Promise.resolve((app, rates) => start(app, rates, caller, target));
  });
}

/** Answers one call, and says how it ended. Never rejects. */
async function serve(
  options: ConfigOptions,
  readWork: (invocation: Invocation) => Promise<Work>,
): Promise<void> {
  const { answer, late } = await answerOf(options, readWork).then(
    (answer) => ({ answer, late: false }),
    (error: unknown) => ({ answer: answerTo(error), late: isBackupError(error, 'timeout') }),
  );
  say(answer);
  process.exitCode = answer.ok ? 0 : 1;
  // What took too long may never end, such as a read of descriptor 0, and would keep this process as long.
  if (late) process.kill(process.pid, 'SIGKILL');
}

/** All of the request is read before anything is opened or locked for it. */
async function answerOf(
  options: ConfigOptions,
  readWork: (invocation: Invocation) => Promise<Work>,
): Promise<Answer> {
  const config = loadConfig(options);
  const { keyFile } = config.requests ?? {};
  if (keyFile === undefined)
    return { ok: false, lines: ['refused: requests are not enabled on this machine'] };
  let work: Work, caller: string;
  try {
    const invocation = readInvocation(process.env);
    caller = invocation.caller;
    work = await readWork(invocation);
  } catch (error) {
    if (!isBackupError(error, 'protocol')) throw error;
    return { ok: false, lines: ['refused: no such request'] };
  }
  return workOn(config, keyFile, caller, work);
}

/** Throws `locked` if another request is being answered. */
async function workOn(config: Config, keyFile: string, caller: string, work: Work): Promise<Answer> {
  const own = join(config.stateFolder, 'requests');
  makePrivateFolder(own);
  const unlock = await lockFolder(own);
  const log = new RequestLog(join(own, 'log'), caller);
  try {
    const app = new App({
      config,
      domains: openDomains(config, (text) => log.warn(text)),
      output: log,
      secrets: () => Promise.resolve([readKeyFile(keyFile)]),
      trust: { acceptRoot: undefined, expectRoot: undefined },
    });
    const stopListening = stopOnSignal(app);
    try {
      const answer = await work(app, new Rates(own));
      log.line(answer.lines[0] ?? '');
      return answer;
    } finally {
      stopListening();
      await app.close();
    }
  } catch (error) {
    // What costs a VM nothing leaves no trace: else it could push what matters out of the log.
    if (!isBackupError(error, 'limit', 'locked')) log.error(messageOf(error));
    throw error;
  } finally {
    log.close();
    await unlock();
  }
}

const readFd = promisify(read);

/** Milliseconds between tries on a descriptor that qrexec made non-blocking. */
const RETRY = 5;

async function readStdin(target: Uint8Array): Promise<number> {
  for (;;) {
    try {
      return (await readFd(0, target, 0, target.length, null)).bytesRead;
    } catch (cause) {
      if (systemCode(cause) !== 'EAGAIN') throw cause;
    }
    await delay(RETRY);
  }
}

/** The answer fits into what a socket holds, so a VM that does not read it keeps nobody waiting. */
function say({ lines }: Answer): void {
  try {
    writeSync(1, `${lines.join('\n')}\n`);
  } catch (cause) {
    if (systemCode(cause) === undefined) throw new BackupError('internal', messageOf(cause), { cause });
  }
}
