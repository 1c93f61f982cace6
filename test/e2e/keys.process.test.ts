/** R12, R52, R06: key slots, rotation, forgetting for ever and fingerprints through the command line. */

import { cpSync, existsSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand } from '../fidelity/command-line.ts';
import { Home } from '../support/home.ts';
import type { Result } from '../support/home.ts';
import { program, testNeeding } from '../support/needs.ts';
import { makeTemp, removeTree } from '../support/temp.ts';
import { onTerminal } from '../support/terminal.ts';

const onScript = testNeeding(program('script'));

/** A home with a repository that opens by a key file and a passphrase, and a snapshot of two VMs. */
let template: Home;
beforeAll(() => {
  template = new Home({ folder: makeTemp() });
  writeFileSync(join(template.folder, 'passphrase'), 'correct horse battery staple\n');
  template.write('work', 'a', 'ours');
  template.write('vault', 'b', 'theirs');
  template.identify('work', 1);
  template.identify('vault', 2);
  runCommand(template, '--passphrase-file', join(template.folder, 'passphrase'), 'init');
  runCommand(template, 'backup', '--all');
});
afterAll(() => removeTree(template.folder));

const fileIn = (home: Home, name: string) => join(home.folder, name);

async function opens(home: Home, ...secret: readonly string[]): Promise<number | null> {
  return (await home.runWith(['--json', ...secret], 'list')).code;
}

const slotsOf = ({ events }: Result) =>
  events.filter(({ event }) => event === 'slot').map(({ kind, label }) => [kind, label]);

describe('key slots', () => {
  it('R52: a paper key opens the repository without the passphrase, also where nothing else is left', async () => {
    const home = new Home({ template });
    const words = fileIn(home, 'words');
    await home.expectRun(0, 'key', 'paper', '--label', 'in the safe', '--out', words);
    expect(statSync(words).mode & 0o777).toBe(0o600);
    expect(readFileSync(words, 'utf8').match(/[a-z]+/g)).toHaveLength(24);
    rmSync(home.state, { recursive: true });
    const listed = await home.runWith(['--json', '--paper-file', words], 'key', 'list');
    expect(slotsOf(listed)).toEqual([
      ['keyFile', 'key file'],
      ['passphrase', 'passphrase'],
      ['paper', 'in the safe'],
    ]);
    const again = await home.runWith(['--json', '--paper-file', words], 'key', 'paper', '--out', words);
    expect([again.code, again.event('error')['code']]).toEqual([2, 'usage']); // What is there is not overwritten.
  });

  it('R52: a changed passphrase rewrites the root only, and says what that does not do', async () => {
    const home = new Home({ template });
    const [old, next] = [fileIn(home, 'passphrase'), fileIn(home, 'next')];
    writeFileSync(next, 'another one\n');
    const countObjects = () =>
      readdirSync(join(home.store, 'objects'), { recursive: true }).filter((name) => name.length > 2).length;
    const objects = countObjects();
    const changed = await home.runWith(
      ['--passphrase-file', old],
      'key',
      'change',
      '--new-passphrase-file',
      next,
    );
    expect(changed.code).toBe(0);
    expect(changed.stdout).toContain('does not lock out anybody who knows the old secret');
    expect(changed.stdout).toContain('key rotate');
    expect(countObjects() - objects).toBe(1); // The catalog, which lists the root before.
    expect(await opens(home, '--passphrase-file', old)).toBe(1);
    expect(await opens(home, '--passphrase-file', next)).toBe(0);
    expect(await opens(home, '--key-file', home.keyFile)).toBe(0);
    const wrongKind = await home.run('key', 'change', '--new-passphrase-file', next);
    expect(wrongKind.code).toBe(2);
  });

  it('are removed one by one, never the last', async () => {
    const home = new Home({ template });
    expect((await home.run('key', 'remove', '3', '--yes')).code).toBe(2);
    expect((await home.run('key', 'remove', '2')).code).toBe(2); // Nobody to ask.
    await home.expectRun(0, 'key', 'remove', '2', '--yes');
    expect(await opens(home, '--passphrase-file', fileIn(home, 'passphrase'))).toBe(1);
    const last = await home.run('key', 'remove', '1', '--yes');
    expect(last.code).toBe(2);
    expect(last.stderr).toContain('last slot');
    expect(await opens(home, '--key-file', home.keyFile)).toBe(0);
  });

  it('are added: a key file, which is made', async () => {
    const home = new Home({ template });
    const second = fileIn(home, 'second');
    await home.expectRun(0, 'key', 'add', '--new-key-file', second, '--label', 'on the stick');
    expect(statSync(second).mode & 0o777).toBe(0o600);
    expect(await opens(home, '--key-file', second)).toBe(0);
    expect((await home.run('key', 'add', '--label', 'a\x1b[2Jb', '--new-key-file', second)).code).toBe(2);
  });
});

