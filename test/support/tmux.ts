/** A program on a terminal of its own, inside tmux: its screen as a person sees it, keys as a person presses them. */

import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
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

/** Milliseconds for what a machine that is busy with other tests may take. */
const PATIENCE = 90_000;

export interface TerminalOptions {
  readonly columns?: number;
  readonly rows?: number;
  readonly environment?: Readonly<Record<string, string>>;
}

export class TmuxTerminal {
  readonly #socket: string;

  private constructor(socket: string) {
    this.#socket = socket;
  }

  /** Starts `command` on a terminal of its own, which is gone when the running test finishes. */
  static async start(
    command: readonly string[],
    { columns = 110, rows = 24, environment = {} }: TerminalOptions = {},
  ): Promise<TmuxTerminal> {
    const folder = tempFolder();
    const settings = join(folder, 'tmux.conf');
    writeFileSync(settings, SETTINGS.map((line) => `set -g ${line}\n`).join(''));
    const terminal = new TmuxTerminal(join(folder, 'socket'));
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
      '--',
      'env',
      ...command,
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

  /** Waits until the program has ended; answers its status, or the number of the signal that killed it. */
  async ended(): Promise<number | `signal ${string}`> {
    let state: readonly string[] = [];
    const over = async () => {
      const text = await this.#tmux(
        'display-message',
        '-p',
        '#{pane_dead} #{pane_dead_status} #{pane_dead_signal}',
      );
      state = text.trim().split(' ');
      return state.length > 1;
    };
    await waitFor(over, 'the end of the program', PATIENCE).catch(async (error: unknown) => {
      throw new Error(`${String(error)}; the screen shows:\n${await this.screen()}`);
    });
    const [, status = '', signal = ''] = state;
    return status === '' ? `signal ${signal}` : Number(status);
  }

  /** The id of the program. */
  async pid(): Promise<number> {
    return Number(await this.#tmux('display-message', '-p', '#{pane_pid}'));
  }

  async #tmux(...args: readonly string[]): Promise<string> {
    const { stdout } = await execute('tmux', ['-S', this.#socket, ...args], { encoding: 'utf8' });
    return stdout;
  }
}
