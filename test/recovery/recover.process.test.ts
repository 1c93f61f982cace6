/** R36: without Qubes OS and without the product, a copy of a store and a secret become what was backed up. */

import { cpSync, existsSync, lstatSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runCommand } from '../fidelity/command-line.ts';
import { Home } from '../support/home.ts';
import { attributes, fileFlags, program, root, testNeeding } from '../support/needs.ts';
import { plantExtras } from '../support/tar.ts';
import { makeTemp, removeTree, tempFolder } from '../support/temp.ts';
import { Random } from '../support/random.ts';
import { generateTree } from '../support/tree-generator.ts';
import { SCRIPT, differences, expectRecovery, parts, recover, secretFile, unpack } from './script.ts';

const asRoot = root === undefined;

test('the script is one file of under 900 lines without its word list, and imports nothing but Node', () => {
  const script = readFileSync(SCRIPT, 'utf8');
  const list = /^const WORDS = `[^`]*`.*$/m.exec(script)?.[0] ?? '';
  expect(script.split('\n').length - list.split('\n').length).toBeLessThan(900);
  expect(
    [...script.matchAll(/^import .* from '(.*)';$/gm)].every(([, from]) => from?.startsWith('node:')),
  ).toBe(true);
  expect(script).not.toMatch(/\bimport\(|\brequire\(|node:(http|net|dns|tls|dgram|vm|worker)/);
  expect(readdirSync(join(SCRIPT, '..'))).toEqual(['recover.mjs']);
});

const TOOLS = ['tar', 'setfacl', 'setfattr', ...(asRoot ? ['setcap'] : [])];

testNeeding(...TOOLS.map(program), attributes())(
  'R36: every kind of entry comes back as it was',
  async () => {
    const home = new Home();
    const volume = home.volume('work');
    generateTree(volume, { seed: 20_261_122, entries: 300, maxFile: 1024 * 1024, attributes: asRoot });
    plantExtras(volume);
    const server = createServer().listen(join(volume, 'left.socket'));
    await once(server, 'listening');
    home.configure('[vm.work]', 'exclude = ["/not-this"]');
    home.write('work', 'not-this', 'left out');
    await home.expectRun(0, 'init');
    const { code } = await home.run('backup', 'work');
    server.close();
    expect([0, 3]).toContain(code);
    const out = join(tempFolder(), 'out');
    const said = await expectRecovery(0, '--store', home.store, '--key-file', home.keyFile, '--out', out);
    expect(said.stdout).toContain('proven');
    rmSync(join(volume, 'not-this'));
    const flags = asRoot && fileFlags() === undefined ? ['"extras/flags": flags SdA and '] : [];
    // What was left out changed the time of the folder it was in.
    const others = differences(volume, join(out, 'work.tar')).filter(
      (line) => !line.startsWith('"": mtime '),
    );
    expect(others.filter((line) => !line.includes('.d..t...... ./'))).toEqual(flags);
    expect(lstatSync(join(out, 'work.tar')).size).toBeLessThan(50_000_000); // The holes are not in it.
    const notes = readFileSync(join(out, 'work.notes.txt'), 'latin1');
    expect(notes).toContain('not-this: left out by the backup');
    expect(notes).toContain('left.socket: a socket');
    if (flags.length > 0) expect(notes).toContain('extras/flags: has flags of chattr');
  },
);

testNeeding(program('tar'))('a volume of blocks is one sparse file in a tar of its own', async () => {
  const home = new Home();
  home.write('work', 'file', 'text');
  const image = join(home.folder, 'vms/work/root.img');
  const content = Buffer.concat([
    Buffer.alloc(300_000),
    new Random(1).bytes(3_000_000),
    Buffer.alloc(5_000_000),
  ]);
  writeFileSync(image, content);
  home.configure('[vm.work.volumes]', 'root = "blocks"');
  await home.expectRun(0, 'init');
  await home.expectRun(0, 'backup', 'work');
  const out = join(tempFolder(), 'out');
  await expectRecovery(0, '--store', home.store, '--key-file', home.keyFile, '--out', out);
  expect(readdirSync(out).sort()).toEqual(['work-root.tar', 'work.config', 'work.tar']);
  const volume = join(unpack(join(out, 'work-root.tar')), 'volume');
  expect(readFileSync(volume).equals(content)).toBe(true);
  expect(lstatSync(volume).blocks * 512).toBeLessThan(3_200_000);
  expect(differences(home.volume('work'), join(out, 'work.tar'))).toEqual([]);
});

testNeeding(program('tar'))('two VMs that had the same name are told apart by their ids', async () => {
  const home = new Home();
  home.write('work', 'file', 'of the old one');
  home.identify('work', 1);
  await home.expectRun(0, 'init');
  await home.expectRun(0, 'backup', 'work');
  home.write('work', 'file', 'of the new one');
  home.identify('work', 2);
  await home.expectRun(0, 'backup', 'work');
  const [out, args] = [join(tempFolder(), 'out'), ['--store', home.store, '--key-file', home.keyFile]];
  await expectRecovery(0, ...args, '--out', out);
  const tars = readdirSync(out).filter((name) => name.endsWith('.tar'));
  const contents = tars.map((name) => readFileSync(join(unpack(join(out, name)), 'file'), 'utf8'));
  expect(contents.sort()).toEqual(['of the new one', 'of the old one']);
  const [first = ''] = tars;
  expect(first).toMatch(/^work\.[0-9a-f]{8}\.tar$/);
  const one = join(tempFolder(), 'out');
  await expectRecovery(0, ...args, '--out', one, '--vm', first.slice(5, 13));
  expect(readdirSync(one)).toContain(first);
  expect(readdirSync(one)).toHaveLength(2);
});

describe('a store with two VMs, three snapshots, keys that were rotated, and every kind of secret', () => {
  let home: Home;
  let passphrase: string;
  let paper: string;
  const store = () => ['--store', home.store, '--key-file', home.keyFile] as const;
  /** The content of VM `name` as it was at its snapshot `number`. */
  const original = (name: string, number: number) => join(home.folder, `${name}-${number}`);
  const keep = (name: string, number: number) => {
    cpSync(home.volume(name), original(name, number), { recursive: true, preserveTimestamps: true });
  };

  beforeAll(() => {
    home = new Home({ folder: makeTemp() });
    home.write('work', 'random', new Random(2).bytes(400_000));
    home.write('work', 'text', 'first');
    home.write('vault', 'secret', 'of the vault');
    passphrase = join(home.folder, 'passphrase');
    paper = join(home.folder, 'paper');
    // Decomposed, with a final newline: what is hashed is composed, and without it.
    writeFileSync(passphrase, 'corr\u0065\u0301ct horse\n');
    const secrets = ['--passphrase-file', passphrase, '--paper-file', paper];
    runCommand(home, ...secrets, 'init');
    runCommand(home, 'backup', '--all');
    keep('work', 1);
    home.write('work', 'text', 'second');
    runCommand(home, ...secrets, 'key', 'rotate');
    runCommand(home, 'backup', 'work');
    keep('work', 2);
    keep('vault', 1);
  }, 120_000);

  afterAll(() => removeTree(home.folder));

  /** A copy of the store that a test may damage. */
  const copyOfStore = () => {
    const folder = join(tempFolder(), 'store');
    cpSync(home.store, folder, { recursive: true });
    return folder;
  };

  const sameContent = (folder: string, archive: string) => {
    const unpacked = unpack(archive);
    expect(readdirSync(unpacked).sort()).toEqual(readdirSync(folder).sort());
    for (const name of readdirSync(folder))
      expect(readFileSync(join(unpacked, name)).equals(readFileSync(join(folder, name)))).toBe(true);
  };

  test('each secret opens it, and lists what is there', async () => {
    for (const secret of [
      ['--passphrase-file', passphrase],
      ['--key-file', home.keyFile],
      ['--paper-file', paper],
    ]) {
      const { stdout } = await expectRecovery(0, '--store', home.store, ...secret, '--list');
      expect(stdout).toMatch(/work {2}\(id [0-9a-f]{32}\)\n +2 {2}\d{4}-.* UTC\n +1 {2}/);
      const words = (await home.run('root', 'fingerprint')).stdout;
      expect(words).toContain(/fingerprint: ([a-z-]+)/.exec(stdout)?.[1] ?? 'no fingerprint');
    }
  });

  testNeeding(program('tar'))('the newest snapshot of each VM, or the one that is named', async () => {
    const out = join(tempFolder(), 'out');
    await expectRecovery(0, ...store(), '--out', out);
    expect(readdirSync(out).sort()).toEqual(['vault.config', 'vault.tar', 'work.config', 'work.tar']);
    sameContent(original('work', 2), join(out, 'work.tar'));
    sameContent(original('vault', 1), join(out, 'vault.tar'));
    expect(lstatSync(join(out, 'work.tar')).mode & 0o777).toBe(0o600);
    const first = join(tempFolder(), 'out');
    await expectRecovery(0, ...store(), '--out', first, '--vm', 'work', '--snapshot', '1');
    expect(readdirSync(first).sort()).toEqual(['work.config', 'work.tar']);
    sameContent(original('work', 1), join(first, 'work.tar'));
  });

  testNeeding(program('tar'))('a tar that is there already is not touched', async () => {
    const out = tempFolder();
    writeFileSync(join(out, 'work.tar'), 'mine');
    const { stderr } = await expectRecovery(1, ...store(), '--out', out);
    expect(stderr).toContain('work.tar is there already');
    expect(readFileSync(join(out, 'work.tar'), 'utf8')).toBe('mine');
    sameContent(original('vault', 1), join(out, 'vault.tar'));
  });

  test('a wrong secret is not called damage', async () => {
    const out = join(tempFolder(), 'out');
    const wrong = async (...secret: readonly string[]) => {
      const { stderr } = await expectRecovery(2, '--store', home.store, ...secret, '--out', out);
      expect(existsSync(out)).toBe(false);
      return stderr;
    };
    expect(await wrong('--passphrase-file', secretFile('wrong'))).toMatch(/wrong passphrase: .*intact/);
    const otherKey = secretFile(`qubes-backup-key-1:${'0'.repeat(64)}\n`);
    expect(await wrong('--key-file', otherKey)).toMatch(/wrong key file: .*intact/);
    expect(await wrong('--key-file', passphrase)).toContain('a key file is one line');
    expect(await wrong('--passphrase-file', secretFile('\n'))).toContain('1 to 1,024 bytes');
    expect(await wrong('--passphrase-file', join(out, 'none'))).toContain('there is no file');
    const words = readFileSync(paper, 'utf8');
    expect(await wrong('--paper-file', secretFile(words.replace(/[a-z]+/, 'abandonned')))).toContain(
      'word 1 is not',
    );
    expect(await wrong('--paper-file', secretFile(words.replace(/[a-z]+\s*$/, '')))).toContain(
      '24 words, not 23',
    );
    expect(await wrong('--key-file', otherKey, '--passphrase-file', passphrase)).toContain('only one');
  });

  test('what is asked for and not there is said', async () => {
    const out = join(tempFolder(), 'out');
    expect((await expectRecovery(2, ...store(), '--out', out, '--vm', 'wrk')).stderr).toContain(
      'There are: ',
    );
    const { stderr } = await expectRecovery(1, ...store(), '--out', out, '--vm', 'work', '--snapshot', '9');
    expect(stderr).toContain('no such snapshot');
    expect((await expectRecovery(2, ...store(), '--out', out, '--snapshot', '1')).stderr).toContain('usage:');
    expect((await expectRecovery(2, ...store())).stderr).toContain('usage:');
    expect((await expectRecovery(2, ...store(), '--out', out, '--wrong')).stderr).toContain('usage:');
    const key = ['--key-file', home.keyFile, '--list'];
    const folder = await expectRecovery(2, '--store', home.folder, ...key);
    expect(folder.stderr).toContain('is no store');
  });

  testNeeding(program('tar'))(
    'whatever object is missing or damaged, nothing wrong passes for right',
    async () => {
      const objects = readdirSync(join(home.store, 'objects'), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(home.store.length + 1));
      expect(objects.length).toBeGreaterThan(8);
      const seen = new Set<string>();
      for (const [index, object] of objects.entries()) {
        const folder = copyOfStore();
        const file = join(folder, object);
        if (index % 2 === 0) rmSync(file);
        else {
          const bytes = readFileSync(file);
          bytes[100] = (bytes[100] ?? 0) ^ 1;
          rmSync(file);
          writeFileSync(file, bytes);
        }
        const out = join(tempFolder(), 'out');
        const { code, stderr } = await recover('--store', folder, '--key-file', home.keyFile, '--out', out);
        const files = existsSync(out) ? readdirSync(out) : [];
        expect(files.filter((name) => name.endsWith('.partial'))).toEqual([]);
        for (const name of ['work', 'vault']) {
          if (!files.includes(`${name}.tar`)) continue;
          sameContent(original(name, name === 'work' ? 2 : 1), join(out, `${name}.tar`));
        }
        const complete = files.includes('work.tar') && files.includes('vault.tar');
        const notes = files
          .filter((name) => name.endsWith('.notes.txt'))
          .map((name) => readFileSync(join(out, name), 'latin1'))
          .join('');
        if (code !== 0) expect(stderr + notes).toContain(object.slice(-64));
        if (complete) seen.add(code === 0 ? 'not needed' : 'configuration');
        else expect(code).toBe(1);
        if (files.includes('work.damaged.tar')) {
          seen.add('content lost');
          expect(stderr).toContain('LOST');
          expect(notes).toContain('LOST, zeros instead');
          expect(readdirSync(unpack(join(out, 'work.damaged.tar')))).toContain('text');
          expect(files).toContain('vault.tar');
        } else if (files.includes('vault.tar') && !files.includes('work.tar')) seen.add('one VM lost');
        else if (files.length === 0) seen.add('all lost');
      }
      expect([...seen].sort()).toEqual(
        expect.arrayContaining(['all lost', 'content lost', 'not needed', 'one VM lost']),
      );
    },
  );

  test('roots: it does not guess which is the newest, and takes the one that it is told', async () => {
    const folder = copyOfStore();
    const args = ['--store', folder, '--key-file', home.keyFile];
    const roots = () => readdirSync(join(folder, 'roots'));
    expect(roots().length).toBeGreaterThan(2);
    const counterOf = (name: string) => parts.decodeRoot(readFileSync(join(folder, 'roots', name))).counter;
    const newest = roots().sort((a, b) => counterOf(b) - counterOf(a))[0];
    const file = join(folder, 'roots', newest ?? '');
    const bytes = readFileSync(file);
    rmSync(file);
    const older = (await expectRecovery(0, ...args, '--list')).stdout;
    const words = /fingerprint: ([a-z-]+)/.exec(older)?.[1] ?? '';
    bytes[200] = (bytes[200] ?? 0) ^ 1;
    writeFileSync(file, bytes);
    const damaged = await expectRecovery(2, ...args, '--list');
    expect(damaged.stderr).toContain('not certain which root is the newest');
    expect(damaged.stderr).toContain(words);
    const chosen = await expectRecovery(0, ...args, '--list', '--root', words.replaceAll('-', ' '));
    expect(chosen.stdout).toContain(words);
    for (const name of roots()) {
      rmSync(join(folder, 'roots', name)); // They are read-only.
      writeFileSync(join(folder, 'roots', name), 'QIBROOT4');
    }
    expect((await expectRecovery(2, ...args, '--list')).stderr).toContain('no root that can be used');
  });
});
