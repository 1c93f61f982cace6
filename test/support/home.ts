/** A home of the local driver for tests, and the command line run on it. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expectDocumented } from './documented.ts';
import { namespaces } from './needs.ts';
import { PROJECT, run } from './processes.ts';
import { tempFolder } from './temp.ts';

/** `auto`, or `none` where the machine forbids namespaces: everything but the isolation itself is tested all the same. */
export const SANDBOX = namespaces() === undefined ? 'auto' : 'none';

/** The command line. */
export const COMMAND = join(PROJECT, 'bin/qubes-backup');

/** What it passes to Node.js. */
export const NODE_FLAGS: readonly string[] =
  readFileSync(COMMAND, 'utf8')
    .split('\nexec ')[1]
    ?.match(/--[a-z-]+(?:=\d+)?/g) ?? [];

/** One event of --json. */
export type Event = Readonly<Record<string, unknown>> & { readonly event: string };

export interface Result {
  readonly code: number | null;
  readonly events: readonly Event[];
  readonly stdout: string;
  readonly stderr: string;
  /** The last event of this name; fails if there is none. */
  event(name: string): Event;
}

export class Home {
  readonly folder: string;
  readonly keyFile: string;
  readonly #command: string;

  /**
   * An empty home, a copy of `template`, or an existing one; removed when the running test finishes, unless `folder` is given.
   * `command`: another command line than COMMAND.
   */
  constructor(
    options: {
      readonly template?: Home;
      readonly folder?: string;
      readonly existing?: boolean;
      readonly command?: string;
    } = {},
  ) {
    this.#command = options.command ?? COMMAND;
    this.folder = options.folder ?? tempFolder();
    this.keyFile = join(this.folder, 'key-file');
    if (options.existing === true) return;
    if (options.template === undefined) mkdirSync(join(this.folder, 'vms'));
    else execFileSync('cp', ['-a', `${options.template.folder}/.`, this.folder]); // Node's own copy loses nanoseconds.
  }

  /** Gives VM `name` a UUID that a copy of this home keeps; `number`, 0 to 9, tells several apart. */
  identify(name: string, number = 1): void {
    const uuid = `00000000-0000-4000-8000-00000000000${number}`;
    writeFileSync(join(this.volume(name), '../vm.json'), JSON.stringify({ uuid }));
  }

  /** The private volume of VM `name`, created if needed. */
  volume(name: string): string {
    const folder = join(this.folder, 'vms', name, 'private');
    mkdirSync(folder, { recursive: true });
    return folder;
  }

  /** Writes `text` to a file of VM `name`'s volume. */
  write(name: string, path: string, text: string | Uint8Array): void {
    writeFileSync(join(this.volume(name), path), text);
  }

  read(name: string, path: string): string {
    return readFileSync(join(this.folder, 'vms', name, 'private', path), 'utf8');
  }

  get store(): string {
    return join(this.folder, 'storage', 'main', 'qubes-backup');
  }

  get state(): string {
    return join(this.folder, 'state');
  }

  /** Settings for this home, as lines of TOML. */
  configure(...lines: readonly string[]): void {
    writeFileSync(join(this.folder, 'config.toml'), `${lines.join('\n')}\n`);
  }

  /** Runs the command line with --json and the key file. */
  async run(...args: readonly string[]): Promise<Result> {
    return this.runWith(['--json', '--key-file', this.keyFile], ...args);
  }

  /** Runs the command line with other options than {@link run}'s. */
  async runWith(options: readonly string[], ...args: readonly string[]): Promise<Result> {
    const all = ['--local', this.folder, '--sandbox', SANDBOX, ...options, ...args];
    // In a session of its own it has no terminal to ask on, whoever runs the tests.
    const where = { cwd: this.folder, detached: true };
    const { code, stdout, stderr } = await run(this.#command, all, where);
    const text = stdout.toString('utf8');
    const lines = options.includes('--json') ? text.split('\n').filter((line) => line !== '') : [];
    const events = lines.map((line) => JSON.parse(line) as Event);
    expectDocumented(events);
    const event = (name: string): Event => {
      const found = events.findLast((candidate) => candidate.event === name);
      if (found === undefined)
        throw new Error(`no event ${name}; status ${code ?? 'none'}; ${stderr}${text}`);
      return found;
    };
    return { code, events, stdout: text, stderr, event };
  }

  /** {@link run}, which must end with `status`. */
  async expectRun(status: number, ...args: readonly string[]): Promise<Result> {
    const result = await this.run(...args);
    if (result.code === status) return result;
    throw new Error(
      `qubes-backup ${args.join(' ')} ended with ${result.code ?? 'a signal'}:\n${result.stderr}${result.stdout}`,
    );
  }
}
