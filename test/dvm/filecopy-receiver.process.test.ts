/** R33: the local stand-in for qubes.Filecopy takes what the one of Qubes OS takes, and refuses what it refuses. */

import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { END, checksum, entry } from '../support/file-copy.ts';
import { COMPILED, PROJECT, run } from '../support/processes.ts';
import { tempFolder } from '../support/temp.ts';

const DIRECTORY = 0o040000;
const FILE = 0o100000;
const SYMLINK = 0o120000;

let outside = '';
let home = '';
let incoming = '';

beforeEach(() => {
  outside = tempFolder();
  home = join(outside, 'home');
  incoming = join(home, 'QubesIncoming/dom0');
  mkdirSync(home);
  writeFileSync(join(outside, 'file'), 'untouched');
});

/** Sends `pieces` to a receiver; answers what it answered. */
async function send(pieces: readonly Buffer[], argument = '') {
  const input = Buffer.concat(pieces);
  const environment = {
    HOME: home,
    QREXEC_REMOTE_DOMAIN: 'dom0',
    QREXEC_SERVICE_ARGUMENT: argument,
    ...COMPILED,
  };
  const service = join(PROJECT, 'services/vm/qubes.Filecopy.ts');
  const { code, stdout, stderr } = await run(process.execPath, [service], { input, env: environment });
  expect(stderr).toBe('');
  expect(stdout.length).toBe(20 + stdout.readUInt32LE(16));
  const errno = stdout.readUInt32LE(0);
  expect(code).toBe(errno === 0 ? 0 : 1);
  return {
    error: Object.entries(constants.errno).find(([, number]) => number === errno)?.[0],
    crc: Number(stdout.readBigUInt64LE(8)),
    last: stdout.toString('latin1', 20),
    sent: checksum(input),
  };
}

const all = () => readdirSync(incoming, { recursive: true, encoding: 'utf8' }).sort();
const folder = (name: string, mode = 0o755) => entry({ name, mode: DIRECTORY | mode });
const file = (name: string, content = 'content') => entry({ name, mode: FILE | 0o644, content });
const link = (name: string, target: string) => entry({ name, mode: SYMLINK | 0o777, content: target });

test('files, folders and symlinks come with content, mode and time', async () => {
  const closed = entry({ name: 'a/b', mode: DIRECTORY | 0o500, mtime: [4_000_000_000, 999_999_999] });
  const large = Buffer.alloc(3_000_000, 'large');
  const stream = [
    folder('a'),
    folder('a/b', 0o500),
    entry({ name: 'a/b/f', mode: FILE | 0o4751, content: large, mtime: [0, 1] }),
    entry({ name: 'a/b/none', mode: FILE }),
    closed,
    link('a/l', 'b/f'),
    folder('a'),
    END,
  ];
  const { error, crc, sent, last } = await send(stream);
  expect([error, crc, last]).toEqual([undefined, sent, 'a']);
  expect(all()).toEqual(['a', 'a/b', 'a/b/f', 'a/b/none', 'a/l']);
  const stat = (name: string) => lstatSync(join(incoming, name), { bigint: true });
  expect(readFileSync(join(incoming, 'a/b/f')).equals(large)).toBe(true);
  expect(stat('a/b/f')).toMatchObject({ mtimeNs: 1n });
  expect(Number(stat('a/b/f').mode) & 0o7777).toBe(0o4751);
  expect(stat('a/b')).toMatchObject({ mtimeNs: 4_000_000_000_999_999_999n });
  expect(Number(stat('a/b').mode) & 0o7777).toBe(0o500);
  expect(stat('a/b/none').size).toBe(0n);
  expect(readlinkSync(join(incoming, 'a/l'))).toBe('b/f');
});

test('nothing that is there is overwritten, folders are filled', async () => {
  await send([folder('a'), file('a/f', 'first'), END]);
  const { error, last } = await send([folder('a'), file('a/g', 'second'), file('a/f', 'third'), END]);
  expect([error, last]).toEqual(['EEXIST', 'a/f']);
  expect(readFileSync(join(incoming, 'a/f'), 'utf8')).toBe('first');
  expect(readFileSync(join(incoming, 'a/g'), 'utf8')).toBe('second');
  expect((await send([folder('a'), link('a/f', 'g'), END])).error).toBe('EEXIST');
  expect((await send([folder('a/f'), END])).error).toBe('ENOTDIR');
});

