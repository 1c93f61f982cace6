/** Asking a person before something is done that no command undoes. */

import { BackupError } from '../shared/errors.ts';
import { ask, hasTerminal } from './prompt.ts';

export interface Question {
  /** As it is shown, with what is to be typed. */
  readonly question: string;
  /** The only answer that lets it go on. */
  readonly answer: string;
  /** The option that answers beforehand. */
  readonly option: string;
  /** Whether that was given. */
  readonly given: boolean;
}

/** Throws `usage`, with nothing changed, unless the answer is given: where nobody can be asked, only the option gives it. */
export async function confirm({ question, answer, option, given }: Question): Promise<void> {
  if (given) return;
  if (!hasTerminal())
    throw new BackupError(
      'usage',
      `nothing was changed: there is no terminal to ask on, so give ${option} if that is what you want`,
    );
  if ((await ask(question)).trim() !== answer) throw new BackupError('usage', 'nothing was changed');
}