describe('rotation', () => {
  it('R52: ends no slot unasked, keeps those whose secret is given, and every snapshot', async () => {
    const home = new Home({ template });
    const refused = await home.run('key', 'rotate');
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain('passphrase "passphrase"');
    const old = readdirSync(join(home.store, 'roots')).length;
    await home.expectRun(0, 'key', 'rotate', '--drop-slots');
    expect(readdirSync(join(home.store, 'roots')).length).toBe(old + 1);
    expect(await opens(home, '--passphrase-file', fileIn(home, 'passphrase'))).toBe(1);
    home.write('work', 'c', 'later');
    await home.expectRun(0, 'backup', 'work');
    await home.expectRun(0, 'restore', 'work@1', '--as', 'first');
    await home.expectRun(0, 'restore', 'work', '--as', 'second');
    expect(home.read('first', 'a')).toBe('ours');
    expect(existsSync(join(home.volume('first'), 'c'))).toBe(false);
    expect(home.read('second', 'c')).toBe('later');
    await home.expectRun(0, 'check', '--read-data', '100');
  });

  it('R52: keeps all slots whose secrets are given', async () => {
    const home = new Home({ template });
    const passphrase = ['--passphrase-file', fileIn(home, 'passphrase')];
    await home.expectRun(0, ...passphrase, 'key', 'rotate');
    expect(await opens(home, ...passphrase)).toBe(0);
    expect(await opens(home, '--key-file', home.keyFile)).toBe(0);
  });
});

describe('forgetting for ever', () => {
  it('R12: the VM is gone, the others are whole, and who still can open it is said', async () => {
    const home = new Home({ template });
    const copy = join(home.folder, 'copy-of-the-store');
    cpSync(home.store, copy, { recursive: true });
    const secrets = ['--key-file', home.keyFile, '--passphrase-file', fileIn(home, 'passphrase')];
    const unasked = await home.runWith(secrets, 'forget-forever', 'vault');
    expect(unasked.code).toBe(2);
    expect((await home.runWith(secrets, 'forget-forever', 'vault', '--confirm', 'work')).code).toBe(2);
    expect((await home.expectRun(0, 'list', 'vault')).events).not.toEqual([]);
    const forgotten = await home.runWith(secrets, 'forget-forever', 'vault', '--confirm', 'vault');
    expect(forgotten.code).toBe(0);
    for (const part of ['older root', 'grace period', 'key file "key file"', 'passphrase "passphrase"'])
      expect(forgotten.stdout).toContain(part);
    expect((await home.run('list', 'vault')).event('error')['code']).toBe('unknown-vm');
    await home.expectRun(0, 'check', '--read-data', '100');
    // The VM itself is another one to the repository from now on.
    await home.expectRun(0, 'backup', 'vault');
    const [snapshot] = (await home.expectRun(0, 'list', 'vault')).events;
    expect(snapshot).toMatchObject({ snapshot: 1 });
    // An older copy of the store opens with the old secret, as was said.
    rmSync(home.store, { recursive: true });
    cpSync(copy, home.store, { recursive: true });
    rmSync(home.state, { recursive: true });
    expect((await home.run('list', 'vault')).code).toBe(0);
  });

  it('names what it does not know', async () => {
    const home = new Home({ template });
    const result = await home.run('forget-forever', 'valut', '--confirm', 'valut', '--drop-slots');
    expect(result.event('error')).toMatchObject({ code: 'unknown-vm' });
    expect(result.stderr).toContain('did you mean vault');
  });
});

