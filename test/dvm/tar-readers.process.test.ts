/**
 * R33: GNU tar and bsdtar unpack a hostile tree from our tar stream as it was. What a reader cannot take is said here
 * to the letter. Holes are kept from 64 KiB on. GNU tar 1.34 takes all else but chattr flags. bsdtar 3.6 reads a fraction of a second before 1970 the wrong way round, leaves
 * the time of the top folder alone, does not know that `%3D` in an attribute's name is `=`, and no id above 2^31 - 1 in
 * an access list.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { lstatSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { compareTrees, walkDifferences } from '../support/checker.ts';
import { Home } from '../support/home.ts';
import { attributes, fileFlags, program, root, testNeeding } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';
import { GNU_TAR, fileOf, isSmallHole, plantExtras } from '../support/tar.ts';
import { generateTree } from '../support/tree-generator.ts';

const asRoot = root === undefined;
/** Each in a locale; bsdtar warns in C of each name that is not ASCII, and then fails. */
const READERS = [
  ['C', ...GNU_TAR],
  ['C.UTF-8', ...GNU_TAR],
  ['C.UTF-8', 'bsdtar', '--numeric-owner', '-xpf'],
] as const;

/** Those of chattr(1) that are set, as letters; empty on a file system without any. */
function flagsOf(file: string): string {
  const listed = spawnSync('lsattr', ['-d', file], { encoding: 'utf8' }).stdout.split(' ')[0] ?? '';
  return listed.replace(/[^AadiS]/g, '');
}

/** What bsdtar makes of `nanoseconds` since 1970: it takes the sign for that of the whole seconds only. */
function asBsdtarReads(nanoseconds: bigint): bigint {
  return nanoseconds < 0n ? nanoseconds - 2n * (nanoseconds % 1_000_000_000n) : nanoseconds;
}

/** The differences that bsdtar may make, of those that there are. */
function isKnownOfBsdtar(difference: string, original: string, unpacked: string): boolean {
  if (difference.startsWith('"": mtime ')) return true;
  const time = /^(".*"): mtime (-\d+) and (-?\d+)$/s.exec(difference);
  if (time?.[1] !== undefined && time[2] !== undefined) {
    const path: unknown = JSON.parse(time[1]);
    if (typeof path !== 'string') return false;
    const read = lstatSync(fileOf(unpacked, path), { bigint: true }).mtimeNs;
    const was = lstatSync(fileOf(original, path), { bigint: true }).mtimeNs;
    return time[2] === String(was) && time[3] === String(read) && read === asBsdtarReads(was);
  }
  return [
    String.raw`"extras/equals": attributes user.a\075b=0x78; and user.a%3Db=0x78;`,
    // 4,000,000,000 became 2^31 - 1.
    '"extras/large": attributes system.posix_acl_access=0x0200000001000600ffffffff0200040000286bee04000400ffffffff10000400ffffffff20000400ffffffff; and system.posix_acl_access=0x0200000001000600ffffffff02000400ffffff7f04000400ffffffff10000400ffffffff20000400ffffffff;',
  ].includes(difference);
}

const TOOLS = ['tar', 'bsdtar', 'setfacl', 'setfattr', ...(asRoot ? ['setcap'] : [])];

testNeeding(...TOOLS.map(program), attributes())('GNU tar and bsdtar unpack the same tree', async () => {
  const home = new Home();
  const volume = home.volume('work');
  // A user's GNU tar cannot set attributes on files that are closed to it.
  generateTree(volume, { seed: 20_261_121, entries: 200, maxFile: 1024 * 1024, attributes: asRoot });
  plantExtras(volume);
  await home.expectRun(0, 'init');
  await home.expectRun(0, 'backup', 'work');
  const archive = join(tempFolder(), 'archive.tar');
  await home.expectRun(0, 'extract', 'work', '/', '--tar', archive);
  expect(lstatSync(archive).size).toBeLessThan(50_000_000); // The holes are not in it.
  for (const [locale, reader, ...options] of READERS) {
    const unpacked = join(tempFolder(), 'unpacked');
    mkdirSync(unpacked);
    execFileSync(reader, [...options, archive, '-C', unpacked], {
      env: { PATH: process.env['PATH'], LC_ALL: locale },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    expect(lstatSync(join(unpacked, 'extras/sparse')).blocks).toBeLessThan(1000);
    const flags = flagsOf(join(unpacked, 'extras/flags'));
    if (asRoot) expect(flags).toBe(reader === 'tar' ? '' : flagsOf(join(volume, 'extras/flags')));
    if (reader === 'tar') {
      const others = compareTrees(volume, unpacked).filter((line) => !isSmallHole(line, volume));
      expect(others).toEqual(asRoot && fileFlags() === undefined ? ['"extras/flags": flags SdA and '] : []);
      continue;
    }
    const differences = walkDifferences(volume, unpacked).filter((line) => !isSmallHole(line, volume));
    expect(differences.filter((line) => !isKnownOfBsdtar(line, volume, unpacked))).toEqual([]);
    expect(differences.filter((line) => !line.includes(': mtime ')).length).toBe(asRoot ? 2 : 0);
  }
});
