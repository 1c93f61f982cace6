import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, onTestFinished, test } from 'vitest';
import { concat } from '../../shared/bytes.ts';
import type { ByteString } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { TYPE } from '../../dvm/entry.ts';
import type { Entry } from '../../dvm/entry.ts';
import { StreamOutput } from '../../dvm/export-output.ts';
import type { Send } from '../../dvm/export-output.ts';
import { TarExporter } from '../../dvm/export-tar.ts';
import { PackReader } from '../../dvm/pack-reader.ts';
import { Report } from '../../dvm/restore-report.ts';
import { TarWriter } from '../../dvm/tar.ts';
import { rejection } from '../support/failure.ts';
import { program, testNeeding } from '../support/needs.ts';
import { MemoryStore, entryOf } from './tree-kit.ts';

const writerTo = (send: Send) => new TarWriter(new StreamOutput(send));

testNeeding(program('tar'))(
  'a file of more than 8 GiB goes through, without being held',
  async () => {
    const size = 8 * 1024 ** 3 + 4097;
    const list = spawn('tar', ['-tvf', '-'], { stdio: ['pipe', 'pipe', 'inherit'] });
    onTestFinished(() => {
      list.kill();
    });
    let output = '';
    list.stdout.on('data', (piece: Buffer) => (output += piece.toString()));
    let largest = 0;
    const writer = writerTo(async (pieces) => {
      const data = concat(pieces);
      largest = Math.max(largest, data.length);
      if (!list.stdin.write(data)) await once(list.stdin, 'drain');
    });
    await writer.addFile(entryOf('big', TYPE.file, { size }));
    const zeros = new Uint8Array(2 * 1024 * 1024);
    for (let rest = size; rest > 0; rest -= zeros.length)
      await writer.write(zeros.subarray(0, Math.min(rest, zeros.length)));
    await writer.endFile();
    await writer.add(entryOf('after', TYPE.fifo));
    await writer.finish();
    list.stdin.end();
    await once(list, 'close');
    expect(output).toContain(` ${size} `);
    expect(output).toContain('after');
    expect(largest).toBeLessThanOrEqual(1024 * 1024);
  },
  120_000,
);

/** Everything a writer says about `name`. */
async function archive(name: string, fields: Partial<Entry> = {}): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  const writer = writerTo((some) => {
    pieces.push(...some.map((piece) => new Uint8Array(piece)));
    return Promise.resolve();
  });
  await writer.add({ ...entryOf('', TYPE.fifo), path: name as ByteString, ...fields });
  await writer.finish();
  return concat(pieces);
}

/** The pax records of the first member, in order. Fails unless every record has its own length. */
function recordsOf(archived: Uint8Array): [string, string][] {
  const tar = Buffer.from(archived);
  expect(tar.length % 512).toBe(0);
  if (tar.toString('latin1', 156, 157) !== 'x') return [];
  const body = tar.toString('latin1', 512, 512 + parseInt(tar.toString('latin1', 124, 135), 8));
  const found: [string, string][] = [];
  let at = 0;
  while (at < body.length) {
    const own = Number(body.slice(at, body.indexOf(' ', at)));
    const record = body.slice(at, at + own);
    expect(record.endsWith('\n')).toBe(true);
    const equals = record.indexOf('=');
    found.push([record.slice(record.indexOf(' ') + 1, equals), record.slice(equals + 1, -1)]);
    at += own;
  }
  expect(at).toBe(body.length);
  return found;
}

test('a name of any length has a record of its own length, once a header cannot hold it', async () => {
  for (let length = 90; length < 1200; length += 1) {
    const name = 'n'.repeat(length);
    const records = new Map(recordsOf(await archive(name)));
    expect(records.get('path')).toBe(length <= 100 ? undefined : name);
  }
});

test('names that are not UTF-8, or not composed, are marked as bytes: nobody may refuse or compose them', async () => {
  const marked = async (name: string) => new Map(recordsOf(await archive(name))).get('hdrcharset');
  expect(await marked('\xe9')).toBe('BINARY');
  expect(await marked('e\xcc\x81')).toBe('BINARY'); // An e and a combining accent.
  expect(await marked('\xed\xa0\x80')).toBe('BINARY'); // Half a character of UTF-16.
  expect(await marked('\xc3\xa9')).toBeUndefined();
  expect(await marked('plain\n\x01')).toBeUndefined();
});

