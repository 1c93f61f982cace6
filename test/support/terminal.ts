/** The command line on a terminal of its own (`script` of util-linux), and somebody who answers it. */

import { COMMAND, SANDBOX } from './home.ts';
import type { Home } from './home.ts';
import { outcome, start } from './processes.ts';

/** What is waited for on the screen, and what is typed then: a text, or made of the screen since the last answer. */
export type Turn = readonly [question: string, answer: string | ((screen: string) => string)];

/** Runs `qubes-backup ARGS` on `home`; answers its status and all that was on the screen. */
export async function onTerminal(
  home: Home,
  args: readonly string[],
  turns: readonly Turn[],
): Promise<{ readonly code: number | null; readonly screen: string }> {
  const words = [COMMAND, '--local', home.folder, '--sandbox', SANDBOX, ...args];
  const command = words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
  const child = start('script', ['-q', '-e', '-f', '-c', command, '/dev/null'], {
    cwd: home.folder,
    env: { ...process.env, TERM: 'xterm', SHELL: '/bin/sh' },
  });
  const waiting = [...turns];
  let screen = '';
  let seen = 0;
  child.stdout.on('data', (piece: Buffer) => {
    screen += piece.toString('utf8');
    const [turn] = waiting;
    const at = turn === undefined ? -1 : screen.indexOf(turn[0], seen);
    if (turn === undefined || at < 0) return;
    waiting.shift();
    const answer = typeof turn[1] === 'string' ? turn[1] : turn[1](screen.slice(seen));
    seen = at + turn[0].length;
    child.stdin.write(`${answer}\r`);
  });
  const { code } = await outcome(child);
  if (waiting.length > 0) throw new Error(`was never asked "${waiting[0]?.[0] ?? ''}":\n${screen}`);
  return { code, screen };
}
