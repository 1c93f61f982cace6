/**
 * What no command undoes is asked about: each command says what it will do and asks, `--yes` answers, and where nobody can be asked it
 * refuses. And the sheet that is made of a new paper key.
 */

import { cpSync, existsSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fingerprint } from '../../dom0/words.ts';
import type { RootHash } from '../../shared/ids.ts';
import { runCommand } from '../fidelity/command-line.ts';
import { Home } from '../support/home.ts';
import { program, testNeeding } from '../support/needs.ts';
import { makeTemp, removeTree } from '../support/temp.ts';
import { onTerminal } from '../support/terminal.ts';

const onScript = testNeeding(program('script'));

/** A home with a VM of three snapshots, one of which only older roots have, another VM that is gone, and two key slots. */
let template: Home;
/** The fingerprint of a root that this machine has gone beyond. */
let older: string;
beforeAll(() => {
  template = new Home({ folder: makeTemp() });
  template.write('work', 'a', '1');
  template.write('gone', 'b', '1');
  template.identify('work', 1);
  template.identify('gone', 2);
  runCommand(template, 'init');
  runCommand(template, 'backup', '--all');
  removeTree(join(template.folder, 'vms', 'gone'));
  runCommand(template, 'key', 'add', '--new-key-file', join(template.folder, 'second'));
  cpSync(template.store, join(template.folder, 'old-store'), { recursive: true });
  older = newest(template);
  runCommand(template, 'backup', 'work');
});
afterAll(() => removeTree(template.folder));

/** The fingerprint of the newest root that this machine knows. */
function newest(home: Home): string {
  const pin = JSON.parse(readFileSync(join(home.state, 'pins', 'pin.json'), 'utf8')) as { hash: RootHash };
  return fingerprint(pin.hash);
}

/** Puts the store of an older day in its place. */
function rollBack(home: Home): void {
  rmSync(home.store, { recursive: true });
  cpSync(join(home.folder, 'old-store'), home.store, { recursive: true });
}

interface Case {
  readonly args: () => readonly string[];
  /** What it says that it will do. */
  readonly tells: RegExp;
  /** What it asks, to which `answer` is yes. */
  readonly asks: string;
  readonly answer: string;
  readonly before?: (home: Home) => void;
}

const CASES: Readonly<Record<string, Case>> = {
  forget: {
    args: () => ['forget', 'work', '--keep-last', '1'],
    tells: /work +1 .* forget/,
    asks: 'Forget 1 snapshots? [yes/no]',
    answer: 'yes',
  },
  'forget-forever': {
    args: () => ['forget-forever', 'work', '--drop-slots'],
    tells: /All 2 snapshots of work will be lost for ever/,
    asks: 'Type its name:',
    answer: 'work',
  },
  'key remove': {
    args: () => ['key', 'remove', '2'],
    tells: /Remove slot 2, key file "key file"/,
    asks: '[yes/no]',
    answer: 'yes',
  },
  'restore --replace': {
    args: () => ['restore', 'work@1', '--replace'],
    tells: /VM work will be as it was .*\(snapshot 1\)[^]*kept as work-\d{8}/,
    asks: 'Replace it? [yes/no]',
    answer: 'yes',
  },
  'restore --all': {
    args: () => ['restore', '--all'],
    tells: /gone[^]*work[^]*skip|gone/,
    asks: 'Restore 1 VMs? [yes/no]',
    answer: 'yes',
  },
  '--accept-root': {
    args: () => ['--accept-root', older, 'list'],
    tells: /last saw root \d+[^]*go on with root \d+ /,
    asks: 'Accept it? [yes/no]',
    answer: 'yes',
    before: rollBack,
  },
};

/** All that such a command could change. */
function stateOf(home: Home): unknown {
  const pin = readFileSync(join(home.state, 'pins', 'pin.json'), 'utf8');
  const names = (folder: string) => readdirSync(folder).sort();
  return [names(join(home.store, 'roots')), names(join(home.folder, 'vms')), home.read('work', 'a'), pin];
}

describe.each(Object.entries(CASES))('%s', (_, { args, tells, asks, answer, before }) => {
  const prepared = () => {
    const home = new Home({ template });
    before?.(home);
    return home;
  };

  it('refuses where nobody can be asked, and does it with --yes', async () => {
    const home = prepared();
    const state = stateOf(home);
    const refused = await home.runWith(['--key-file', home.keyFile], ...args());
    expect(refused.code, refused.stderr).toBe(2);
    expect(refused.stderr).toMatch(/nothing was changed: there is no terminal to ask on, so give .*--yes/);
    expect(stateOf(home)).toEqual(state);
    const done = await home.runWith(['--key-file', home.keyFile], ...args(), '--yes');
    expect(done.code, done.stderr).toBe(0);
    expect(stateOf(home)).not.toEqual(state);
  });

  onScript('says what it will do, and asks; another answer changes nothing', async () => {
    const home = prepared();
    const state = stateOf(home);
    const given = ['--key-file', home.keyFile, ...args()];
    const refused = await onTerminal(home, given, [[asks, answer === 'yes' ? 'y' : 'yes']]);
    expect(refused.code, refused.screen).toBe(2);
    expect(refused.screen).toMatch(tells);
    expect(stateOf(home)).toEqual(state);
  });
});

describe('key paper --sheet', () => {
  it('R35: writes a page for its owner alone, whose words open the repository and whose fingerprint is the newest', async () => {
    const home = new Home({ template });
    const sheet = join(home.folder, 'sheet.txt');
    expect((await home.runWith(['--key-file', home.keyFile], 'key', 'paper', '--sheet', sheet)).code).toBe(0);
    expect(statSync(sheet).mode & 0o777).toBe(0o600);
    const text = readFileSync(sheet, 'utf8');
    expect(text).toContain(newest(home));
    expect(text).toContain('storage VM main');
    const words = join(home.folder, 'words');
    writeFileSync(words, text.slice(text.indexOf('line by line') + 12, text.indexOf('STORES')));
    expect((await home.runWith(['--json', '--paper-file', words], 'list')).code).toBe(0);
    const state = stateOf(home);
    const again = await home.runWith(['--key-file', home.keyFile], 'key', 'paper', '--sheet', sheet);
    expect(again.code).toBe(2); // What is there is not overwritten, and no key is added for it.
    expect(stateOf(home)).toEqual(state);
    expect(readFileSync(sheet, 'utf8')).toBe(text);
  });

  it('R35: gives a printer the page and nothing else, a terminal nothing', async () => {
    const home = new Home({ template });
    const { code, stdout } = await home.runWith(['--key-file', home.keyFile], 'key', 'paper', '--sheet', '-');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^RECOVERY SHEET of qubes-backup\n[^]*\(docs\/emergency-recovery\.md\)\.\n$/);
  });

  it('leaves no empty page if the key is not added', async () => {
    const home = new Home({ template });
    const sheet = join(home.folder, 'sheet.txt');
    const wrong = join(home.folder, 'wrong');
    writeFileSync(wrong, `qubes-backup-key-1:${'0'.repeat(64)}\n`);
    expect((await home.runWith(['--key-file', wrong], 'key', 'paper', '--sheet', sheet)).code).toBe(1);
    expect(existsSync(sheet)).toBe(false);
  });
});
