/** `browse` as a person sees it, on a terminal. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCommand } from '../fidelity/command-line.ts';
import { Home } from '../support/home.ts';
import { testNeeding } from '../support/needs.ts';
import { makeTemp, removeTree, tempFolder } from '../support/temp.ts';
import { NO_TMUX, TmuxTerminal } from '../support/tmux.ts';

const onTmux = testNeeding(NO_TMUX);

/** Two snapshots of a VM: a file that changed, a folder, and a name that would clear a terminal. */
let template: Home;
beforeAll(() => {
  template = new Home({ folder: makeTemp() });
  const volume = template.volume('work');
  mkdirSync(join(volume, 'home/user'), { recursive: true });
  template.write('work', 'home/user/notes.txt', 'remember the milk\n');
  template.write('work', 'home/user/evil\x1b[2J\x07', 'hidden');
  template.identify('work', 1);
  runCommand(template, '--key-file', template.keyFile, 'init');
  runCommand(template, 'backup', 'work');
  template.write('work', 'home/user/notes.txt', 'remember nothing at all\n');
  runCommand(template, 'backup', 'work', '--tag', 'later');
});
afterAll(() => removeTree(template.folder));

onTmux(
  'browse opens folders, escapes names, shows versions and extracts the version that was chosen',
  async () => {
    const home = new Home({ template });
    const to = join(tempFolder(), 'found');
    const terminal = await TmuxTerminal.run(home, ['--key-file', home.keyFile, 'browse', 'work', '--to', to]);
    await terminal.see('work  snapshot 2', 'later', '> + home/');
    await terminal.press('Right');
    await terminal.see('+ user/');
    await terminal.press('Down', 'Enter');
    const tree = await terminal.see('notes.txt', String.raw`evil\x1b[2J\x07`, '- user/');
    expect(tree).not.toMatch(/[^\x20-\x7e\n]/);
    await terminal.press('End');
    await terminal.see(/> +notes\.txt/);
    await terminal.press('v');
    await terminal.see('versions of home/user/notes.txt', /^.*\| > 2 .*mtime/m, /^.*\| {3}1 .*oldest/m);
    await terminal.press('Down');
    await terminal.see(/\| > 1 /);
    await terminal.press('Enter');
    await terminal.see(`Extract home/user/notes.txt of snapshot 1 to the folder: ${to}_`);
    await terminal.press('Enter');
    await terminal.see('Extracted 1 files, 18 B');
    expect(readFileSync(join(to, 'home/user/notes.txt'), 'utf8')).toBe('remember the milk\n');
    await terminal.press('Escape');
    await terminal.see('- user/');
    await terminal.press('q');
    expect(await terminal.ended()).toBe(0);
    // The screen from before is back, with nothing of the tree in what scrolls.
    expect(await terminal.screen(true)).not.toContain('notes.txt');
  },
);

onTmux(
  'browse follows the size of its terminal, and goes on where another run removed its disposable',
  async () => {
    const home = new Home({ template });
    const terminal = await TmuxTerminal.run(home, ['--key-file', home.keyFile, 'browse', 'work@1']);
    await terminal.see('work  snapshot 1', '> + home/');
    await terminal.resize(60, 9);
    const small = await terminal.when((screen) => /^-{59}$/m.test(screen), 'a narrower screen');
    expect(small.trimEnd().split('\n')).toHaveLength(9);
    expect(small).toMatch(/\| > \+ home\/ *$/m);
    await terminal.resize(110, 24);
    await terminal.when((screen) => /^-{109}$/m.test(screen), 'a wider screen');
    home.write('work', 'new', 'content');
    await home.expectRun(0, 'backup', 'work'); // Under the lock, where all goes that a dead run could have left.
    await terminal.press('Right');
    await terminal.see('+ user/');
    await terminal.press('q');
    expect(await terminal.ended()).toBe(0);
  },
);

onTmux('browse asks where an extraction is to go, and shows what went wrong with it', async () => {
  const home = new Home({ template });
  const to = tempFolder();
  mkdirSync(join(to, 'home/user'), { recursive: true });
  writeFileSync(join(to, 'home/user/notes.txt'), 'mine');
  const terminal = await TmuxTerminal.run(home, ['--key-file', home.keyFile, 'browse', 'work']);
  await terminal.see('> + home/');
  await terminal.press('x');
  await terminal.see('Extract home of snapshot 2 to the folder: _');
  await terminal.type(to);
  await terminal.press('Enter');
  await terminal.see('1 warnings, which are shown when you leave');
  expect(readFileSync(join(to, 'home/user/notes.txt'), 'utf8')).toBe('mine');
  await terminal.press('q');
  expect(await terminal.ended()).toBe(3);
  expect(await terminal.screen(true)).toMatch(/warning: .*home\/user\/notes\.txt/);
});

onTmux('browse extracts into a VM, and gives the lock back', async () => {
  const home = new Home({ template });
  home.volume('personal');
  const terminal = await TmuxTerminal.run(home, [
    ...['--key-file', home.keyFile],
    ...['browse', 'work', '--into-vm', 'personal'],
  ]);
  await terminal.see('> + home/');
  await terminal.press('x', 'Enter');
  await terminal.see('Extracted 2 files');
  await home.expectRun(0, 'backup', 'personal');
  await terminal.press('Right');
  await terminal.see('+ user/');
  await terminal.press('C-c');
  expect(await terminal.ended()).toBe(0);
  const incoming = 'home/user/QubesIncoming/dom0/work-2/home/user/notes.txt';
  expect(home.read('personal', incoming)).toBe('remember nothing at all\n');
});

onTmux('browse gives the terminal back when it is told to end', async () => {
  const home = new Home({ template });
  const terminal = await TmuxTerminal.run(home, ['--key-file', home.keyFile, 'browse', 'work']);
  await terminal.see('> + home/');
  process.kill(await terminal.pid(), 'SIGTERM');
  expect(await terminal.ended()).toBe(1);
  const screen = await terminal.screen(true);
  expect(screen).toContain('error: stopped by SIGTERM');
  expect(screen).not.toContain('home/');
});

test('browse needs a person at a terminal', async () => {
  const home = new Home({ template });
  const refused = async (...args: readonly string[]) => {
    const { code, stderr } = await home.runWith(['--key-file', home.keyFile], ...args);
    return [code, stderr];
  };
  expect(await refused('browse', 'work')).toEqual([2, expect.stringContaining('browse needs a terminal')]);
  expect(await refused('--json', 'browse', 'work')).toEqual([2, expect.stringContaining('for people')]);
});
