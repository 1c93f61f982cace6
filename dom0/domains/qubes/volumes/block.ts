/**
 * Block devices of dom0 in a disposable, by qvm-block: the wire format of devices changed between releases, its command line did
 * not. Of its listing only the row of a device of ours is read; it lists dom0's devices, no other VM's.
 */

import * as z from 'zod';
import { BackupError } from '../../../../shared/errors.ts';
import type { Journal, StepKind, Transaction, Undone } from '../journal.ts';
import type { ToolRunner } from '../tools/tools.ts';
import { until } from './patience.ts';

const PORT = /^(?:loop|dm-)[0-9]+$/;
const attachmentData = z.strictObject({
  vm: z.string(),
  disposable: z.string().regex(/^[A-Za-z][A-Za-z0-9_-]{0,30}$/),
  port: z.string().regex(PORT),
});
type AttachmentData = z.output<typeof attachmentData>;

/** A device of dom0 as qvm-block lists it: the VMs that have it, each with where. */
type Frontends = ReadonlyMap<string, { readonly device: string | undefined; readonly readOnly: boolean }>;

export class Blocks {
  readonly #tools: ToolRunner;
  readonly #patience: number;
  readonly #attachments: StepKind<AttachmentData>;

  constructor(tools: ToolRunner, journal: Journal, patience: number) {
    this.#tools = tools;
    this.#patience = patience;
    this.#attachments = journal.register({
      name: 'attachment',
      schema: attachmentData,
      survivesReboot: false,
      undo: (data) => this.#detach(data),
    });
  }

  /** Gives a running disposable the device `dom0:PORT`, once it is offered. Answers where it has it: `/dev/xvdi`. */
  async attach(
    { vm, disposable, port }: AttachmentData,
    writable: boolean,
    transaction: Transaction,
  ): Promise<string> {
    const subject = `VM ${vm}`;
    if ((await until(() => this.#frontends(subject, port), this.#patience)) === undefined)
      throw new BackupError(
        'timeout',
        `${subject}: dom0 does not offer its device ${port} to VMs: see \`qvm-block list\`, and whether something has it open or mounted`,
      );
    await transaction.write(this.#attachments, { vm, disposable, port });
    const options = writable ? [] : ['--ro'];
    await this.#tools.run('qvm-block', ['attach', ...options, disposable, `dom0:${port}`], { subject });
    const frontend = (await this.#frontends(subject, port))?.get(disposable);
    if (frontend?.device === undefined)
      throw new BackupError(
        'io',
        `${subject}: qvm-block does not say where ${disposable} has the device ${port}: see \`qvm-block list\``,
      );
    if (frontend.readOnly === writable)
      throw new BackupError(
        'io',
        `${subject}: ${disposable} was to have the device ${port} ${writable ? 'writable' : 'read-only'} and has it otherwise`,
      );
    return `/dev/${frontend.device}`;
  }

  async #detach({ vm, disposable, port }: AttachmentData): Promise<Undone> {
    const subject = `VM ${vm}`;
    if ((await this.#frontends(subject, port))?.has(disposable) !== true)
      return { outcome: 'nothing', line: `${disposable} has no device ${port}` };
    await this.#tools.run('qvm-block', ['detach', disposable, `dom0:${port}`], { subject });
    return { outcome: 'undone', line: `took the device ${port} of VM ${vm} from ${disposable}` };
  }

  /** Who has a device; undefined if it is not offered. */
  async #frontends(subject: string, port: string): Promise<Frontends | undefined> {
    const said = await this.#tools.run('qvm-block', ['list', 'dom0'], { subject });
    const row = said.split('\n').find((line) => line.split(' ', 1)[0] === `dom0:${port}`);
    return row === undefined ? undefined : parseFrontends(row);
  }
}

/** `NAME (read-only=yes, frontend-dev=xvdi)`, after a description and a comma each; from 4.3 `NAME (attached: …)`. */
function parseFrontends(row: string): Frontends {
  const found = new Map<string, { device: string | undefined; readOnly: boolean }>();
  for (const [, name = '', text = ''] of row.matchAll(
    / ([A-Za-z][A-Za-z0-9_-]*) \((?:attached: )?([^()]*)\)/g,
  )) {
    const options = new Map(
      text.split(', ').map((option) => option.split('=', 2) as [string, string | undefined]),
    );
    const device = options.get('frontend-dev');
    found.set(name, {
      device: device !== undefined && /^(?:xvd|sd)[a-z]{1,2}$/.test(device) ? device : undefined,
      readOnly: options.get('read-only') === 'yes',
    });
  }
  return found;
}
