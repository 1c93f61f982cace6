/** R25: chosen files and folders of dom0 through the command line of the local driver, each reader in a sandbox of its own. */

import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { COMMAND, Home } from '../support/home.ts';
import { namespaces, program, root, testNeeding } from '../support/needs.ts';
import type { Missing } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';

/** A dom0 with a home, policies and a single file, and the home of the program in its own home. */
function makeDom0(...more: readonly string[]) {
  const machine = tempFolder();
  const at = (...parts: readonly string[]) => join(machine, ...parts);
  for (const folder of ['home/user/docs', 'etc/policy.d', 'unseen', 'home/user/backup'])
    mkdirSync(at(folder), { recursive: true });
  writeFileSync(at('home/user/docs/notes'), 'notes of dom0');
  writeFileSync(at('etc/policy.d/30-user.policy'), 'a policy');
  linkSync(at('home/user/docs/notes'), at('etc/policy.d/linked'));
  symlinkSync(at('unseen'), at('home/user/out'));
  symlinkSync('/etc/passwd', at('home/user/passwd'));
  writeFileSync(at('unseen/secret'), 'not chosen');
  writeFileSync(at('single'), 'one file');
  const home = new Home({ folder: at('home/user/backup') });
  mkdirSync(join(home.folder, 'vms'), { recursive: true });
  const paths = ['home/user', 'etc/policy.d', 'single'].map((path) => JSON.stringify(at(path)));
  home.configure('[dom0]', `paths = [${[...paths, ...more].join(', ')}]`);
  return { home, at };
}

const stored = { changedFiles: 0, storedContentObjects: 0, warnings: 0 };

test('R25: is backed up, only what changed again, proven, looked at and extracted, links and all; no key is in it', async () => {
  const { home, at } = makeDom0();
  await home.expectRun(0, 'init');
  const first = await home.expectRun(0, 'backup', '--all', '--audit');
  expect(first.event('backup')).toMatchObject({ vm: 'dom0', audited: true, warnings: 0 });
  expect((await home.expectRun(0, 'backup', 'dom0')).event('backup')).toMatchObject(stored);
  const skipped = (await home.expectRun(0, 'ls', '--skipped', 'dom0')).events;
  const within = (path: unknown) => String(path).replace(`${home.folder.slice(1)}/`, '');
  const listed = skipped.filter(({ event }) => event === 'entry').map(({ path }) => within(path));
  expect(listed).toEqual(['key-file', 'state', 'storage']);
  writeFileSync(at('etc/policy.d/new'), 'another');
  const changed = (await home.expectRun(0, 'diff', 'dom0', 'live')).events;
  expect(changed.filter(({ event }) => event === 'difference').map(({ path }) => path)).toEqual([
    ...[at('etc/policy.d'), at('etc/policy.d/new')].map((path) => path.slice(1)),
  ]);
  await home.expectRun(0, 'backup', 'dom0', '--reread');
  home.configure('[dom0]', 'paths = []');
  expect((await home.expectRun(2, 'backup', 'dom0')).stderr).toContain('[dom0] paths');
  const to = tempFolder();
  await home.expectRun(0, 'extract', 'dom0', '/', '--to', to); // What was backed up can be had all the same.
  const back = (path: string) => join(to, at(path));
  expect(readFileSync(back('home/user/docs/notes'), 'utf8')).toBe('notes of dom0');
  expect(readFileSync(back('etc/policy.d/linked'), 'utf8')).toBe('notes of dom0');
  expect(readFileSync(back('etc/policy.d/new'), 'utf8')).toBe('another');
  expect(readFileSync(back('single'), 'utf8')).toBe('one file');
  expect(existsSync(back('unseen'))).toBe(false);
  expect(readdirSync(join(to, home.folder))).toEqual(['config.toml', 'vms']);
  expect(lstatSync(back('home/user/docs/notes')).nlink).toBe(2);
  expect(readlinkSync(back('home/user/passwd'))).toBe('/etc/passwd');
});

test('R26: a path that is missing, or a symlink, is a warning that names it', async () => {
  const { home, at } = makeDom0(JSON.stringify('/nowhere/at all'), JSON.stringify('/dev/stdin'));
  await home.expectRun(0, 'init');
  const result = await home.expectRun(3, 'backup', 'dom0', '--audit');
  for (const path of ['nowhere/at all', 'dev/stdin']) expect(result.stderr).toContain(path);
  expect(result.event('backup')).toMatchObject({ warnings: 2 });
  home.configure('[dom0]', `paths = [${JSON.stringify(at('gone'))}]`);
  expect((await home.expectRun(1, 'backup', 'dom0')).stderr).toContain('is there');
});

testNeeding(namespaces())('is the same volume in every sandbox', async () => {
  const { home } = makeDom0();
  await home.expectRun(0, 'init');
  await home.expectRun(0, 'backup', 'dom0');
  const options = (sandbox: string) => ['--json', '--key-file', home.keyFile, '--sandbox', sandbox];
  for (const sandbox of ['unshare', 'none', ...(program('bwrap') === undefined ? ['bubblewrap'] : [])]) {
    const verified = await home.runWith(options(sandbox), 'verify', 'dom0');
    expect(verified.code, verified.stderr).toBe(0);
  }
  const result = await home.runWith(options('none'), 'backup', 'dom0');
  expect(result.event('backup')).toMatchObject(stored);
});