test('numbers go to the header while it can hold them, then to a record', async () => {
  const fields = { uid: 0o7777777, gid: 0o7777777, mtime: { seconds: 8_589_934_591, nanoseconds: 0 } };
  expect(recordsOf(await archive('f', fields))).toEqual([]);
  const larger = { uid: 0o10000000, gid: 4_294_967_294, mtime: { seconds: 8_589_934_592, nanoseconds: 0 } };
  expect(recordsOf(await archive('f', larger))).toEqual([
    ['mtime', '8589934592'],
    ['uid', '2097152'],
    ['gid', '4294967294'],
  ]);
});

test.each([
  [{ seconds: 0, nanoseconds: 1 }, '0.000000001'],
  [{ seconds: -1, nanoseconds: 999_999_999 }, '-0.000000001'],
  [{ seconds: -1, nanoseconds: 0 }, '-1'],
  [{ seconds: -2, nanoseconds: 750_000_000 }, '-1.250000000'],
])('time %o is %s', async (mtime, text) => {
  expect(recordsOf(await archive('f', { mtime }))).toEqual([['mtime', text]]);
});

test('attributes are bytes under keys that survive, access lists are text, unless they are none', async () => {
  const acl = Buffer.from(
    '0200000001000700ffffffff020005000028 6bee10000700ffffffff20000000ffffffff'.replace(' ', ''),
    'hex',
  );
  const attribute = (name: string, value: Uint8Array) => ({ name: name as ByteString, value });
  const attributes = [
    attribute('system.posix_acl_access', acl),
    attribute('system.posix_acl_default', acl.subarray(0, 11)),
    attribute('user.a=b%3D', Uint8Array.of(0, 10, 61, 255)),
    attribute('user.%', new Uint8Array(0)),
  ];
  const mtime = { seconds: 1, nanoseconds: 0 };
  expect(recordsOf(await archive('f', { attributes, mtime }))).toEqual([
    ['SCHILY.acl.access', 'user::rwx,user:4000000000:r-x,mask::rwx,other::---'],
    ['SCHILY.xattr.system.posix_acl_default', acl.subarray(0, 11).toString('latin1')],
    ['SCHILY.xattr.user.a%3Db%253D', '\x00\n=\xff'],
    ['SCHILY.xattr.user.%', ''],
  ]);
});

test('chattr flags are named as libarchive names them', async () => {
  const mtime = { seconds: 1, nanoseconds: 0 };
  const records = recordsOf(await archive('f', { mtime, flags: 0xf8 }));
  expect(records).toEqual([['SCHILY.fflags', 'sync,schg,sappnd,nodump,noatime']]);
});

test('a file of too many pieces to gather becomes one without holes, and that is noted', async () => {
  const store = new MemoryStore();
  const chunks = store.pack(Buffer.from('one'), Buffer.from('two')).map((chunk) => ({ ...chunk, gap: 1000 }));
  const entry = entryOf('f', TYPE.file, { size: 5000, mtime: { seconds: 1, nanoseconds: 0 } });
  const archiveOf = async (maxGathered: number) => {
    const pieces: Uint8Array[] = [];
    const notes: string[] = [];
    const output = new StreamOutput((some) => {
      pieces.push(...some.map((piece) => new Uint8Array(piece)));
      return Promise.resolve();
    });
    const report = new Report({
      send(name: string, value: object) {
        if (name === 'note' && 'detail' in value) notes.push(String(value.detail));
        return Promise.resolve();
      },
    });
    const exporter = new TarExporter(new PackReader(store), report, output, maxGathered);
    const records = chunks.map((chunk) => ({ kind: 'chunk', chunk }) as const);
    await exporter.write([{ kind: 'entry', entry, chunkCount: chunks.length }, ...records]);
    await exporter.finish();
    await report.finish();
    return { tar: Buffer.concat(pieces), notes };
  };
  const sparse = await archiveOf(2);
  expect(sparse.notes).toEqual([]);
  expect(new Map(recordsOf(sparse.tar)).get('GNU.sparse.realsize')).toBe('5000');
  const full = await archiveOf(1);
  expect(full.notes).toEqual(['it has too many pieces: its holes, if any, become zeros']);
  const content = Buffer.alloc(5000);
  content.write('one', 1000);
  content.write('two', 2003);
  expect(full.tar.subarray(512, 5512).equals(content)).toBe(true);
});

test('a stream that cannot be sent fails the writer instead of stalling it', async () => {
  const writer = writerTo(() => Promise.reject(new BackupError('service-died', 'gone')));
  const write = async () => {
    await writer.addFile(entryOf('f', TYPE.file, { size: 100 * 1024 * 1024 }));
    for (let i = 0; i < 100; i++) await writer.write(new Uint8Array(1024 * 1024));
    await writer.endFile();
    await writer.finish();
  };
  expect((await rejection(write())).code).toBe('service-died');
});
