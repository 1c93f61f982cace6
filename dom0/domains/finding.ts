/** What `doctor` found of one thing. */

export interface Finding {
  readonly level: 'ok' | 'warn' | 'fail';
  /** What was looked at: `policy`, `store main`, `template debian-13`. */
  readonly about: string;
  /** What is so and, if that is not well, what to do; one line. */
  readonly text: string;
}

export const ok = (about: string, text: string): Finding => ({ level: 'ok', about, text });
export const warn = (about: string, text: string): Finding => ({ level: 'warn', about, text });
export const fail = (about: string, text: string): Finding => ({ level: 'fail', about, text });
