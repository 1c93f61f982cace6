/**
 * R20: everything that a volume can hold, one folder for each feature, through the command line: scanned, sealed,
 * stored, restored and verified by sandboxed processes, and compared by the checker.
 */

import { lstatSync, mkdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AGAIN } from '../support/again.ts';
import { compareTrees } from '../support/checker.ts';
import type { Event } from '../support/home.ts';
import { shell } from '../support/images.ts';
import { attributes, fileFlags, isInstalled, program, root, testNeeding } from '../support/needs.ts';
import type { Missing } from '../support/needs.ts';
import { makeTemp, removeTree, tempFolder } from '../support/temp.ts';
import { comeBack, comeBackWide, listing } from './come-back.ts';
import { eventOf, runCommand } from './command-line.ts';

interface Feature {
  readonly name: string;
  readonly needs?: readonly Missing[];
  /** Makes it in the current folder, by /bin/sh -eu. */
  readonly plant: string;
  /** What must be there after the restore, beside that nothing differs. */
  readonly holds: (folder: string) => void;
}

const [xattrs, flags] = [attributes(), fileFlags()];
const stat = (folder: string, name: string) => lstatSync(join(folder, name), { bigint: true });
const say = (folder: string, script: string) => shell(`cd "$1"; ${script}`, folder).trim();

