/** Fills a mounted volume with a random tree and what that one lacks: FOLDER SEED. Needs root. */

import { statfsSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { generateTree } from '../support/tree-generator.ts';

const [folder = '', seed = '1'] = process.argv.slice(2);

const MORE = `cd "$1"
mkdir many deep flags acl
(cd many; seq -f 'a-rather-long-name-to-need-more-blocks-%g' 3000 | xargs touch)
mknod old-null c 1 3; mknod new-minor b 8 300; mknod new-major c 511 1048575; mknod fifo p
echo mine >owned; chown 4294967294:4294967294 owned; chown -h 65534:65534 many
ln -s "$(printf %059d 1)" link-59; ln -s "$(printf %060d 1)" link-60; ln -s "$(printf %04095d 1)" link-4095 || true
truncate --size 1T huge; printf end | dd of=huge bs=1 seek=700000000000 conv=notrunc status=none || true
fallocate --length 1M unwritten || true; printf data | dd of=unwritten bs=1 seek=500000 conv=notrunc status=none
fallocate --keep-size --length 1M beyond || true; echo short >>beyond
for i in $(seq 40); do printf "%d" "$i" | dd of=fragmented bs=1 seek=$((i * 20000)) conv=notrunc status=none; done
for size in 1 59 60 61 100 150 200 300 1023 1024 1025 4095 4096 4097; do head -c "$size" /dev/urandom >"size-$size-b"; done
echo a >flags/a; echo b >flags/b; echo c >flags/c; mkdir flags/d
touch -d 1901-12-14T00:00:00.000000001 old-time; touch -d 2106-03-04T05:06:07.999999999 late-time; touch -d 1969-12-31T23:59:59.5 before
setfacl -m u:1000:rwx,u:4000000000:r,g:12:x,m:rx flags/a || true
setfacl -d -m u:7:rwx,g:8:r acl || true
setfattr -n user.empty flags/b || true
setfattr -n user.value -v "0x$(head -c 700 /dev/urandom | od -An -v -tx1 | tr -d ' \\n')" flags/b || true
setfattr -n user.huge -v "0x$(head -c 30000 /dev/urandom | od -An -v -tx1 | tr -d ' \\n')" flags/c || true
setfattr -n trusted.hidden -v 1 flags/b || true
setcap cap_net_raw+ep flags/b || true
chattr +i flags/a; chattr +a flags/b; chattr +dAS flags/c; chattr +d flags/d
sync`;

const { type, bsize } = statfsSync(folder);
const XFS = 0x58465342;
const maxTarget = type === XFS ? 1023 : bsize - 1;
generateTree(folder, { maxTarget, seed: Number(seed), entries: 300, maxFile: 2 * 1024 * 1024 });
execFileSync('/bin/sh', ['-uc', MORE, 'sh', folder], { stdio: ['ignore', 'ignore', 'ignore'] });