testNeeding(root, namespaces())('files of equal inodes on two file systems stay two files', async () => {
  const { home, at } = makeDom0();
  await home.expectRun(0, 'init');
  const [one, two] = ['one', 'two'].map((name) => at(name));
  for (const folder of [one, two]) mkdirSync(String(folder));
  home.configure('[dom0]', `paths = [${JSON.stringify(one)}, ${JSON.stringify(two)}]`);
  // Each run has them anew, so the inodes are the same in each.
  const command = at('with-file-systems');
  const make = (folder: unknown, text: string) =>
    `mount -t tmpfs tmpfs '${String(folder)}'; echo ${text} >'${String(folder)}/file'; ln '${String(folder)}/file' '${String(folder)}/link'`;
  const same = `test "$(stat -c %i '${String(one)}/file')" = "$(stat -c %i '${String(two)}/file')"`;
  const inside = [make(one, 'first'), make(two, 'other'), same, `exec '${COMMAND}' "$@"`].join('\n');
  writeFileSync(at('inside'), inside);
  writeFileSync(command, `#!/bin/sh\nexec unshare --mount sh -eu '${at('inside')}' "$@"\n`);
  chmodSync(command, 0o755);
  const mounted = new Home({ folder: home.folder, existing: true, command });
  await mounted.expectRun(0, 'backup', 'dom0', '--audit');
  const to = tempFolder();
  await home.expectRun(0, 'extract', 'dom0', '/', '--to', to);
  const read = (folder: unknown, name: string) => readFileSync(join(to, String(folder), name), 'utf8');
  expect([read(one, 'link'), read(two, 'file'), read(two, 'link')]).toEqual([
    'first\n',
    'other\n',
    'other\n',
  ]);
});

/** Who mounts something inside a volume, and how: a user may not look below it, and root may. */
const MOUNTERS: readonly (readonly [who: string, needs: Missing, how: string, then: string])[] = [
  ['root', root ?? namespaces(), 'unshare --mount', ''],
  [
    ...(['a user', namespaces()] as const),
    'unshare --user --map-user=1000 --map-group=1000 --keep-caps --mount',
    'setpriv --inh-caps=-all --ambient-caps=-all --', // Who mounted may do more than a user does.
  ],
];

for (const [who, needs, how, then] of MOUNTERS)
  testNeeding(needs)(
    `R26: to ${who} a file system mounted inside is named, and neither it nor what lies below it is read`,
    async () => {
      const { home, at } = makeDom0();
      await home.expectRun(0, 'init');
      const volume = home.volume('work');
      const places = [at('home/user/disk'), join(volume, 'a disk')];
      for (const place of places) {
        mkdirSync(place, { recursive: true });
        writeFileSync(join(place, 'below'), 'of nobody');
        writeFileSync(join(place, '../covered'), 'of nobody');
      }
      const command = at('with-mounts');
      const mount = places.flatMap((place) => [
        `mount -t tmpfs tmpfs '${place}'; echo other >'${place}/other'; mkdir '${place}/more'`,
        `mount -t tmpfs tmpfs '${place}/more'; mount --bind /etc/hostname '${place}/../covered'`,
      ]);
      writeFileSync(at('inside'), [...mount, `exec ${then} '${COMMAND}' "$@"`].join('\n'));
      writeFileSync(command, `#!/bin/sh\nexec ${how} sh -eu '${at('inside')}' "$@"\n`);
      chmodSync(command, 0o755);
      const mounted = new Home({ folder: home.folder, existing: true, command });
      for (const sandbox of ['unshare', 'none', ...(program('bwrap') === undefined ? ['bubblewrap'] : [])]) {
        const options = ['--json', '--key-file', home.keyFile, '--sandbox', sandbox];
        const { code, stderr } = await mounted.runWith(options, 'backup', 'dom0', 'work');
        expect(code, `${sandbox}: ${stderr}`).toBe(3);
        const named = stderr.split('\n').filter((line) => line.includes('(mount-skipped)'));
        const paths = named.map((line) => /warning: (.*): another file system/.exec(line)?.[1] ?? line);
        const all = places.flatMap((place) => [place, join(place, '../covered')]);
        const inDom0 = all.map((path) => `dom0: ${path.slice(1)}`);
        expect(paths.sort(), `${sandbox}: ${stderr}`).toEqual(
          [...inDom0, 'work: a disk', 'work: covered'].sort(),
        );
        for (const vm of ['dom0', 'work']) {
          const found = await home.expectRun(0, 'find', vm, '--name', '*');
          const files = found.events.filter(({ event }) => event === 'found' || event === 'entry');
          expect(files.map(({ path }) => String(path)).join('\n'), sandbox).not.toMatch(
            /below|other|covered/,
          );
        }
      }
    },
  );

test('is no VM that is restored', async () => {
  const { home } = makeDom0();
  await home.expectRun(0, 'init');
  await home.expectRun(0, 'backup', 'dom0');
  for (const words of [
    ['restore', 'dom0', '--as', 'copy'],
    ['drill', 'dom0'],
  ])
    expect((await home.expectRun(2, ...words)).stderr).toContain('dom0 is not restored as a VM');
  const { events } = await home.expectRun(0, 'restore', '--all', '--yes');
  expect(JSON.stringify(events)).toContain('dom0 is not restored as a VM');
  expect(readdirSync(join(home.folder, 'vms'))).toEqual([]);
});
