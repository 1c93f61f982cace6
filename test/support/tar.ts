/** What is hard to keep in a tar, and what an archive may leave out of it. */

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { root } from './needs.ts';

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

/** Unpacks, as its last words say, with all that GNU tar can restore. */
export const GNU_TAR = [
  'tar',
  '--xattrs',
  '--xattrs-include=*',
  '--acls',
  '--numeric-owner',
  '--same-owner',
  '-xpf',
] as const;

/** The unit of holes in an archive, and what a file may occupy beyond its data. */
const HOLE = 64 * 1024;
const ROUNDING = 16 * 1024;

function shell(script: string, folder: string): void {
  const ended = spawnSync('sh', ['-e', '-s', folder], { input: script, encoding: 'utf8', env: process.env });
  if (ended.status !== 0) throw new Error(`making the tree failed: ${ended.stderr}`);
}

/** Puts all of it into `folder`; devices, owners and some attributes for root only. */
export function plantExtras(folder: string): void {
  shell(EXTRAS, folder);
  if (root === undefined) shell(EXTRAS_OF_ROOT, folder);
}

/** `path` is as the checker names it, one character a byte. */
export const fileOf = (folder: string, path: string) =>
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
export function isSmallHole(difference: string, original: string): boolean {
  const parts = /^(".*"): occupied \d+ and (\d+)$/s.exec(difference);
  const path: unknown = JSON.parse(parts?.[1] ?? 'null');
  return typeof path === 'string' && Number(parts?.[2]) <= mostOccupied(fileOf(original, path));
}