const FEATURES: readonly Feature[] = [
  {
    name: 'owners up to 2^32 - 2',
    needs: [root],
    plant: 'touch file; ln -s file link; mkdir folder; chown -h 4294967294:4294967294 file link folder',
    holds: (at) => {
      for (const name of ['file', 'link', 'folder'])
        expect([stat(at, name).uid, stat(at, name).gid]).toEqual([4294967294n, 4294967294n]);
    },
  },
  {
    name: 'times before 1970 and after 2038, to the nanosecond',
    plant: `touch old new; mkdir folder; ln -s old link
      touch -h -d @-86401.123456789 old link; touch -d @4294967297.000000001 new folder`,
    holds: (at) => {
      expect(stat(at, 'old').mtimeNs).toBe(-86_401_123_456_789n);
      expect(stat(at, 'link').mtimeNs).toBe(-86_401_123_456_789n);
      expect(stat(at, 'new').mtimeNs).toBe(4_294_967_297_000_000_001n);
      expect(stat(at, 'folder').mtimeNs).toBe(4_294_967_297_000_000_001n);
    },
  },
  {
    name: 'names of 255 bytes and of any bytes',
    plant: `touch -- "$(printf '%0255d' 0)" "$(printf '\\377\\376\\001')" "$(printf 'new\\nline')" '-rf' "$(printf '\\303\\050')" ' '`,
    holds: (at) => expect(say(at, 'find . -mindepth 1 -print0 | tr -cd "\\0" | wc -c')).toBe('6'),
  },
  {
    name: 'paths beyond 4,096 bytes',
    plant: `mkdir beyond-path-max; cd beyond-path-max
      for i in $(seq 20); do mkdir ${'d'.repeat(250)}; cd -P ${'d'.repeat(250)}; done
      echo deep > bottom; ln bottom linked; touch -d @1.5 bottom .`,
    holds: (at) =>
      expect(say(at, 'find . -name bottom -execdir cat {} + -execdir stat -c "%h %Y" {} +')).toBe(
        'deep\n2 1',
      ),
  },
  {
    name: 'symlinks of 4,095 bytes and to nowhere',
    plant: `ln -s "$(printf '%04095d' 0)" long; ln -s nowhere dangling; ln -s self self; ln -s "$(printf '\\377')" odd`,
    holds: (at) => expect(readlinkSync(join(at, 'long'))).toHaveLength(4095),
  },
  {
    name: 'hard links across folders',
    plant: `mkdir a b; echo text > a/one; ln a/one b/two; ln a/one three; ln -s x a/s; ln a/s b/s; mkfifo a/f; ln a/f b/f
      echo text > other`,
    holds: (at) => {
      expect(new Set(['a/one', 'b/two', 'three'].map((name) => stat(at, name).ino)).size).toBe(1);
      expect(stat(at, 'b/s').ino).toBe(stat(at, 'a/s').ino);
      expect(stat(at, 'b/f').ino).toBe(stat(at, 'a/f').ino);
      expect(stat(at, 'other').nlink).toBe(1n);
    },
  },
  {
    name: 'FIFOs, and sockets as a note',
    needs: [program('python3')],
    plant: `mkfifo -m 620 fifo; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("left.socket")'; touch -d @9 .`,
    holds: (at) => {
      expect(stat(at, 'fifo').isFIFO()).toBe(true);
      expect(say(at, 'ls')).toBe('fifo');
    },
  },
  {
    name: 'devices',
    needs: [root],
    plant: 'mknod null c 1 3; mknod loop b 7 200; mknod large c 511 262143; chmod 4640 loop',
    holds: (at) => {
      expect(say(at, 'stat -c "%F %t %T" null large')).toBe(
        'character special file 1 3\ncharacter special file 1ff 3ffff',
      );
      expect(stat(at, 'loop').isBlockDevice()).toBe(true);
    },
  },
  {
    name: 'setuid, setgid, sticky',
    plant:
      'touch all; chmod 7777 all; mkdir folder; chmod 3755 folder; touch only-user; chmod 4711 only-user',
    holds: (at) => expect(say(at, 'stat -c %a all folder only-user')).toBe('7777\n3755\n4711'),
  },
  {
    name: 'entries without any permission',
    needs: [root],
    plant: 'echo secret > file; mkdir folder; echo inner > folder/file; chmod 0 file folder/file folder',
    holds: (at) => expect(say(at, 'cat file folder/file')).toBe('secret\ninner'),
  },
  {
    name: 'attributes of users',
    needs: [xattrs, program('getfattr')],
    plant: `touch file; mkdir folder; setfattr -n user.empty file; setfattr -n user.binary -v 0x00ff0a00 file folder
      setfattr -n user.long -v "$(printf '%02000d' 0)" file; chmod 400 file`,
    holds: (at) =>
      expect(say(at, 'getfattr --only-values -n user.binary folder | od -An -tx1').trim()).toBe(
        '00 ff 0a 00',
      ),
  },
  {
    name: 'access control lists',
    needs: [xattrs, program('setfacl'), program('getfacl')],
    plant: `touch file; mkdir folder; me=$(id -u); setfacl -m u:$me:r-x,m::rwx file folder; setfacl -d -m u:$me:rwx folder`,
    holds: (at) => expect(say(at, 'getfacl -p folder | grep -c ^default:user:.')).not.toBe('0'),
  },
  {
    name: 'capabilities',
    needs: [root, xattrs, program('setcap')],
    plant: 'touch file; chown 12:34 file; chmod 4755 file; setcap cap_net_raw,cap_net_admin=ep file',
    holds: (at) => expect(say(at, 'getcap file')).toMatch(/cap_net_admin,cap_net_raw=ep/),
  },
  {
    name: 'chattr flags',
    needs: [root, flags],
    plant: `echo a > i; echo a > a; echo a > d; mkdir sealed; echo b > sealed/inner; ln i linked; mkdir S; touch A
      chattr +i i sealed; chattr +a a; chattr +d d; chattr +S S; chattr +A A`,
    holds: (at) => {
      const expected = { i: 'i', linked: 'i', a: 'a', d: 'd', sealed: 'i', S: 'S', A: 'A' };
      for (const [name, flag] of Object.entries(expected))
        expect(say(at, `lsattr -d ${name}`).split(' ')[0]).toContain(flag);
    },
  },
  {
    name: 'holes',
    plant: `truncate -s 10M hole; truncate -s 9M islands; printf x | dd of=islands bs=1 seek=5000000 conv=notrunc status=none
      head -c 300000 /dev/zero > zeros; printf data > tail; truncate -s 1M tail`,
    holds: (at) => {
      expect(stat(at, 'hole').blocks).toBe(0n);
      expect(stat(at, 'islands').blocks * 512n).toBeLessThanOrEqual(8192n);
      expect(stat(at, 'tail').blocks * 512n).toBeLessThanOrEqual(8192n);
    },
  },
];