describe('R06: the fingerprint of a root', () => {
  it('is shown on first use, and holds a new machine to what was noted', async () => {
    const home = new Home({ template });
    const noted = String((await home.expectRun(0, 'root', 'fingerprint')).event('root')['fingerprint']);
    const copy = join(home.folder, 'copy-of-the-store');
    cpSync(home.store, copy, { recursive: true });
    home.write('work', 'c', 'later');
    await home.expectRun(0, 'backup', 'work');
    const newest = String((await home.expectRun(0, 'root', 'fingerprint')).event('root')['fingerprint']);
    const spoken = newest.replaceAll('-', ' ');
    rmSync(home.state, { recursive: true });
    await home.expectRun(0, '--expect-root', noted, 'list');
    rmSync(home.state, { recursive: true });
    const first = await home.expectRun(0, '--expect-root', spoken, 'list');
    expect(first.event('first-use')).toMatchObject({ fingerprint: newest });
    expect(first.stderr).toContain('has not used this repository before');
    expect((await home.expectRun(0, 'list')).stderr).toBe('');
    // A storage VM that shows an old state to a machine that has seen nothing.
    rmSync(home.state, { recursive: true });
    rmSync(home.store, { recursive: true });
    cpSync(copy, home.store, { recursive: true });
    const refused = await home.run('--expect-root', spoken, 'list');
    expect([refused.code, refused.event('error')['code']]).toEqual([1, 'store-rolled-back']);
    expect((await home.run('--expect-root', 'no such words', 'list')).code).toBe(2);
  });
});

