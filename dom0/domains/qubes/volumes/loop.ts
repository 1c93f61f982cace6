/** Loop devices: what makes a block device, which dom0 offers to VMs, of an image or of a device that it does not offer. */

import { realpath } from 'node:fs/promises';
import { basename } from 'node:path';
import * as z from 'zod';
import { BackupError, systemCode } from '../../../../shared/errors.ts';
import type { Journal, StepKind, Transaction, Undone } from '../journal.ts';
import { parseOutput } from '../tools/tools.ts';
import type { ToolRunner } from '../tools/tools.ts';
import { until } from './patience.ts';

const loopData = z.strictObject({
  vm: z.string(),
  /** Of an image of ours, a snapshot of ours, or the volume of a temporary VM; without symlinks, as the kernel names it. */
  file: z.string().startsWith('/'),
});
type LoopData = z.output<typeof loopData>;

const listing = z.strictObject({
  loopdevices: z.array(
    z.strictObject({
      name: z.string().regex(/^\/[\x21-\x7e]*\/loop[0-9]+$/),
      'back-file': z.nullable(z.string()),
    }),
  ),
});

export class Loops {
  readonly #tools: ToolRunner;
  readonly #patience: number;
  readonly #loops: StepKind<LoopData>;

  constructor(tools: ToolRunner, journal: Journal, patience: number) {
    this.#tools = tools;
    this.#patience = patience;
    this.#loops = journal.register({
      name: 'loop',
      schema: loopData,
      survivesReboot: false,
      undo: (data) => this.#detach(data),
    });
  }

  /** A new loop device over `path`, which may take a moment to appear. Answers its port: `loop5`. */
  async attach(vm: string, path: string, writable: boolean, transaction: Transaction): Promise<string> {
    const subject = `VM ${vm}`;
    const file = await until(() => resolved(path), this.#patience);
    if (file === undefined)
      throw new BackupError(
        'timeout',
        `${subject}: ${path} did not appear within ${this.#patience / 1000} s: see the journal of udev, and try again`,
      );
    await transaction.write(this.#loops, { vm, file });
    const options = writable ? [] : ['--read-only'];
    const said = await this.#tools.run('losetup', ['--find', '--show', ...options, '--', file], { subject });
    const [device = ''] = said.split('\n');
    const port = basename(device);
    if (/^loop[0-9]+$/.test(port)) return port;
    throw new BackupError(
      'io',
      `${subject}: losetup did not say which device it made: see \`losetup --list\``,
    );
  }

  async #detach({ vm, file }: LoopData): Promise<Undone> {
    const subject = `VM ${vm}`;
    const said = await this.#tools.run('losetup', ['--list', '--json', '--output', 'NAME,BACK-FILE'], {
      subject,
    });
    // It says nothing at all where there are none.
    const { loopdevices } =
      said.trim() === '' ? { loopdevices: [] } : parseOutput('losetup', subject, said, listing);
    const ours = loopdevices.filter((device) => device['back-file'] === file).map(({ name }) => name);
    for (const name of ours) await this.#tools.run('losetup', ['--detach', name], { subject });
    if (ours.length === 0) return { outcome: 'nothing', line: `no loop device is over ${file}` };
    return { outcome: 'undone', line: `detached ${ours.join(', ')}, which was over ${file} for VM ${vm}` };
  }
}

async function resolved(path: string): Promise<string | undefined> {
  try {
    return await realpath(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