const folderOf = (name: string) => name.replace(/[^a-z0-9]+/gi, '-');
const isMet = ({ needs = [] }: Feature) => needs.every((need) => need === undefined);

describe('comes back exactly:', () => {
  const folder = makeTemp();
  const home = { folder, keyFile: join(folder, 'key-file') };
  const [volume, restored] = ['work', 'copy'].map((vm) => join(folder, 'vms', vm, 'private')) as [
    string,
    string,
  ];
  let backedUp: readonly Event[] = [];
  let again: readonly Event[] = [];

  beforeAll(() => {
    for (const feature of FEATURES.filter(isMet)) {
      mkdirSync(join(volume, folderOf(feature.name)), { recursive: true });
      shell(`cd "$1"; ${feature.plant}`, join(volume, folderOf(feature.name)));
    }
    runCommand(home, 'init');
    backedUp = runCommand(home, 'backup', 'work');
    again = runCommand(home, 'backup', 'work');
    runCommand(home, 'restore', 'work', '--as', 'copy');
  });
  afterAll(() => removeTree(folder));

  for (const feature of FEATURES) {
    testNeeding(...(feature.needs ?? []))(feature.name, () => {
      const [from, to] = [volume, restored].map((at) => join(at, folderOf(feature.name))) as [string, string];
      feature.holds(to);
      expect(compareTrees(from, to)).toEqual([]);
    });
  }

  test('all of it at once, and the second backup stores no content', () => {
    expect(compareTrees(volume, restored)).toEqual([]);
    expect(eventOf(again, 'backup')).toMatchObject({ storedContentObjects: 0, changedFiles: 0 });
    if (isInstalled('python3'))
      expect(backedUp.filter(({ event }) => event === 'note')).toMatchObject([
        { code: 'skipped-socket', path: expect.stringMatching(/left\.socket$/) as string },
      ]);
  });
});

test('a sparse file of 1 TiB: only its 1 MiB of data is read, and it comes back as sparse', () => {
  const places = [0, 1, 517, 1023].map((gibibytes) => gibibytes * 2 ** 30);
  const { volume, restored, backup } = comeBack(
    tempFolder(),
    `truncate -s 1T file; ${places
      .map(
        (at) =>
          `head -c 262144 /dev/urandom | dd of=file bs=262144 seek=${at / 262_144} conv=notrunc status=none`,
      )
      .join('; ')}; touch -d @1.5 file`,
  );
  expect(backup['bytes']).toBe(2 ** 40);
  expect(backup['readBytes']).toBeLessThan(8 * 2 ** 20);
  const [one, two] = [volume, restored].map((at) => lstatSync(join(at, 'file'), { bigint: true }));
  expect([two?.size, two?.mtimeNs]).toEqual([2n ** 40n, one?.mtimeNs]);
  expect(Number(two?.blocks) * 512).toBeLessThan(1.2 * 2 ** 20);
  const data = (at: string) =>
    places
      .map((place) =>
        shell(`dd if="$1"/file bs=262144 skip=${place / 262_144} count=1 status=none | sha256sum`, at),
      )
      .join('');
  expect(data(restored)).toBe(data(volume));
});

const WIDE = AGAIN ? 10_000 : 100_000;
test(`a folder of ${WIDE.toLocaleString('en-US')} entries`, () => {
  const { volume, restored } = comeBackWide(tempFolder(), WIDE);
  expect(listing(restored)).toBe(listing(volume));
});
