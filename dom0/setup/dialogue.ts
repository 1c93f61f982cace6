/** Questions of the first-run guide: each with what it is for, and an answer that Enter gives. */

import { BackupError, isBackupError } from '../../shared/errors.ts';
import type { Output } from '../output.ts';
import { ask } from '../prompt.ts';

export class Dialogue {
  readonly #output: Output;

  constructor(output: Output) {
    this.#output = output;
  }

  say(...lines: readonly string[]): void {
    for (const line of lines) this.#output.line(line);
  }

  heading(text: string): void {
    this.say('', text, '-'.repeat(text.length));
  }

  /** Asks until `read` takes the answer: it throws `usage` with what is wrong. */
  async question<T>(text: string, preset: string, read: (answer: string) => T): Promise<T> {
    for (;;) {
      const answer = (await ask(`${text} [${preset}] `)).trim();
      try {
        return read(answer === '' ? preset : answer);
      } catch (error) {
        if (!isBackupError(error, 'usage')) throw error;
        this.say(error.message);
      }
    }
  }

  async yes(text: string, preset: 'yes' | 'no'): Promise<boolean> {
    return this.question(`${text} yes or no?`, preset, (answer) => {
      if (/^y(es)?$/i.test(answer)) return true;
      if (/^no?$/i.test(answer)) return false;
      throw new BackupError('usage', 'Answer yes or no.');
    });
  }
}
