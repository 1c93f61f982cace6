/**
 * R33: GNU tar and bsdtar unpack a hostile tree from our tar stream as it was. What a reader cannot take is said here
 * to the letter. Holes are kept from 64 KiB on. GNU tar 1.34 takes all else but chattr flags. bsdtar 3.6 reads a fraction of a second before 1970 the wrong way round, leaves
 * the time of the top folder alone, does not know that `%3D` in an attribute's name is `=`, and no id above 2^31 - 1 in
 * an access list.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { lstatSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { compareTrees, walkDifferences } from '../support/checker.ts';
import { Home } from '../support/home.ts';
import { attributes, fileFlags, program, root, testNeeding } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';
import { generateTree } from '../support/tree-generator.ts';

/** Beside what the generator makes, what only these readers trip over. */
const EXTRAS = `
cd "$1"
mkdir -p extras; cd extras
truncate -s 100000000 sparse; printf data | dd of=sparse bs=1 seek=60000000 conv=notrunc
truncate -s 500000 hole
head -c 200000 /dev/urandom >front; truncate -s 900000 front
ln sparse sparse-link
touch c:drive '\\backslash'; ln c:drive c:link; ln '\\backslash' link
ln -s "$(printf 'l%.0s' $(seq 4000))" long-target; ln long-target long-link
long=$(printf 'd%.0s' $(seq 250)); mkdir -p $long/$long/$long/$long; touch $long/$long/$long/$long/f
touch -d @-1.25 before; touch -d @-100 whole; touch -d @-0.000000001 nearly; touch -d @9999999999.999999999 late
mkfifo fifo; ln fifo fifo-link
`;
const EXTRAS_OF_ROOT = `
cd "$1/extras"
mknod c c 4095 1048575; mknod b b 8 17; ln c c-link
touch owned; chown 4294967294:4294967293 owned; setfattr -n user.bin -v 0x000a3d25ff owned
setfattr -n user.empty owned; setfattr -n 'user.50%' -v x owned; setfattr -n user.\\351 -v x owned
setfattr -n security.other -v y owned; setfattr -h -n security.link -v y long-target
touch equals; setfattr -n user.a=b -v x equals
mkdir acl; setfacl -m u:12345:rwx,g:54321:r acl; setfacl -d -m u:0:rw,g:7:r acl
touch acl/closed; chmod 600 acl/closed; setfacl -m u:77:r acl/closed
touch large; setfacl -m u:4000000000:r large
touch flags; chattr +AdS flags || true
touch setuid; chown 1:2 setuid; chmod 6755 setuid
touch capable; chown 3:4 capable; setcap cap_net_raw+ep capable
`;

/** The unit of holes in an archive, and what a file may occupy beyond its data. */
const HOLE = 64 * 1024;
const ROUNDING = 16 * 1024;

const asRoot = root === undefined;
/** Each in a locale; bsdtar warns in C of each name that is not ASCII, and then fails. */
const GNU_TAR = [
  'tar',
  '--xattrs',
  '--xattrs-include=*',
  '--acls',
  '--numeric-owner',
  '--same-owner',
  '-xpf',
] as const;
const READERS = [
  ['C', ...GNU_TAR],
  ['C.UTF-8', ...GNU_TAR],
  ['C.UTF-8', 'bsdtar', '--numeric-owner', '-xpf'],
] as const;

function shell(script: string, folder: string): void {
  const ended = spawnSync('sh', ['-e', '-s', folder], { input: script, encoding: 'utf8', env: process.env });
  if (ended.status !== 0) throw new Error(`making the tree failed: ${ended.stderr}`);
}

/** Those of chattr(1) that are set, as letters; empty on a file system without any. */
function flagsOf(file: string): string {
  const listed = spawnSync('lsattr', ['-d', file], { encoding: 'utf8' }).stdout.split(' ')[0] ?? '';
  return listed.replace(/[^AadiS]/g, '');
}

/** What bsdtar makes of `nanoseconds` since 1970: it takes the sign for that of the whole seconds only. */
function asBsdtarReads(nanoseconds: bigint): bigint {
  return nanoseconds < 0n ? nanoseconds - 2n * (nanoseconds % 1_000_000_000n) : nanoseconds;
}

/** `path` is as the checker names it, one character a byte. */
const fileOf = (folder: string, path: string) =>
  Buffer.from(`${Buffer.from(folder).toString('latin1')}/${path}`, 'latin1');

/** Bytes of `file` that lie in 64 KiB blocks with anything but zeros, and what a file system may add to them. */
function mostOccupied(file: Buffer): number {
  const content = readFileSync(file);
  const zeros = Buffer.alloc(HOLE);
  let blocks = 0;
  for (let at = 0; at < content.length; at += HOLE) {
    const block = content.subarray(at, at + HOLE);
    if (!block.equals(zeros.subarray(0, block.length))) blocks += 1;
  }
  return blocks * HOLE + ROUNDING;
}

/** True of a hole that is smaller than an archive keeps. */
function isSmallHole(difference: string, original: string): boolean {
  const parts = /^(".*"): occupied \d+ and (\d+)$/s.exec(difference);
  const path: unknown = JSON.parse(parts?.[1] ?? 'null');
  return typeof path === 'string' && Number(parts?.[2]) <= mostOccupied(fileOf(original, path));
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
  shell(EXTRAS, volume);
  if (asRoot) shell(EXTRAS_OF_ROOT, volume);
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