describe('names that lead elsewhere', () => {
  test.each(['/etc/x', '../x', 'a/../../x', '..', '.', './x', 'a//x', 'a/', 'a/./x', 'a/..'])(
    '%s is refused',
    async (name) => {
      for (const kind of [FILE, DIRECTORY]) {
        const { error } = await send([folder('a'), entry({ name, mode: kind | 0o700 }), END]);
        expect(error).toBe('EILSEQ');
      }
      expect(all()).toEqual(['a']);
      expect(existsSync(join(home, 'QubesIncoming/x'))).toBe(false);
    },
  );

  test.each([
    ['l', 'a'], // A symlink at the top could be replaced by nothing of this stream, and lead anywhere later.
    ['a/l', '../x'],
    ['a/b/l', '../../x'],
    ['a/l', '/etc/passwd'],
    ['a/l', ''],
    ['a/l', 'b/../..'],
    ['a/l', './x'],
    ['a/l', 'b//c'],
  ])('symlink %s to "%s" is refused', async (name, target) => {
    const { error } = await send([folder('a'), folder('a/b'), link(name, target), END]);
    expect(error).toBe('EILSEQ');
    expect(all()).toEqual(['a', 'a/b']);
  });

  test.each([
    ['a/l', 'b'],
    ['a/b/l', '../f'],
    ['a/b/l', '..'],
    ['a/l', 'b/'],
  ])('symlink %s to "%s" is taken', async (name, target) => {
    expect((await send([folder('a'), folder('a/b'), link(name, target), END])).error).toBeUndefined();
    expect(readlinkSync(join(incoming, name))).toBe(target);
  });

  test('no symlink is followed, sent or there before', async () => {
    mkdirSync(join(incoming, 'a/b'), { recursive: true });
    symlinkSync(outside, join(incoming, 'a/out'));
    symlinkSync(join(outside, 'file'), join(incoming, 'a/file'));
    expect((await send([file('a/out/x'), END])).error).toMatch(/^(ELOOP|ENOTDIR)$/);
    expect((await send([folder('a/out'), END])).error).toMatch(/^(ELOOP|ENOTDIR)$/);
    expect((await send([file('a/file'), END])).error).toBe('EEXIST');
    expect((await send([link('a/in', 'b'), file('a/in/x'), END])).error).toMatch(/^(ELOOP|ENOTDIR)$/);
    expect(readdirSync(outside).sort()).toEqual(['file', 'home']);
    expect(readFileSync(join(outside, 'file'), 'utf8')).toBe('untouched');
  });

  test.each(['home', 'home/QubesIncoming', 'home/QubesIncoming/dom0'])(
    'nor one in the place of %s',
    async (place) => {
      home = join(outside, 'volume/home');
      mkdirSync(join(outside, 'volume', place, '..'), { recursive: true });
      mkdirSync(join(outside, 'elsewhere'));
      symlinkSync(join(outside, 'elsewhere'), join(outside, 'volume', place));
      expect((await send([file('x'), END])).error).toMatch(/^(ELOOP|ENOTDIR)$/);
      expect(readdirSync(join(outside, 'elsewhere'))).toEqual([]);
    },
  );
});

describe('names beyond printable ASCII', () => {
  test.each(['\xc3\xa9', '\xff', 'a\nb', '\x1b[2J'])('%j needs the argument', async (name) => {
    expect((await send([file(name), END])).error).toBe('EILSEQ');
    expect((await send([folder('a'), link('a/l', name), END])).error).toBe('EILSEQ');
    expect((await send([file(name), link('a/l', name), END], 'allow-all-names')).error).toBeUndefined();
    expect(readdirSync(incoming, { encoding: 'buffer' }).map((found) => found.toString('latin1'))).toContain(
      name,
    );
  });

  test('a NUL is refused with it too', async () => {
    expect((await send([file('a\0b'), END], 'allow-all-names')).error).toBe('EILSEQ');
  });
});

describe('streams that are wrong', () => {
  const header = (mode: number, size?: bigint) =>
    entry({ name: 'f', mode, ...(size === undefined ? {} : { size }) });

  test.each([
    ['a FIFO', header(0o010600), 'EINVAL'],
    ['a device', header(0o060600), 'EINVAL'],
    ['no type', header(0o644), 'EINVAL'],
    ['a name that is too long', file('n'.repeat(5000)), 'ENAMETOOLONG'],
    ['a target that is too long', link('f', 't'.repeat(5000)), 'ENAMETOOLONG'],
    ['too many nanoseconds', entry({ name: 'f', mode: FILE, mtime: [1, 10 ** 9] }), 'EINVAL'],
    ['a size that no file has', header(FILE, 2n ** 63n), 'EDQUOT'],
    ['content that ends early', header(FILE, 100n), 'EPIPE'],
    ['a header that ends early', END.subarray(0, 31), 'EPIPE'],
    ['no end', Buffer.alloc(0), 'EPIPE'],
  ])('%s', async (_what, bytes, error) => {
    expect((await send([bytes])).error).toBe(error);
    expect(all()).toEqual([]);
  });
});
