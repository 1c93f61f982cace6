/**
 * Talking to a person on the controlling terminal, whatever stdin, stdout and stderr are. Secrets are read without echo
 * and shown where the scroll-back does not keep them; they never pass through argv, environment or stdin (R10).
 */

import { closeSync, openSync, writeSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { BackupError } from '../shared/errors.ts';
import { MAX_PASSPHRASE } from '../shared/limits.ts';

const TERMINAL = '/dev/tty';

/** True if there is somebody to ask. */
export function hasTerminal(): boolean {
  try {
    closeSync(openSync(TERMINAL, 'r+'));
    return true;
  } catch {
    return false;
  }
}

/** Asks `question` and reads one line without echo. Throws `usage` without a terminal, or if it was left. */
export function askSecret(question: string): Promise<string> {
  return onTerminal(SECRET_OPTIONS, (terminal) => terminal.ask(question, false));
}

/** Asks `question` and reads one line. Throws `usage` without a terminal, or if it was left. */
export function ask(question: string): Promise<string> {
  return onTerminal(OTHER_OPTIONS, (terminal) => terminal.ask(question, true));
}

/** Shows `lines` on the terminal's second screen until Enter is pressed; nothing of them stays in the scroll-back. */
export function showOnce(lines: readonly string[]): Promise<void> {
  return onTerminal(SECRET_OPTIONS, async (terminal) => {
    terminal.write(`${OTHER_SCREEN}${lines.join('\r\n')}\r\n\r\n`);
    try {
      await terminal.ask('Press Enter when you have written it down.', false);
    } finally {
      terminal.write(FIRST_SCREEN);
    }
  });
}

/** Alternate screen buffer, cleared, cursor home; and back: xterm control sequences, "Private Modes". */
export const OTHER_SCREEN = '\x1b[?1049h\x1b[2J\x1b[H';
export const FIRST_SCREEN = '\x1b[?1049l';

/** What to do without a terminal. */
const SECRET_OPTIONS =
  'give the secret in a file (--help lists the options for that), or run "qubes-backup unlock" on a terminal before';
const OTHER_OPTIONS = 'answer with an option (--help lists them)';

/** A descriptor of the controlling terminal, the caller's to close. Throws `usage`, with what to do `instead`, if there is none. */
export function openTerminal(instead: string): number {
  try {
    return openSync(TERMINAL, 'r+');
  } catch (cause) {
    throw new BackupError('usage', `there is no terminal to ask on: ${instead}`, { cause });
  }
}

async function onTerminal<T>(instead: string, work: (terminal: Terminal) => Promise<T>): Promise<T> {
  const terminal = new Terminal(openTerminal(instead));
  try {
    return await work(terminal);
  } finally {
    terminal.close();
  }
}

const ENTER = /[\r\n]/;
const INTERRUPT = '\x03';
const END = '\x04';
const ERASE = /[\x7f\b]/;
/** What a printing key sends; escape sequences of others are not echoed. */
const PRINTING = /^[^\p{C}]$/u;

class Terminal {
  readonly #descriptor: number;
  readonly #input: ReadStream;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
    this.#input = new ReadStream(descriptor);
    this.#input.setRawMode(true);
  }

  write(text: string): void {
    writeSync(this.#descriptor, text);
  }

  async ask(question: string, echo: boolean): Promise<string> {
    this.write(question);
    try {
      return await this.#readLine(echo);
    } finally {
      this.write('\r\n');
    }
  }

  close(): void {
    this.#input.setRawMode(false);
    this.#input.destroy();
  }

  #readLine(echo: boolean): Promise<string> {
    return new Promise((resolve, reject) => {
      let line = '';
      this.#input.setEncoding('utf8');
      this.#input.on('error', reject);
      this.#input.on('data', (data: string) => {
        for (const character of data) {
          if (ENTER.test(character)) resolve(line);
          else if (character === INTERRUPT || (character === END && line === '')) {
            reject(new BackupError('usage', 'nothing was entered: nothing was changed'));
          } else if (ERASE.test(character)) {
            if (echo && line !== '') this.write('\b \b');
            line = Array.from(line).slice(0, -1).join('');
          } else if (line.length < 4 * MAX_PASSPHRASE) {
            if (echo && PRINTING.test(character)) this.write(character);
            line += character;
          }
        }
      });
    });
  }
}
