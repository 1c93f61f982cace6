/** The main job through the command line: every byte takes the real way through three sandboxed processes. */

import { createHash } from 'node:crypto';
import {
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { compareTrees } from '../support/checker.ts';
import { filesBelow } from '../support/files-below.ts';
import { Home } from '../support/home.ts';
import { generateTree } from '../support/tree-generator.ts';

/** `size` bytes that nothing compresses, the same for the same seed. */
function noise(seed: string, size: number): Buffer {
  const out = Buffer.alloc(Math.ceil(size / 32) * 32);
  for (let at = 0; at < out.length; at += 32)
    createHash('sha256').update(`${seed} ${at}`).digest().copy(out, at);
  return out.subarray(0, size);
}

describe('backup and restore', () => {
  it('R30 R31: a generated tree comes back exactly, any snapshot of it', async () => {
    const home = new Home();
    generateTree(home.volume('work'), { seed: 1, entries: 400 });
    await home.expectRun(0, 'init');
    await home.expectRun(0, 'backup', 'work');
    const first = join(home.folder, 'first');
    renameSync(home.volume('work'), first);
    generateTree(home.volume('work'), { seed: 2, entries: 300 });
    const second = await home.expectRun(3, 'backup', 'work'); // Nearly every file is gone: that is a warning (R55).
    expect(second.event('backup')['anomaly']).toMatchObject({ acknowledged: false });
    await home.expectRun(0, 'restore', 'work@1', '--as', 'work-one');
    await home.expectRun(0, 'restore', 'work', '--as', 'work-two');
    expect(compareTrees(first, home.volume('work-one'))).toEqual([]);
    expect(compareTrees(home.volume('work'), home.volume('work-two'))).toEqual([]);
    expect(readdirSync(join(home.folder, 'vms')).sort()).toEqual(['work', 'work-one', 'work-two']);
    await home.expectRun(0, 'check', '--read-data', '100');
  });

  it('R21: a run without changes stores no content, and only a few KiB', async () => {
    const home = new Home();
    for (let i = 0; i < 500; i++) home.write('work', `file-${i}`, `content ${i}`);
    await home.expectRun(0, 'init');
    await home.expectRun(0, 'backup', 'work');
    const again = (await home.expectRun(0, 'backup', 'work')).event('backup');
    expect(again).toMatchObject({ storedContentObjects: 0, changedFiles: 0, files: 500 });
    expect(again['storedBytes']).toBeLessThan(64 * 1024);
  });

  it('R21: one changed byte in a large file stores little; a rename stores no content', async () => {
    const home = new Home();
    const size = 128 * 1024 * 1024;
    const content = noise('large', size);
    home.write('work', 'large', content);
    await home.expectRun(0, 'init');
    await home.expectRun(0, 'backup', 'work');
    content[size / 2] = (content[size / 2] ?? 0) ^ 1;
    home.write('work', 'large', content);
    const changed = (await home.expectRun(0, 'backup', 'work')).event('backup');
    expect(changed['storedBytes']).toBeLessThan(8 * 1024 * 1024);
    expect(changed['storedContentObjects']).toBe(1);
    renameSync(join(home.volume('work'), 'large'), join(home.volume('work'), 'moved'));
    const moved = (await home.expectRun(0, 'backup', 'work')).event('backup');
    expect(moved['storedContentObjects']).toBe(0);
  });

  it('R11: a new VM under an old name gets a history of its own', async () => {
    const home = new Home();
    home.write('work', 'file', 'old');
    writeFileSync(
      join(home.folder, 'vms/work/vm.json'),
      JSON.stringify({ uuid: '11111111-1111-4111-8111-111111111111' }),
    );
    await home.expectRun(0, 'init');
    await home.expectRun(0, 'backup', 'work');
    home.write('work', 'file', 'new');
    writeFileSync(
      join(home.folder, 'vms/work/vm.json'),
      JSON.stringify({ uuid: '22222222-2222-4222-8222-222222222222' }),
    );
    expect((await home.expectRun(0, 'backup', 'work')).event('backup')).toMatchObject({ snapshot: 1 });
    const snapshots = (await home.expectRun(0, 'list', 'work')).events.filter(
      ({ event }) => event === 'snapshot',
    );
    expect(snapshots).toHaveLength(2);
  });

  it('R11: a VM restored after the original is gone continues its history', async () => {
    const home = new Home();
    home.write('work', 'file', 'content');
    await home.expectRun(0, 'init');
    await home.expectRun(0, 'backup', 'work');
    rmSync(join(home.folder, 'vms/work'), { recursive: true });
    await home.expectRun(0, 'restore', 'work');
    expect(home.read('work', 'file')).toBe('content');
    expect((await home.expectRun(0, 'backup', 'work')).event('backup')).toMatchObject({
      snapshot: 2,
      storedContentObjects: 0,
    });
  });

  it('backs up every included VM with --all, and goes on after one that fails', async () => {
    const home = new Home();
    for (const name of ['a', 'b', 'c']) home.write(name, 'file', name);
    writeFileSync(join(home.folder, 'vms/b/vm.json'), JSON.stringify({ include_in_backups: false }));
    await home.expectRun(0, 'init');
    const result = await home.expectRun(0, 'backup', '--all');
    expect(result.events.filter(({ event }) => event === 'backup').map((event) => event['vm'])).toEqual([
      'a',
      'c',
    ]);
    rmSync(join(home.folder, 'vms/a/private'), { recursive: true });
    const partly = await home.expectRun(1, 'backup', '--all');
    expect(partly.event('failed')['vm']).toBe('a');
    expect(partly.event('backup')['vm']).toBe('c');
  });

  it('R24 R25: the configuration travels with the backup', async () => {
    const home = new Home();
    home.write('work', 'file', 'content');
    const config = { label: 'purple', netvm: 'sys-net', tags: ['mine'], features: { 'service.cups': '1' } };
    writeFileSync(join(home.folder, 'vms/work/vm.json'), JSON.stringify(config));
    await home.expectRun(0, 'init');
    await home.expectRun(0, 'backup', 'work');
    await home.expectRun(0, 'restore', 'work', '--as', 'copy');
    const restored = JSON.parse(readFileSync(join(home.folder, 'vms/copy/vm.json'), 'utf8')) as Record<
      string,
      unknown
    >;
    expect(restored).toMatchObject({ label: 'purple', netvm: 'sys-net', include_in_backups: true });
  });
});

describe('ls and extract', () => {
  async function backedUp(): Promise<Home> {
    const home = new Home();
    mkdirSync(join(home.volume('work'), 'docs/deep'), { recursive: true });
    home.write('work', 'docs/note.txt', 'note');
    home.write('work', 'docs/deep/more.txt', 'more');
    home.write('work', 'new\nline', 'odd');
    symlinkSync('docs/note.txt', join(home.volume('work'), 'link'));
    await home.expectRun(0, 'init');
    await home.expectRun(0, 'backup', 'work');
    return home;
  }

  it('R57: lists a folder, a file, everything, in printable ASCII', async () => {
    const home = await backedUp();
    const paths = async (...args: string[]) =>
      (await home.expectRun(0, 'ls', ...args)).events
        .filter(({ event }) => event === 'entry')
        .map((entry) => entry['path']);
    expect(await paths('work')).toEqual(['docs', 'link', 'new\\x0aline']);
    expect(await paths('work', '/docs/')).toEqual(['docs/deep', 'docs/note.txt']);
    expect(await paths('work', 'docs/note.txt')).toEqual(['docs/note.txt']);
    expect(await paths('work', 'new\\x0aline')).toEqual(['new\\x0aline']);
    expect(await paths('work', '-r')).toEqual([
      'docs',
      'docs/deep',
      'docs/deep/more.txt',
      'docs/note.txt',
      'link',
      'new\\x0aline',
    ]);
    expect((await home.expectRun(1, 'ls', 'work', 'absent')).event('error')['code']).toBe('unknown-path');
  });

  it('R33: extracts to a folder without overwriting and without following symlinks', async () => {
    const home = await backedUp();
    const to = join(home.folder, 'out');
    await home.expectRun(0, 'extract', 'work', 'docs', 'link', '--to', to);
    expect(readFileSync(join(to, 'docs/deep/more.txt'), 'utf8')).toBe('more');
    writeFileSync(join(to, 'docs/note.txt'), 'mine');
    await home.expectRun(3, 'extract', 'work', 'docs/note.txt', '--to', to);
    expect(readFileSync(join(to, 'docs/note.txt'), 'utf8')).toBe('mine');
    await home.expectRun(0, 'extract', 'work', 'docs/note.txt', '--to', to, '--overwrite');
    expect(readFileSync(join(to, 'docs/note.txt'), 'utf8')).toBe('note');
    const outside = join(home.folder, 'outside');
    mkdirSync(outside);
    const trap = join(home.folder, 'trap');
    mkdirSync(trap);
    symlinkSync(outside, join(trap, 'docs'));
    const trapped = await home.run('extract', 'work', 'docs', '--to', trap, '--overwrite');
    expect(trapped.code).not.toBe(0);
    expect(readdirSync(outside)).toEqual([]);
  });

  it('R33: a tar stream passes through dom0 unread', async () => {
    const home = await backedUp();
    const tar = join(home.folder, 'out.tar');
    await home.expectRun(0, 'extract', 'work', 'docs', '--tar', tar);
    const piped = await home.runWith(['--key-file', home.keyFile], 'extract', 'work', 'docs', '--tar', '-');
    expect(piped.code).toBe(0);
    expect(piped.stdout.length).toBe(readFileSync(tar).length);
    await home.expectRun(1, 'extract', 'work', 'docs', '--tar', tar);
    const missing = await home.expectRun(
      1,
      'extract',
      'work',
      'absent',
      '--tar',
      join(home.folder, 'none.tar'),
    );
    expect(missing.event('error')['code']).toBe('unknown-path');
  });
});

describe('confidentiality', () => {
  it('R01 R07: the storage VM sees no plaintext, no name, and sizes of classes only', async () => {
    const home = new Home();
    home.configure('[backup]', 'compress = false');
    const content = noise('confidential', 12 * 1024 * 1024 + 12345);
    home.write('very-secret-vm', 'very-secret-file-name', content);
    for (let i = 0; i < 50; i++)
      home.write('very-secret-vm', `small-secret-${i}`, noise(`small ${i}`, 1000 * i));
    await home.expectRun(0, 'init');
    await home.expectRun(0, 'backup', 'very-secret-vm');
    const needles = new Set<string>();
    for (let at = 0; at + 16 <= content.length; at += 4096)
      needles.add(content.toString('latin1', at, at + 16));
    const stored = filesBelow(join(home.folder, 'storage'));
    let searched = 0;
    for (const { path, size } of stored) {
      const bytes = readFileSync(path).toString('latin1');
      for (const name of ['secret', 'very-', 'qubes.', 'small'])
        expect(bytes.includes(name), `${name} in ${path}`).toBe(false);
      for (let at = 0; at + 16 <= bytes.length; at++)
        if (needles.has(bytes.slice(at, at + 16))) throw new Error(`plaintext in ${path}`);
      searched += size;
      if (!path.includes('/objects/')) continue;
      const padded = size - 40;
      const step =
        padded <= 2 ** 20
          ? 2 ** (Math.floor(Math.log2(padded)) - Math.floor(Math.log2(Math.floor(Math.log2(padded)))) - 1)
          : 2 ** 18;
      expect(padded % step, `${path} has ${size} bytes`).toBe(0);
      expect(padded).toBeGreaterThanOrEqual(4096);
    }
    expect(searched).toBeGreaterThan(content.length);
  });

  it('R10: dom0 keeps its state to its owner', async () => {
    const home = new Home();
    home.write('work', 'file', 'content');
    await home.expectRun(0, 'init');
    await home.expectRun(0, 'backup', 'work');
    for (const entry of readdirSync(home.state, { recursive: true, withFileTypes: true })) {
      const { mode } = statSync(join(entry.parentPath, entry.name));
      expect(mode & 0o077, entry.name).toBe(0);
    }
  });
});
