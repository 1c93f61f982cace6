/** What is refused, with what to do: wrong words and secrets, names that exist, and stores that are not what they were. */

import { cpSync, existsSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { filesBelow } from '../support/files-below.ts';
import { Home } from '../support/home.ts';
import { Random } from '../support/random.ts';

describe('what a person may get wrong', () => {
  it('R51: tells a wrong passphrase from damage', async () => {
    const home = new Home();
    const [right, wrong] = [join(home.folder, 'right'), join(home.folder, 'wrong')];
    writeFileSync(right, 'correct horse\n');
    writeFileSync(wrong, 'battery staple\n');
    expect((await home.runWith(['--json', '--passphrase-file', right], 'init')).code).toBe(0);
    expect((await home.runWith(['--json', '--passphrase-file', right], 'list')).code).toBe(0);
    const refused = await home.runWith(['--json', '--passphrase-file', wrong], 'list');
    expect(refused.code).toBe(1);
    expect(refused.event('error')['code']).toBe('wrong-secret');
  });

  it('names near matches of a VM and of a snapshot', async () => {
    const home = new Home();
    home.write('work', 'file', 'content');
    await home.expectRun(0, 'init');
    expect((await home.expectRun(1, 'backup', 'wrok')).stderr).toContain('did you mean work');
    await home.expectRun(0, 'backup', 'work');
    expect((await home.expectRun(1, 'restore', 'worj', '--as', 'x')).stderr).toContain('did you mean work');
    const unknown = await home.expectRun(1, 'restore', 'work@7', '--as', 'x');
    expect(unknown.event('error')).toMatchObject({ code: 'unknown-snapshot' });
    expect(unknown.stderr).toMatch(/there is 1 \(\d{4}-/);
  });

  it('never touches a VM that exists', async () => {
    const home = new Home();
    home.write('work', 'file', 'content');
    await home.expectRun(0, 'init');
    await home.expectRun(0, 'backup', 'work');
    home.write('work', 'file', 'later');
    const refused = await home.expectRun(1, 'restore', 'work');
    expect(refused.event('error')['code']).toBe('vm-exists');
    expect(refused.stderr).toContain('--as');
    expect(home.read('work', 'file')).toBe('later');
  });

  it('ends with 2 on wrong usage, and says how it is used', async () => {
    const home = new Home();
    for (const args of [
      ['backup'],
      ['frobnicate'],
      ['restore'],
      ['check', '--read-data', '101'],
      ['backup', 'a b'],
      [],
    ]) {
      const result = await home.run(...args);
      expect(result.code, args.join(' ')).toBe(2);
      expect(result.stderr, args.join(' ')).not.toBe('');
    }
    expect(
      (await home.runWith(['--key-file', home.keyFile, '--config', join(home.folder, 'absent.toml')], 'list'))
        .code,
    ).toBe(2);
  });

  it('finds a snapshot by the start of its date, and lists the candidates of an ambiguous one', async () => {
    const home = new Home();
    home.write('work', 'file', 'content');
    await home.expectRun(0, 'init');
    await home.expectRun(0, 'backup', 'work');
    const year = String(new Date().getFullYear());
    await home.expectRun(0, 'ls', `work@${year}`);
    await home.expectRun(0, 'backup', 'work');
    const ambiguous = await home.expectRun(1, 'ls', `work@${year}`);
    expect(ambiguous.stderr).toMatch(/2 snapshots from/);
  });
});

describe('a store that is not what it was', () => {
  async function backedUp(): Promise<Home> {
    const home = new Home();
    home.write('work', 'file', new Random(1).bytes(300_000));
    await home.expectRun(0, 'init');
    await home.expectRun(0, 'backup', 'work');
    return home;
  }
  const copyStore = (home: Home) => {
    cpSync(home.store, `${home.store}.old`, { recursive: true });
  };
  const codeOf = async (home: Home, ...args: string[]) =>
    (await home.expectRun(1, ...args)).event('error')['code'];

  it('is missing', async () => {
    const home = await backedUp();
    renameSync(home.store, `${home.store}.away`);
    expect(await codeOf(home, 'list')).toBe('store-missing');
  });

  it('was never initialised', async () => {
    const home = new Home();
    home.write('work', 'file', 'content');
    await home.expectRun(0, 'init');
    rmSync(join(home.state, 'pins'), { recursive: true });
    rmSync(home.store, { recursive: true });
    expect(await codeOf(home, 'list')).toBe('not-initialised');
  });

  it('R06: was rolled back, and is accepted only by name', async () => {
    const home = await backedUp();
    copyStore(home);
    await home.expectRun(0, 'backup', 'work');
    rmSync(home.store, { recursive: true });
    renameSync(`${home.store}.old`, home.store);
    const refused = await home.expectRun(1, 'list');
    expect(refused.event('error')['code']).toBe('store-rolled-back');
    const print = /--accept-root ([a-z-]+)/.exec(refused.stderr)?.[1] ?? '';
    expect(
      (
        await home.runWith(
          ['--json', '--key-file', home.keyFile, '--accept-root', 'zoo-zoo-zoo-zoo-zoo-zoo-zoo-zoo'],
          'list',
        )
      ).code,
    ).toBe(2);
    expect(
      (await home.runWith(['--json', '--key-file', home.keyFile, '--yes', '--accept-root', print], 'list'))
        .code,
    ).toBe(0);
    await home.expectRun(0, 'backup', 'work');
    await home.expectRun(0, 'check', '--read-data', '100');
  });

  it('R06: was forked', async () => {
    const home = await backedUp();
    copyStore(home);
    cpSync(home.state, `${home.state}.old`, { recursive: true });
    await home.expectRun(0, 'backup', 'work');
    // Another machine, of the state before, goes on from the store before.
    rmSync(home.store, { recursive: true });
    renameSync(`${home.store}.old`, home.store);
    renameSync(home.state, `${home.state}.mine`);
    renameSync(`${home.state}.old`, home.state);
    for (let i = 0; i < 3; i++) await home.expectRun(0, 'backup', 'work');
    rmSync(home.state, { recursive: true });
    renameSync(`${home.state}.mine`, home.state);
    expect(await codeOf(home, 'list')).toBe('store-forked');
  });

  it('was replaced by another', async () => {
    const home = await backedUp();
    const other = await backedUp();
    rmSync(home.store, { recursive: true });
    renameSync(other.store, home.store);
    expect(await codeOf(home, 'list')).toBe('store-replaced');
  });

  it('R54: is damaged: named by check, and never restored from', async () => {
    const home = await backedUp();
    const objects = filesBelow(join(home.store, 'objects')).sort((a, b) => b.size - a.size);
    const victim = objects[0]?.path ?? '';
    const bytes = readFileSync(victim);
    bytes[bytes.length - 30] = (bytes[bytes.length - 30] ?? 0) ^ 4;
    rmSync(victim);
    writeFileSync(victim, bytes);
    const checked = await home.expectRun(1, 'check', '--read-data', '100%');
    expect(checked.event('fault')['text']).toMatch(/work.*snapshot 1/);
    expect(await codeOf(home, 'restore', 'work', '--as', 'copy')).toBe('store-damaged');
    expect(existsSync(join(home.folder, 'vms/copy'))).toBe(false);
    expect(readdirSync(join(home.folder, 'vms'))).toEqual(['work']);
    rmSync(victim);
    expect((await home.expectRun(1, 'check')).event('fault')['text']).toMatch(/missing/);
    expect(await codeOf(home, 'restore', 'work', '--as', 'copy')).toBe('store-missing');
  });
});
