import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { u64, utf8 } from '../../shared/bytes.ts';
import type { ByteString } from '../../shared/bytes.ts';
import { browse } from '../../shared/protocol/browse.ts';
import type { ListEntry, Question } from '../../shared/protocol/browse.ts';
import { encodeCbor } from '../../shared/cbor.ts';
import { streamIo } from '../../shared/wire/io.ts';
import { Session } from '../../shared/wire/session.ts';
import { entriesAt } from '../../dvm/browse.ts';
import { TYPE } from '../../dvm/entry.ts';
import { decodeTop } from '../../dvm/tree.ts';
import type { Top, TreeEntry } from '../../dvm/tree.ts';
import { COMPILED, PROJECT, start } from '../support/processes.ts';
import { MemoryStore, bytes, callService, directory, entryOf, sha256, symlink } from './tree-kit.ts';

let store = new MemoryStore();
beforeEach(() => {
  store = new MemoryStore(3);
});

function list(top: number, path: string | Uint8Array, recursive = false, skipped = false) {
  const bytes = typeof path === 'string' ? utf8(path) : path;
  return ask({ kind: 'list', top, path: bytes, recursive, skipped });
}

async function ask(question: Question) {
  const answer = await callService(browse, question, store);
  const lines: ListEntry[] = [];
  let found: boolean | undefined;
  for (const message of answer.said) {
    if (message.name === 'entries') lines.push(...message.value.entries);
    if (message.name === 'done') found = message.value.found;
  }
  return { ...answer, lines, found, paths: lines.map((line) => line.path) };
}

describe('listing', () => {
  const tree = () => [
    directory(''),
    directory('a'),
    store.file('a/file', ['12345'], { uid: undefined, mtime: { seconds: -3, nanoseconds: 5 } }),
    directory('a/sub'),
    { entry: entryOf('a/sub/fifo', TYPE.fifo), chunks: [] },
    symlink('a.txt', 'x\ny'),
    directory('empty'),
    {
      ...symlink('odd', 'x'),
      entry: { ...symlink('odd', 'x').entry, path: 'odd\xff\x1b[31m\\' as ByteString },
    },
  ];

  test('R02: a folder’s children, in printable ASCII', async () => {
    const { paths, found, lines, code } = await list(await store.tree(tree()), '');
    expect(paths).toEqual(['a', 'a.txt', 'empty', 'odd\\xff\\x1b[31m\\\\']);
    expect(found).toBe(true);
    expect(code).toBe(0);
    expect(lines[1]).toMatchObject({ type: 'symlink', target: 'x\\x0ay' });
  });

  test('a folder within, all below it, a file, an empty folder, nothing', async () => {
    const top = await store.tree(tree());
    expect((await list(top, 'a')).paths).toEqual(['a/file', 'a/sub']);
    expect((await list(top, 'a', true)).paths).toEqual(['a/file', 'a/sub', 'a/sub/fifo']);
    const file = await list(top, 'a/file');
    expect(file.lines).toEqual([
      {
        path: 'a/file',
        type: 'file',
        mode: 0o644,
        uid: null,
        gid: entryOf('', 1).gid,
        size: 5,
        mtime: 3,
        beforeEpoch: true,
        mtimeNanoseconds: 5,
        target: null,
        linked: false,
        attributes: 0,
        flags: [],
        doubtful: false,
        unreadable: false,
      },
    ]);
    expect(await list(top, 'empty')).toMatchObject({ found: true, lines: [] });
    for (const path of ['b', 'a/fil', 'a/file/x', 'zzz', 'a/', '/a', '..']) {
      expect(await list(top, path)).toMatchObject({ found: false, lines: [], code: 0 });
    }
    expect((await list(top, Buffer.from('odd\xff\x1b[31m\\', 'latin1'))).found).toBe(true);
  });

  test('names of any length fit the protocol', async () => {
    const long = '\x01'.repeat(9000) as ByteString;
    const entries = Array.from({ length: 300 }, (_, i) => {
      const item = symlink('x', '');
      return {
        ...item,
        entry: { ...item.entry, path: `${String(i).padStart(3, '0')}${long}` as ByteString, target: long },
      };
    });
    const { lines, failure } = await list(await store.tree([directory(''), ...entries]), '');
    expect(failure).toBeUndefined();
    expect(lines.length).toBe(300);
  });
});

