/** Backups of VMs whose private volume is an image, by the command line. */

import { mkdirSync, rmSync, truncateSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'vitest';
import { Home } from '../support/home.ts';
import type { Event } from '../support/home.ts';
import { makeImage, mountable, shell, withMounted } from '../support/images.ts';
import { program, testNeeding } from '../support/needs.ts';
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
  180_000,
);
