/** Colours: on a terminal only, and not where NO_COLOR is set. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runCommand } from '../fidelity/command-line.ts';
import { COMMAND, Home, SANDBOX } from '../support/home.ts';
import { testNeeding } from '../support/needs.ts';
import { run } from '../support/processes.ts';
import { makeTemp, removeTree } from '../support/temp.ts';
import { NO_TMUX, TmuxTerminal } from '../support/tmux.ts';

const onTmux = testNeeding(NO_TMUX);
const [RED, GREEN, YELLOW] = ['\x1b[31m', '\x1b[32m', '\x1b[33m'];

/** One VM with a backup, and one without, which needs a person. */
let template: Home;
beforeAll(() => {
  template = new Home({ folder: makeTemp() });
  template.write('work', 'a', 'ours');
  runCommand(template, '--key-file', template.keyFile, 'init');
  runCommand(template, 'backup', 'work');
  template.write('vault', 'a', 'theirs');
});
afterAll(() => removeTree(template.folder));

async function shown(environment: Readonly<Record<string, string>>, ...args: readonly string[]) {
  const home = new Home({ template });
  const terminal = await TmuxTerminal.run(home, ['--key-file', home.keyFile, ...args], {
    columns: 200,
    environment,
  });
  await terminal.ended();
  return { text: await terminal.screen(true), coloured: await terminal.colours() };
}

describe.each([
  ['status', ['status'], [GREEN, YELLOW], /\x1b\[33mvault .*\n[\s\S]*\x1b\[33m\d+ things need you/],
  ['check', ['check'], [GREEN], /\x1b\[32mno fault found/],
  ['doctor', ['doctor'], [GREEN], /\x1b\[32mok/],
  ['a summary', ['backup', 'work', 'vault'], [], /^VM +SNAPSHOT/m],
  ['a failure', ['ls', 'nobody'], [RED], /\x1b\[31merror:/],
] as const)('%s', (_title, args, colours, pattern) => {
  onTmux('has its colours on a terminal, and none with NO_COLOR', async () => {
    const { text, coloured } = await shown({}, ...args);
    for (const colour of colours) expect(coloured).toContain(colour);
    expect(coloured).toMatch(pattern);
    const plain = await shown({ NO_COLOR: '1' }, ...args);
    expect(plain.coloured).not.toContain('\x1b');
    if (args[0] === 'status') expect(plain.text.split('\n').length).toBe(text.split('\n').length);
  });

  test('has none where it is no terminal, nor in --json, whatever FORCE_COLOR says', async () => {
    const home = new Home({ template });
    const options = ['--local', home.folder, '--sandbox', SANDBOX, '--key-file', home.keyFile];
    for (const json of [[], ['--json']]) {
      const env = { ...process.env, FORCE_COLOR: '3' };
      const { stdout, stderr } = await run(COMMAND, [...options, ...json, ...args], { env, detached: true });
      expect(stdout.toString('utf8') + stderr).not.toContain('\x1b');
    }
  });
});
