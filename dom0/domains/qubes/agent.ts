/**
 * The program's part in a disposable, the agent: the very one that dom0 has beside its own. A disposable whose template lacks it, or has
 * another, is given it before anything is attached; it is gone with the disposable.
 */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BackupError, messageOf } from '../../../shared/errors.ts';
import type { VmName } from '../../../shared/ids.ts';
import { within } from '../../timeout.ts';
import type { ServiceCall } from '../domains.ts';
import { agentArchive } from './agent-archive.ts';
import type { QubesCalls } from './service-call.ts';

/** Which agent is installed: a line of its own, `VERSION-HASH`, as packaging/contents.ts makes it. */
const ASK = 'qubes.BackupAgent';
const ID = /^[0-9A-Za-z.-]{1,64}\n$/;
const ID_FILE = 'services/dvm/agent';
/** `tar -xf - -C /`, as every VM of Qubes OS takes a command; run as root. The policy names it to the letter. */
const UNPACK = { service: 'qubes.VMExec', argument: 'tar+--xf+--+--C+-2F' };
const NO_SUCH_SERVICE = 127;

/** Milliseconds: for an answer, and for some 140 MB into a VM that has just started. */
const PATIENCE = { ask: 60_000, copy: 10 * 60_000 };

/** What to know of a disposable. */
export interface AgentHost {
  readonly name: VmName;
  /** What it was made of, for messages. */
  readonly template: string;
  /** What the policy knows of it. */
  readonly vm: { readonly klass: string; readonly tags: readonly string[] };
  /** Seconds. */
  readonly connectTimeout: number;
}

export interface AgentOptions {
  readonly calls: Pick<QubesCalls, 'call'>;
  /** The program's folder in dom0. */
  readonly program: string;
  readonly warn: (text: string) => void;
  /** For tests. */
  readonly patience?: typeof PATIENCE;
}

export class Agent {
  readonly #options: AgentOptions;
  readonly #patience: typeof PATIENCE;
  /** What templates lack, of which that was said. */
  readonly #told = new Map<string, string>();

  constructor(options: AgentOptions) {
    this.#options = options;
    this.#patience = options.patience ?? PATIENCE;
  }

  /** Makes sure that `host`, which has just started, has dom0's own agent. Throws if it cannot be, and the host is of no use then. */
  async ensure(host: AgentHost): Promise<void> {
    const own = await this.#ownId();
    const found = await this.#ask(host);
    if (found === own) return;
    this.#tell(host.template, found);
    await this.#copy(host);
    if ((await this.#ask(host)) === own) return;
    throw new BackupError(
      'refused',
      `${host.name} has another agent than dom0, also after it was given dom0's: install the package qubes-backup-dvm of dom0's ` +
        `version in the template of ${host.template}, or remove what is in the way of /usr/local/etc/qubes-rpc there`,
    );
  }

  /** What disposables of `template` lack, as far as any was started; undefined if nothing. */
  lacks(template: string): string | undefined {
    return this.#told.get(template);
  }

  #tell(template: string, found: string | undefined): void {
    if (this.#told.has(template)) return;
    const what = found === undefined ? 'has no agent' : `has the agent ${found.trim()}, which is not dom0's`;
    this.#told.set(template, what);
    this.#options.warn(
      `${template} ${what}: each disposable of it is given dom0's own; the package qubes-backup-dvm in its template saves that`,
    );
  }

  async #ownId(): Promise<string> {
    const file = join(this.#options.program, ID_FILE);
    try {
      const text = await readFile(file, 'latin1');
      if (ID.test(text)) return text;
    } catch (cause) {
      throw new BackupError('io', `${file}: ${messageOf(cause)}: install qubes-backup-dom0 anew`, { cause });
    }
    throw new BackupError('io', `${file} is damaged: install qubes-backup-dom0 anew`);
  }

  /** What it says it has; undefined if it has none. */
  async #ask(host: AgentHost): Promise<string | undefined> {
    const { name, connectTimeout, vm } = host;
    const { calls } = this.#options;
    const call = await calls.call({ service: ASK, argument: '', target: name, vm }, { connectTimeout });
    call.hangUp();
    const untrusted = await this.#ended(call, this.#patience.ask);
    if (untrusted.code === NO_SUCH_SERVICE) return undefined;
    if (untrusted.code === 0 && ID.test(untrusted.text)) return untrusted.text;
    throw new BackupError(
      'service-failed',
      `${call.peer} ended with ${String(untrusted.code)} and no sensible answer (${call.stderr()})`,
    );
  }

  async #copy(host: AgentHost): Promise<void> {
    const { name, connectTimeout, vm } = host;
    const { calls, program } = this.#options;
    const what = { ...UNPACK, target: name, vm };
    const call = await calls.call(what, { connectTimeout, user: 'root' });
    const sending = (async () => {
      for await (const piece of agentArchive(program)) await call.io.write([piece]);
      call.hangUp();
    })();
    sending.catch(() => undefined); // Whoever took no more has ended, and its status says why.
    const { code } = await this.#ended(call, this.#patience.copy);
    if (code !== 0)
      throw new BackupError(
        'service-failed',
        `${call.peer}: dom0's agent could not be copied to it (status ${String(code)}: ${call.stderr()}): ` +
          `install the package qubes-backup-dvm in the template of ${host.template}`,
      );
    await sending;
  }

  /** Waits for the end of `call`, and kills it if that takes too long, or if it says too much. Of that the beginning is kept. */
  async #ended(call: ServiceCall, patience: number): Promise<{ code: number | null; text: string }> {
    const late = () => new BackupError('timeout', `${call.peer} took more than ${patience / 1000} s`);
    try {
      const [text, { code }] = await within(patience, Promise.all([beginningOf(call), call.exited]), late);
      return { code, text };
    } finally {
      call.kill();
    }
  }
}

/** What it says, if that is short. */
async function beginningOf(call: ServiceCall): Promise<string> {
  const untrusted = Buffer.alloc(128);
  let length = 0;
  for (;;) {
    const count = await call.io.read(untrusted.subarray(length));
    length += count;
    if (length === untrusted.length) throw new BackupError('protocol', `${call.peer} says too much`);
    if (count === 0) return untrusted.toString('latin1', 0, length);
  }
}
