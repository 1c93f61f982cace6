/** A program on a terminal of its own, inside tmux: its screen as a person sees it, keys as a person presses them. */

import { execFile } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { onTestFinished } from 'vitest';
import { COMMAND, SANDBOX } from './home.ts';
import type { Home } from './home.ts';
import { program } from './needs.ts';
import { waitFor } from './processes.ts';
import { tempFolder } from './temp.ts';

const execute = promisify(execFile);

/** Why tests on it cannot run here. */
export const NO_TMUX = program('tmux');

/** The last screen stays when the program has ended; nothing of tmux's own is on it. */
const SETTINGS = ['remain-on-exit on', 'status off', 'escape-time 0', 'default-terminal screen'];

/**
 * Runs a command in the foreground and keeps its status in the file $0. Ctrl-C is the command's alone. It begins below the first row, as
 * below a prompt: what is cleared from the first row on tmux keeps among what has scrolled.
 */
const KEEP_STATUS = `trap : INT; echo; "$@"; echo $? >"$0.new"; mv "$0.new" "$0"`;

/** Milliseconds for what a machine that is busy with other tests may take. */
const PATIENCE = 90_000;

export interface TerminalOptions {
  readonly columns?: number;
  readonly rows?: number;
  readonly environment?: Readonly<Record<string, string>>;
}

export class TmuxTerminal {
  readonly #socket: string;
  /** Where the program's status is found when it has ended: tmux 3.3 does not always learn of it. */
  readonly #status: string;

  private constructor(folder: string) {
    this.#socket = join(folder, 'socket');
    this.#status = join(folder, 'status');
  }

  /** Starts `command` on a terminal of its own, which is gone when the running test finishes. */
  static async start(
    command: readonly string[],
    { columns = 110, rows = 24, environment = {} }: TerminalOptions = {},
  ): Promise<TmuxTerminal> {
    const folder = tempFolder();
    const settings = join(folder, 'tmux.conf');
    writeFileSync(settings, SETTINGS.map((line) => `set -g ${line}\n`).join(''));
    const terminal = new TmuxTerminal(folder);
    onTestFinished(async () => {
      await terminal.#tmux('kill-server').catch(() => undefined); // It never started.
    });
    const variables = Object.entries(environment).flatMap(([name, value]) => ['-e', `${name}=${value}`]);
    const size = ['-x', String(columns), '-y', String(rows)];
    await terminal.#tmux(
      '-u',
      '-f',
      settings,
      'new-session',
      '-d',
      ...size,
      ...variables,
      ...['--', 'sh', '-c', KEEP_STATUS, terminal.#status, ...command],
    );
    return terminal;
  }

  /** `qubes-backup ARGS` on `home`, which asks for its passphrase unless `args` give a secret. */
  static run(home: Home, args: readonly string[], options?: TerminalOptions): Promise<TmuxTerminal> {
    return TmuxTerminal.start([COMMAND, '--local', home.folder, '--sandbox', SANDBOX, ...args], options);
  }

  /** What is on the screen, a line of it a line; with `history` what has scrolled out of it before. */
  async screen(history = false): Promise<string> {
    return this.#tmux('capture-pane', '-p', '-J', ...(history ? ['-S', '-'] : []));
  }

  /** The screen with its attributes, as escape sequences. */
  colours(): Promise<string> {
    return this.#tmux('capture-pane', '-p', '-e', '-S', '-');
  }

  /** Presses keys, by tmux's names for them (`Enter`, `Down`, `C-c`). */
  async press(...keys: readonly string[]): Promise<void> {
    await this.#tmux('send-keys', ...keys);
  }

  /** Types `text` as it is. */
  async type(text: string): Promise<void> {
    await this.#tmux('send-keys', '-l', '--', text);
  }

  async resize(columns: number, rows: number): Promise<void> {
    await this.#tmux('resize-window', '-x', String(columns), '-y', String(rows));
  }

  /** Waits until the screen shows all of `texts`, and answers it. */
  async see(...texts: readonly (string | RegExp)[]): Promise<string> {
    return this.when(
      (screen) =>
        texts.every((text) => (typeof text === 'string' ? screen.includes(text) : text.test(screen))),
      texts.join(', '),
    );
  }

  /** Waits until `condition` holds of the screen, and answers it. */
  async when(condition: (screen: string) => boolean, what: string): Promise<string> {
    let screen = '';
    await waitFor(async () => condition((screen = await this.screen())), what, PATIENCE).catch(
      (error: unknown) => {
        throw new Error(`${String(error)}; the screen shows:\n${screen}`);
      },
    );
    return screen;
  }

  /** Waits until the program has ended; answers its status, as a shell has it: 128 and its number for a signal. */
  async ended(): Promise<number> {
    // Once the pane is dead, all that was written is on the screen.
    const isOver = async () =>
      existsSync(this.#status) && (await this.#tmux('display-message', '-p', '#{pane_dead}')).trim() === '1';
    await waitFor(isOver, 'the end of the program', PATIENCE).catch(async (error: unknown) => {
      throw new Error(`${String(error)}; the screen shows:\n${await this.screen()}`);
    });
    return Number(readFileSync(this.#status, 'utf8'));
  }

  /** The id of the program, which runs. */
  async pid(): Promise<number> {
    const shell = Number(await this.#tmux('display-message', '-p', '#{pane_pid}'));
    const [pid] = readFileSync(`/proc/${shell}/task/${shell}/children`, 'latin1').split(' ');
    return Number(pid);
  }

  async #tmux(...args: readonly string[]): Promise<string> {
    const { stdout } = await execute('tmux', ['-S', this.#socket, ...args], { encoding: 'utf8' });
    return stdout;
  }
}