describe('in a tree of many leaves', () => {
  let top: Top;
  let number = 0;
  beforeEach(async () => {
    const entries: TreeEntry[] = [directory('')];
    for (const name of ['aa', 'bb', 'cc']) {
      entries.push(directory(name));
      for (let i = 0; i < 20_000; i++)
        entries.push({ entry: entryOf(`${name}/${String(i).padStart(6, '0')}`, TYPE.file), chunks: [] });
    }
    const [chunk] = store.pack(Buffer.from('x'));
    const chunks = Array.from({ length: 60_000 }, (_, i) => ({
      ...chunk!,
      hash: sha256(Buffer.from(String(i))),
    }));
    entries.push({ entry: entryOf('huge', TYPE.file, { size: 60_000 }), chunks });
    entries.push(symlink('last', 'x'));
    number = await store.tree(entries);
    top = decodeTop(store.blobs.get(number)!);
    expect(top.leaves.length).toBeGreaterThan(20);
    store.got.length = 0;
  });

  async function listed(path: string, recursive = false): Promise<string[]> {
    const out: string[] = [];
    for await (const entry of entriesAt(top, store, bytes(path), recursive)) out.push(entry.path);
    return out;
  }

  test('a folder with large folders and files in it is listed by a few leaves', async () => {
    expect(await listed('')).toEqual(['', 'aa', 'bb', 'cc', 'huge', 'last']);
    expect(store.got.length).toBeLessThanOrEqual(5);
  });

  test('a listing goes as far as dom0 granted, and on when it grants more', async () => {
    const service = join(PROJECT, 'services/dvm/qubes.BackupBrowse.ts');
    const child = start(process.execPath, [service], { env: { PATH: process.env['PATH'], ...COMPILED } });
    const tables = { incoming: browse.toCaller, outgoing: browse.toService };
    const window = 2 ** 20;
    const session = new Session(streamIo(child.stdout, child.stdin), tables, {
      peer: 'browse',
      window,
      autoGrant: false,
    });
    let asked = 0;
    let listed = 0;
    /** Serves blobs and takes pages until \`enough\`. */
    const take = async (enough: (bytes: number) => boolean) => {
      for (let bytes = 0; !enough(bytes);) {
        const message = await session.receive();
        if (message?.name === 'get') {
          asked += message.value.numbers.length;
          for (const number of message.value.numbers)
            void session.send('blob', [u64(number), store.blobs.get(number)!]);
        } else if (message?.name === 'entries') {
          listed += message.value.entries.length;
          bytes += encodeCbor(message.value).length;
        } else return;
      }
    };
    await session.send('job', { kind: 'list', top: number, path: utf8(''), recursive: true, skipped: false });
    await take((bytes) => bytes > window / 2);
    expect(listed).toBeLessThan(15_000);
    expect(asked).toBeLessThan(top.leaves.length / 2);
    session.grant(2 ** 30);
    await take(() => false);
    expect(listed).toBe(60_005);
    expect(asked).toBe(1 + top.leaves.length);
    await session.finish();
    child.stdin.end();
  });

  test('one file is found in one leaf', async () => {
    expect(await listed('bb/010000')).toEqual(['bb/010000']);
    expect(await listed('huge')).toEqual(['huge']);
    expect(await listed('last')).toEqual(['last']);
    expect(store.got.length).toBeLessThanOrEqual(3);
  });

  test('what is not there needs no more', async () => {
    expect(await listed('bb/010000x')).toEqual([]);
    expect(store.got.length).toBeLessThanOrEqual(1);
  });

  test('all of a folder is listed, and nothing else', async () => {
    expect((await listed('bb')).length).toBe(20_001);
    expect((await listed('', true)).length).toBe(60_006);
    expect((await list(number, 'cc', true)).lines.length).toBe(20_000);
  });
});
