/** Backups of VMs whose private volume is an image, by the command line. */

import { mkdirSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FILE_SYSTEMS } from '../../dom0/domains/local/file-system.ts';
import { Home } from '../support/home.ts';
import type { Event, Result } from '../support/home.ts';
import { KINDS, hashOf, makeDirtyExt4, makeImage, mountable, shell, withMounted } from '../support/images.ts';
import { program, root, testNeeding } from '../support/needs.ts';
import { PROJECT } from '../support/processes.ts';

const MiB = 1024 * 1024;

/** Events of a command line that is run while `image` is mounted as VM `work`'s volume, and its last blocks are gone. */
function backUpWithoutEnd(home: Home, image: string, end: number): readonly Event[] {
  const script = `mount --bind "$1" "$3"; truncate --size "$4" "$5"; shift 5; code=0
    "$@" || code=$?; [ "$code" = 3 ]`;
  const options = ['--local', home.folder, '--json', '--key-file', home.keyFile];
  const command = [join(PROJECT, 'bin/qubes-backup'), ...options, 'backup', 'work'];
  const output = withMounted(
    image,
    'ro,noload',
    script,
    '-',
    home.volume('work'),
    String(end),
    image,
    ...command,
  );
  return output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Event);
}

testNeeding(mountable('ext4'), program('debugfs'))(
  'R26: a file on a bad part of the disk is named, kept as unreadable, and read once it can be',
  async () => {
    const home = new Home();
    await home.expectRun(0, 'init');
    home.volume('work');
    home.identify('work');
    const image = join(home.folder, 'disk.img');
    const source = join(home.folder, 'source');
    mkdirSync(source);
    shell('echo good >"$1/a-good"; head -c 8388608 /dev/urandom >"$1/victim"; sync', source);
    makeImage(image, 'ext4', `-b 4096 -d ${source}`, 64 * MiB);
    const blocks = shell('debugfs -R "blocks /victim" "$1" 2>/dev/null', image)
      .trim()
      .split(/\s+/)
      .map(Number);
    const start = Math.min(...blocks);
    const saved = `${image}.whole`;
    shell('cp "$1" "$2"', image, saved);

    const events = backUpWithoutEnd(home, image, start * 4096 + MiB);
    const warnings = events.filter(({ event }) => event === 'warning').map(({ text }) => String(text));
    expect(warnings).toEqual([expect.stringMatching(/^work: victim: .*EIO.* \(unreadable\)$/)]);
    const extracted = join(home.folder, 'extracted');
    const result = await home.run('extract', 'work', 'a-good', 'victim', '--to', extracted);
    expect(result.code).toBe(3);
    expect(shell('cat "$1/a-good"; ls "$1"', extracted)).toBe('good\na-good\n');

    rmSync(image);
    shell('cp "$1" "$2"', saved, image);
    truncateSync(image, 64 * MiB);
    rmSync(extracted, { recursive: true });
    const script = 'mount --bind "$1" "$3"; shift 3; "$@"';
    const options = ['--local', home.folder, '--json', '--key-file', home.keyFile];
    const command = [join(PROJECT, 'bin/qubes-backup'), ...options, 'backup', 'work'];
    withMounted(image, 'ro', script, '-', home.volume('work'), ...command);
    await home.expectRun(0, 'extract', 'work', 'victim', '--to', extracted);
    shell('cmp "$1/victim" "$2/victim"', source, extracted);
    expect(dirname(extracted)).toBe(home.folder);
  },
);

/** A home with a repository and the VM `work`; answers the path of its image, which the caller makes. */
async function homeWithImage(): Promise<{ home: Home; image: string }> {
  const home = new Home();
  await home.expectRun(0, 'init');
  home.volume('work');
  home.identify('work');
  rmSync(home.volume('work'), { recursive: true });
  return { home, image: join(home.folder, 'vms', 'work', 'private.img') };
}

/** Runs the command line where it may mount nothing: as a user, or without a sandbox. */
function runUnmounted(home: Home, ...args: readonly string[]): Promise<Result> {
  const none = root === undefined ? ['--sandbox', 'none'] : [];
  return home.runWith(['--json', '--key-file', home.keyFile, ...none], ...args);
}