describe('on a terminal', () => {
  const ENTER = 'Press Enter';

  onScript('init generates a passphrase, shows it once, and asks for it', async () => {
    const home = new Home();
    home.write('work', 'a', 'ours');
    let shown = '';
    const { code, screen } = await onTerminal(
      home,
      ['init'],
      [
        [ENTER, (text) => ((shown = /^ {4}((?:[a-z]+ ){7}[a-z]+)\r$/m.exec(text)?.[1] ?? ''), '')],
        ['Type the new passphrase: ', 'not what was shown'],
        [ENTER, ''],
        ['Type the new passphrase: ', () => shown],
      ],
    );
    expect(screen).toContain('Created a repository');
    expect(code).toBe(0);
    expect(shown.split(' ')).toHaveLength(8);
    // Only on the other screen, never echoed.
    const rest = screen.replaceAll(/\x1b\[\?1049h[^]*?\x1b\[\?1049l/g, '');
    expect(rest).not.toContain(shown.split(' ').slice(0, 3).join(' '));
    const file = fileIn(home, 'passphrase');
    writeFileSync(file, `${shown}\n`);
    expect(await opens(home, '--passphrase-file', file)).toBe(0);
  });

  /** Types `first` and `second` where a chosen passphrase is asked for, and nothing more. */
  const choosing = (home: Home, args: readonly string[], first: string, second = first) =>
    onTerminal(
      home,
      [...args, '--own-passphrase'],
      [
        ['New passphrase: ', first],
        ['Again: ', second],
      ],
    );
  /** Long, with what a shell or a terminal could take for something else. */
  const OWN = "eigene Wörter: $HOME 'and' more";

  onScript('init takes a chosen passphrase, typed twice, and shows nothing of it', async () => {
    const home = new Home();
    home.write('work', 'a', 'ours');
    const differing = await choosing(home, ['init'], OWN, `${OWN}.`);
    expect(differing.code).toBe(2);
    expect(differing.screen).toContain('the two passphrases differ: nothing was changed');
    const empty = await onTerminal(home, ['init', '--own-passphrase'], [['New passphrase: ', '']]);
    expect(empty.code).toBe(2);
    expect(empty.screen).toContain('the passphrase is empty');
    const left = await onTerminal(home, ['init', '--own-passphrase'], [['New passphrase: ', 'half\x03']]);
    expect(left.code).toBe(2);
    expect(existsSync(join(home.store, 'roots'))).toBe(false);
    const { code, screen } = await choosing(home, ['init'], OWN, `${OWN}x\x7f`); // A slip, and erased.
    expect(screen).toContain('Created a repository');
    expect(code).toBe(0);
    for (const shown of [differing.screen, screen]) expect(shown).not.toContain('HOME');
    writeFileSync(fileIn(home, 'own'), OWN);
    expect(await opens(home, '--passphrase-file', fileIn(home, 'own'))).toBe(0);
  });

  onScript('key add and key change take a chosen passphrase, typed twice', async () => {
    const home = new Home({ template });
    const [old, added, changed] = ['passphrase', 'added', 'changed'].map((name) => fileIn(home, name));
    writeFileSync(added!, 'a second one');
    writeFileSync(changed!, OWN);
    const add = ['--key-file', home.keyFile, 'key', 'add', '--label', 'mine'];
    expect((await choosing(home, add, 'a second one', 'a third one')).code).toBe(2);
    expect(await opens(home, '--passphrase-file', added!)).toBe(1);
    const adding = await choosing(home, add, 'a second one');
    expect(adding.code).toBe(0);
    expect(adding.screen).toContain('Added slot 3: mine.');
    const change = ['--passphrase-file', old!, 'key', 'change'];
    expect((await choosing(home, change, OWN, '')).code).toBe(2);
    expect(await opens(home, '--passphrase-file', old!)).toBe(0);
    const changing = await choosing(home, change, OWN);
    expect(changing.code).toBe(0);
    for (const { screen } of [adding, changing]) expect(screen).not.toMatch(/second one|HOME/);
    expect(await opens(home, '--passphrase-file', old!)).toBe(1);
    for (const file of [added, changed]) expect(await opens(home, '--passphrase-file', file!)).toBe(0);
  });

  onScript('a paper key is shown and asked about', async () => {
    const home = new Home({ template });
    let words: string[] = [];
    const { code } = await onTerminal(
      home,
      ['--key-file', home.keyFile, 'key', 'paper'],
      [
        [ENTER, (text) => ((words = text.match(/(?<=\d\. )[a-z]+/g) ?? []), '')],
        ['Which word is number ', () => ''],
        [ENTER, (text) => ((words = text.match(/(?<=\d\. )[a-z]+/g) ?? []), '')],
        ['? ', (text) => words[Number(/number (\d+)\? $/.exec(text)?.[1]) - 1] ?? ''],
      ],
    );
    expect(code).toBe(0);
    writeFileSync(fileIn(home, 'words'), words.join(' '));
    expect(await opens(home, '--paper-file', fileIn(home, 'words'))).toBe(0);
  });

  onScript('rotation asks for what it was not given, and forgetting for the name', async () => {
    const home = new Home({ template });
    const { code, screen } = await onTerminal(
      home,
      ['--key-file', home.keyFile, 'forget-forever', 'vault'],
      [
        ['Type its name: ', 'vault'],
        ['Secret of slot 2, passphrase "passphrase"', 'wrong'],
        ['Secret of slot 2, passphrase "passphrase"', 'correct horse battery staple'],
      ],
    );
    expect(screen).toContain('Forgot vault');
    expect(code).toBe(0);
    expect(screen).not.toContain('battery');
    expect(await opens(home, '--passphrase-file', fileIn(home, 'passphrase'))).toBe(0);
  });

  onScript('a slot ends only after a yes', async () => {
    const home = new Home({ template });
    const asked = (answer: string) =>
      onTerminal(
        home,
        ['--key-file', home.keyFile, 'key', 'rotate'],
        [
          ['Secret of slot 2', ''],
          ['Type "yes" to go on: ', answer],
        ],
      );
    expect((await asked('y')).code).toBe(2);
    expect(await opens(home, '--passphrase-file', fileIn(home, 'passphrase'))).toBe(0);
    expect((await asked('yes')).code).toBe(0);
    expect(await opens(home, '--passphrase-file', fileIn(home, 'passphrase'))).toBe(1);
  });
});