describe('without the privilege to mount', () => {
  testNeeding(program('mkfs.ext4'), program('debugfs'))(
    'R24: an ext4 image is read, its journal replayed, and the image is not written',
    async () => {
      const { home, image } = await homeWithImage();
      const files = { first: 'old', second: 'old', third: 'same' };
      makeDirtyExt4(image, files, { first: 'new', second: 'new' });
      const before = hashOf(image);
      const first = await runUnmounted(home, 'backup', 'work');
      expect(first.code).toBe(0);
      expect(first.stderr).not.toContain('work');
      const extracted = join(home.folder, 'extracted');
      await home.expectRun(0, 'extract', 'work', 'first', 'second', 'third', '--to', extracted);
      const names = readdirSync(extracted).sort();
      expect(names.map((name) => readFileSync(join(extracted, name), 'utf8'))).toEqual([
        'new',
        'new',
        'same',
      ]);
      expect(hashOf(image)).toBe(before);
      expect(readdirSync(join(home.state, 'local', 'volatile'))).toEqual([]);
      const second = await runUnmounted(home, 'backup', 'work');
      expect([second.code, second.event('backup')['changedFiles']]).toEqual([0, 0]);
    },
  );

  testNeeding(mountable('ext4'), program('debugfs'))(
    'a backup goes on by mounting where it was begun without: nothing counts as changed',
    async () => {
      const { home, image } = await homeWithImage();
      makeDirtyExt4(image, { first: 'old', second: 'old' }, { first: 'new' });
      expect((await runUnmounted(home, 'backup', 'work')).code).toBe(0);
      const mounted = await home.expectRun(0, 'backup', 'work');
      expect(mounted.event('backup')['changedFiles']).toBe(0);
    },
  );

  testNeeding(program('mkfs.ext4'), program('debugfs'))(
    'R26: a damaged image is backed up from a repaired copy, with a warning',
    async () => {
      const { home, image } = await homeWithImage();
      makeDirtyExt4(image, { first: 'old', second: 'old' }, {});
      shell(
        'debugfs -w -R "sif /first links_count 7" "$1" 2>/dev/null; debugfs -w -R "clri /second" "$1" 2>/dev/null',
        image,
      );
      const before = hashOf(image);
      const result = await runUnmounted(home, 'backup', 'work');
      expect(result.code).toBe(3);
      expect(result.event('warning')['text']).toMatch(
        /^work: the volume: the file system is damaged.*\(repaired\)$/,
      );
      expect(hashOf(image)).toBe(before);
    },
  );

  for (const [kind, at, magic] of [
    ['xfs', 0, 'XFSB'],
    ['btrfs', 0x10040, '_BHRfS_M'],
  ] as const) {
    test(`${kind} is refused by name`, async () => {
      const { home, image } = await homeWithImage();
      const bytes = Buffer.alloc(MiB);
      bytes.write(magic, at, 'latin1');
      writeFileSync(image, bytes);
      const result = await runUnmounted(home, 'backup', 'work');
      expect(result.code).toBe(1);
      expect(result.stdout + result.stderr).toMatch(new RegExp(`holds ${kind}, which only root can mount`));
    });
  }
});

describe.each(FILE_SYSTEMS)('R31: a volume with %s', (kind) => {
  testNeeding(mountable(kind), program('rsync'))(
    'comes back with all its attributes, as the same kind of file system',
    async () => {
      const { home, image } = await homeWithImage();
      makeImage(image, kind, '', Math.max(KINDS[kind].size, 192 * MiB));
      const fill = join(PROJECT, 'test/dvm/fill-volume.ts');
      const options = kind === 'xfs' ? 'nouuid' : 'rw';
      withMounted(image, options, '"$3" "$4" "$1" 1; rm "$1/huge"', '-', process.execPath, fill);
      const backup = await home.run('backup', 'work');
      expect([backup.code, backup.stderr]).toEqual([0, '']);
      const restored = await home.run('restore', 'work', '--as', 'again');
      expect([restored.code, restored.stderr]).toEqual([0, '']);
      const again = join(home.folder, 'vms', 'again', 'private.img');
      expect(shell('blkid -p -o value -s TYPE "$1"', again).trim()).toBe(kind);
      const compare = `mkdir "$3.other"; mount -o "loop,ro$4" "$3" "$3.other"
        rsync -aHAXni --checksum --delete --modify-window=-1 --specials --devices --filter='-x trusted.*' "$1/" "$3.other/"
        umount "$3.other"; rmdir "$3.other"`;
      const norecovery = kind === 'xfs' ? ',nouuid' : '';
      expect(withMounted(image, options, compare, '-', again, norecovery)).toBe('');
    },
  );
});
