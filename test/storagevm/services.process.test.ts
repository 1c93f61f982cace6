import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir, rm, unlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { equalBytes } from '../../shared/bytes.ts';
import { encodeCbor } from '../../shared/cbor.ts';
import { objectIdOf } from '../../shared/ids.ts';
import { MAX_LIST_PAGE, MAX_OBJECT, MAX_REQUEST, MAX_ROOT } from '../../shared/limits.ts';
import { LIST_ROW, MIN_OBJECT, get, list, put, setRoot } from '../../shared/protocol/storage.ts';
import { decodeRoot } from '../../shared/root.ts';
import type { Root } from '../../shared/root.ts';
import { MAGIC } from '../../shared/wire/frame.ts';
import { rejection } from '../support/failure.ts';
import { root as asRoot, testNeeding } from '../support/needs.ts';
import { controlFrame, end, frame, framesOf } from '../support/peers.ts';
import { exited, outcome, waitFor } from '../support/processes.ts';
import { tempFolder } from '../support/temp.ts';
import { AgeingStore, DAY, HOUR, listOf } from './ageing-store.ts';
import { Caller, acks, getAll, getRoot, listAll, publishRoot, putAll, startService } from './caller.ts';
import { TestRepository, object, objects } from './fixtures.ts';

const MiB = 1 << 20;
/** The first frame of a setRoot on an empty store. */
const EXPECT_NONE = controlFrame(0x10, { current: new Uint8Array(32) });
const OLD = new Date(Date.now() - 48 * 3600_000);

let home: string;
let store: string;

beforeEach(() => {
  home = tempFolder();
  store = join(home, 'qubes-backup');
});

/** Every file below objects/, which must hash to its name. */
async function storedObjects(): Promise<string[]> {
  const names: string[] = [];
  for (const shard of existsSync(join(store, 'objects')) ? await readdir(join(store, 'objects')) : []) {
    for (const name of await readdir(join(store, 'objects', shard))) {
      expect(objectIdOf(await readFile(join(store, 'objects', shard, name)))).toBe(name);
      names.push(name);
    }
  }
  return names.sort();
}

function temporaries(): Promise<string[]> {
  return existsSync(join(store, 'tmp')) ? readdir(join(store, 'tmp')) : Promise.resolve([]);
}

/** Runs a service on exactly these bytes and the end of the stream. */
async function feed(service: string, ...bytes: Uint8Array[]) {
  const child = startService(home, service);
  const result = outcome(child);
  child.stdin.end(Buffer.concat(bytes));
  return result;
}

describe('R40: qubes.BackupPut', () => {
  test('stores, acknowledges in order, and answers again for what is there', async () => {
    const some = [...objects(3), object(8 * MiB), ...objects(3, 100_000), object(MAX_OBJECT)];
    expect(await putAll(home, some)).toEqual(some.map(() => true));
    expect(await putAll(home, [...some].reverse())).toEqual(some.map(() => false));
    expect(await storedObjects()).toEqual(some.map(({ id }) => id).sort());
    expect(await temporaries()).toEqual([]);
  });

  test('takes more objects than one acknowledgement may name', async () => {
    const some = objects(MAX_REQUEST + 50);
    expect(await putAll(home, some)).toHaveLength(some.length);
    expect((await listAll(home)).rows.map(({ id }) => id)).toEqual(some.map(({ id }) => id).sort());
  });

  test('acknowledges while more is on the way, and what it acknowledged outlives it', async () => {
    const caller = new Caller(home, put);
    const some = objects(4);
    for (const { id, bytes } of some) {
      await caller.session.send('object', bytes);
      expect(await acks(caller, 1)).toEqual([{ id, stored: true }]);
    }
    caller.child.kill('SIGKILL');
    await exited(caller.child);
    expect(await storedObjects()).toEqual(some.map(({ id }) => id).sort());
  });

  test('the same object from two sessions at once, and twice in one', async () => {
    const same = object(4 * MiB);
    await Promise.all([putAll(home, [same, same]), putAll(home, [same, same])]);
    expect(await storedObjects()).toEqual([same.id]);
    expect(await temporaries()).toEqual([]);
  });

  test('a session without objects creates nothing', async () => {
    expect(await putAll(home, [])).toEqual([]);
    expect(await readdir(home)).toEqual([]);
  });

  test('heals a corrupt object', async () => {
    const { id, bytes } = object(MiB);
    await putAll(home, [{ id, bytes }]);
    const path = join(store, 'objects', id.slice(0, 2), id);
    await unlink(path);
    await writeFile(
      path,
      bytes.map((byte) => byte ^ 1),
    );
    expect(await putAll(home, [{ id, bytes }])).toEqual([true]);
    expect(await storedObjects()).toEqual([id]);
  });

  test('refuses an object below the smallest, keeps those before it', async () => {
    const good = object();
    const caller = new Caller(home, put);
    await caller.session.send('object', good.bytes);
    await acks(caller, 1);
    await caller.session.send('object', object(MIN_OBJECT - 1).bytes);
    const error = await rejection(caller.session.receive());
    expect(error.code).toBe('service-failed');
    expect(error.message).toContain('reports protocol');
    expect(await caller.hangUp()).toBe(1);
    expect(await storedObjects()).toEqual([good.id]);
  });

  test('refuses a frame above the largest object before it comes', async () => {
    const header = Buffer.from([0x80, 0, 0, 0, 0]);
    header.writeUInt32BE(MAX_OBJECT + 1, 1);
    const { code, stderr } = await feed(put.service, MAGIC, header);
    expect(code).toBe(1);
    expect(stderr).toContain('are allowed');
    expect(await readdir(home)).toEqual([]);
  });

  test.each([
    ['no byte', [], 'ended'],
    ['half a magic', [MAGIC.subarray(0, 4)], 'ended'],
    ['another magic', [Buffer.from('Welcome!')], 'magic'],
    ['the magic alone', [MAGIC], 'ended'],
    ['half a header', [MAGIC, Uint8Array.of(0x80, 0)], 'ended'],
    ['half an object', [MAGIC, frame(0x80, object().bytes).subarray(0, 1000)], 'ended'],
    ['an object and no end', [MAGIC, frame(0x80, object().bytes)], 'ended'],
    [
      'an end with wrong counts',
      [MAGIC, frame(0x80, object().bytes), end(2, MIN_OBJECT + 5)],
      'wrong counts',
    ],
    ['an unknown frame', [MAGIC, frame(0x99, new Uint8Array(4))], 'unknown type 153'],
    ['a frame of the other direction', [MAGIC, controlFrame(0x10, { objects: [] })], 'unknown type 16'],
    [
      'an error of the caller',
      [MAGIC, controlFrame(0x02, { code: 'internal', message: 'dom0 gave up' })],
      'dom0 gave up',
    ],
  ])('fails with status 1 on %s', async (_what, bytes, words) => {
    const { code, stderr, stdout } = await feed(put.service, ...bytes);
    expect(stderr).toContain(words);
    expect(code).toBe(1);
    expect(framesOf(stdout).some(({ type }) => type === 0x01)).toBe(false); // No success without the end.
    await storedObjects();
    expect(await temporaries()).toEqual([]);
  });

  test('survives kill -9 in the middle of a put', async () => {
    const first = objects(2);
    await putAll(home, first);
    const caller = new Caller(home, put);
    const large = objects(6, MAX_OBJECT);
    for (const { bytes } of large) caller.session.send('object', bytes).catch(() => undefined);
    await waitFor(async () => (await temporaries()).length > 0, 'a temporary file');
    caller.child.kill('SIGKILL');
    await exited(caller.child);

    const whole = await storedObjects(); // Checks every hash.
    expect(whole).toEqual(expect.arrayContaining(first.map(({ id }) => id)));
    expect((await listAll(home)).rows.map(({ id }) => id)).toEqual(whole);
    const left = await temporaries();
    for (const name of left) await utimes(join(store, 'tmp', name), OLD, OLD);
    expect(await putAll(home, [...first, ...large])).toHaveLength(8);
    expect(await temporaries()).toEqual([]);
    expect(await storedObjects()).toHaveLength(8);
  });

  test('R45: says that there is no room, keeps what it acknowledged, leaves nothing half-written', async () => {
    const caller = new Caller(home, put, { limit: 4096 }); // 2 or 4 MiB
    const small = object(MiB);
    await caller.session.send('object', small.bytes);
    const all = acks(caller, 2);
    await caller.session.send('object', object(8 * MiB).bytes);
    const error = await rejection(all);
    expect(error.code).toBe('service-failed');
    expect(error.message).toContain('reports store-full');
    expect(await caller.hangUp()).toBe(1);
    expect(await storedObjects()).toEqual([small.id]);
    expect(await temporaries()).toEqual([]);
    expect((await getAll(home, [small.id]))[0]).toEqual(small.bytes);
  });

  testNeeding(asRoot)('R45: the same on a disk that is really full', async ({ skip }) => {
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', home], {
      encoding: 'utf8',
    });
    skip(mounted.status !== 0, 'mounting a tmpfs is forbidden here');
    try {
      await writeFile(join(home, 'storage.toml'), 'reserve_mib = 0\n');
      const [first, second] = objects(2, MAX_OBJECT);
      const caller = new Caller(home, put);
      await caller.session.send('object', first!.bytes);
      await acks(caller, 1);
      await caller.session.send('object', second!.bytes);
      expect((await rejection(acks(caller, 1))).message).toContain('reports store-full');
      expect(await caller.hangUp()).toBe(1);
      expect(await storedObjects()).toEqual([first!.id]);
      expect(await temporaries()).toEqual([]);
      const repository = new TestRepository();
      expect(await publishRoot(home, repository.root())).toBe('done'); // A root still fits.
    } finally {
      execFileSync('umount', [home]);
    }
  });
});

describe('R40: qubes.BackupGet', () => {
  test('of a store that is not there: missing, no root, and nothing is created', async () => {
    expect(await getAll(home, [object().id, object().id])).toEqual([undefined, undefined]);
    expect(await getRoot(home)).toBeUndefined();
    expect(await readdir(home)).toEqual([]);
  });

  test('delivers in the order asked, what is missing in its place', async () => {
    const some = [...objects(20), object(MAX_OBJECT), object(8 * MiB), ...objects(10, 50_000)];
    await putAll(home, some);
    const gone = object();
    const asked = [...some.slice(15), gone, ...some.slice(0, 20), gone];
    const found = await getAll(
      home,
      asked.map(({ id }) => id),
    );
    asked.forEach(({ bytes, id }, index) => {
      const answer = found[index];
      expect(answer === undefined ? id === gone.id : equalBytes(answer, bytes), `answer ${index}`).toBe(true);
    });
  });

  test('answers many requests under way at once, and a window of one object', async () => {
    const some = objects(10, MiB);
    const root = new TestRepository().root();
    await putAll(home, some);
    await publishRoot(home, root);
    const caller = new Caller(home, get, { window: MAX_OBJECT + 256 });
    for (const { id } of some) {
      await caller.session.send('want', { ids: [id, id] });
      await caller.session.send('wantRoot', {});
    }
    for (const { bytes } of some) {
      for (const expected of [bytes, bytes, root.bytes]) {
        const message = await caller.session.receive();
        expect(message?.name).toBe(expected === bytes ? 'object' : 'root');
        expect(
          message?.name !== 'missing' && message?.name !== 'noRoot' && equalBytes(message!.value, expected),
        ).toBe(true);
      }
    }
    await caller.finish();
  });

  test('one object that cannot be delivered ends nothing', async () => {
    const [big, folder, fine] = objects(3);
    await putAll(home, [big!, folder!, fine!]);
    const path = (id: string) => join(store, 'objects', id.slice(0, 2), id);
    await rm(path(big!.id));
    await writeFile(path(big!.id), Buffer.alloc(MAX_OBJECT + 1));
    await rm(path(folder!.id));
    await mkdir(path(folder!.id));
    expect(await getAll(home, [big!.id, folder!.id, fine!.id])).toEqual([undefined, undefined, fine!.bytes]);
  });

  test('delivers damaged bytes as they are: dom0 checks them', async () => {
    const { id, bytes } = object();
    await putAll(home, [{ id, bytes }]);
    const path = join(store, 'objects', id.slice(0, 2), id);
    await unlink(path);
    await writeFile(path, bytes.subarray(7));
    expect(await getAll(home, [id])).toEqual([bytes.subarray(7)]);
  });

  test.each([
    ['a short name', { ids: [new Uint8Array(31)] }],
    ['a long name', { ids: [new Uint8Array(33)] }],
    ['a path', { ids: ['../../../../etc/passwd'] }],
    ['no names', { ids: [] }],
    ['too many names', { ids: Array.from({ length: MAX_REQUEST + 1 }, () => new Uint8Array(32)) }],
    ['another field', { ids: [new Uint8Array(32)], path: 'x' }],
  ])('refuses %s', async (_what, value) => {
    const { code, stderr } = await feed(get.service, MAGIC, frame(0x10, encodeCbor(value)));
    expect(stderr).toContain('does not fit its schema');
    expect(code).toBe(1);
  });

  test('a caller that dies without an end is noticed', async () => {
    const { code } = await feed(get.service, MAGIC, controlFrame(0x11, {}));
    expect(code).toBe(1);
  });
});

describe('R40: qubes.BackupList', () => {
  test('of a store that is not there is empty, and creates nothing', async () => {
    expect(await listAll(home)).toEqual({ rows: [], pages: [] });
    expect(await readdir(home)).toEqual([]);
  });

  test('names every object with its size, sorted', async () => {
    const some = Array.from({ length: 300 }, (_, index) => object(MIN_OBJECT + index));
    await putAll(home, some);
    const expected = some.map(({ id, bytes }) => ({ id, size: bytes.length }));
    expected.sort((a, b) => (a.id < b.id ? -1 : 1));
    expect(await listAll(home)).toEqual({ rows: expected, pages: [300] });
  });

  test('fills pages to their limit', async () => {
    const rows = Math.floor(MAX_LIST_PAGE / LIST_ROW);
    await putAll(home, [object()]);
    const shard = join(store, 'objects', 'ab');
    await mkdir(shard, { recursive: true });
    const names = Array.from({ length: rows + 3 }, (_, index) => `ab${index.toString(16).padStart(62, '0')}`);
    for (let at = 0; at < names.length; at += 500) {
      await Promise.all(names.slice(at, at + 500).map((name) => writeFile(join(shard, name), '')));
    }
    const { rows: found, pages } = await listAll(home);
    expect(pages).toEqual([rows, 4]);
    expect(new Set(found.map(({ id }) => id)).size).toBe(rows + 4);
    expect(found.map(({ id }) => id)).toEqual(found.map(({ id }) => id).sort());
  });

  test('is asked for once', async () => {
    const start = controlFrame(0x10, {});
    const { code, stderr } = await feed(list.service, MAGIC, start, start, end(2, 2 * start.length));
    expect(stderr).toContain('after the work was done');
    expect(code).toBe(1);
  });
});

/** Publishes `root` and waits for the end of the service; answers what it said. */
async function setRootOf(vm: string, root: Root) {
  const caller = new Caller(vm, setRoot);
  await caller.session.send('expect', { current: root.body.previous });
  await caller.session.send('root', root.bytes);
  const answer = await caller.session.receive();
  await caller.finish();
  return answer && { name: answer.name, value: answer.value };
}

describe('R41: qubes.BackupSetRoot', () => {
  test('publishes a chain, which every reader then sees', async () => {
    for (const root of new TestRepository().chain(3)) {
      expect(await publishRoot(home, root)).toBe('done');
      expect(await getRoot(home)).toEqual(root.bytes);
    }
  });

  test('R42: each drives the sweep on, after its answer, and says what waits for the owner', async () => {
    const aged = new AgeingStore({}, 'qubes-backup');
    const vm = join(aged.folder, '..');
    const [kept, dead] = [objects(12), object()];
    // When the service looks at the clock, the grace period has just ended: 26 hours are the longest step that counts.
    aged.now = Date.now() - 26 * HOUR - 38 * DAY;
    await aged.put(...kept, dead);
    await aged.publish();
    await aged.live(8);
    await aged.publishList(kept);
    await aged.live(30);
    expect(await aged.has(dead)).toBe(true);
    const answer = await setRootOf(vm, aged.repository.root(aged.root));
    expect(answer).toEqual({ name: 'done', value: { waits: null } });
    aged.root = decodeRoot((await getRoot(vm))!);
    expect(await aged.has(dead)).toBe(false);

    const { objects: own, changes } = listOf(kept.slice(0, 6));
    await putAll(vm, own);
    const great = aged.repository.root(aged.root, changes);
    expect(await setRootOf(vm, great)).toEqual(answer);
    expect(await setRootOf(vm, aged.repository.root(great))).toEqual({
      name: 'done',
      value: { waits: { deadBytes: expect.any(Number) as number, bytes: expect.any(Number) as number } },
    });
  });

  test('of eight at once exactly one wins, and all others learn who', async () => {
    const repository = new TestRepository();
    let current = undefined as ReturnType<TestRepository['root']> | undefined;
    for (let round = 0; round < 2; round++) {
      const rivals = Array.from({ length: 8 }, () => repository.root(current));
      const answers = await Promise.all(rivals.map((root) => publishRoot(home, root)));
      expect(answers.filter((answer) => answer === 'done')).toHaveLength(1);
      const winner = rivals[answers.indexOf('done')]!;
      for (const answer of answers) expect(['done', winner.hash]).toContain(answer);
      expect(await getRoot(home)).toEqual(winner.bytes);
      current = winner;
    }
  });

  test('of rivals with different keys the one that is pinned wins the store for ever', async () => {
    const rivals = Array.from({ length: 4 }, () => new TestRepository().root());
    const answers = await Promise.allSettled(rivals.map((root) => publishRoot(home, root)));
    const won = answers.filter((answer) => answer.status === 'fulfilled' && answer.value === 'done');
    expect(won).toHaveLength(1);
    const winner = rivals[answers.indexOf(won[0]!)]!;
    expect(await getRoot(home)).toEqual(winner.bytes);
    expect(await readFile(join(store, 'key'), 'latin1')).toBe(
      `${Buffer.from(winner.body.publicKey).toString('hex')}\n`,
    );
  });

  test('is done when the same root comes again: the crash may have hit after the link', async () => {
    const [first, second] = new TestRepository().chain(2);
    await publishRoot(home, first!);
    const hint = join(store, 'ledger', 'newest-root');
    const before = await readFile(hint);
    await publishRoot(home, second!);
    await unlink(hint);
    await writeFile(hint, before); // As if killed between link and hint.
    expect(await getRoot(home)).toEqual(second!.bytes);
    expect(await publishRoot(home, second!)).toBe('done');
    expect(await publishRoot(home, first!)).toBe(second!.hash);
  });

  test('refuses an unsigned, foreign or older root and one that skips too far, with a code, and stays as it was', async () => {
    const repository = new TestRepository();
    const roots = repository.chain(3);
    for (const root of roots) await publishRoot(home, root);
    const last = roots[2]!;
    const forged = {
      ...last,
      bytes: repository.root(last).bytes.map((byte, at) => (at === 50 ? byte ^ 1 : byte)),
    };
    const attempts = [
      [forged, 'store-damaged'],
      [new TestRepository().root(last), 'store-replaced'],
      [repository.root(last, { counter: 2 }), 'store-rolled-back'],
      [repository.root(last, { counter: 3 + 2 ** 16 + 1 }), 'refused'],
    ] as const;
    for (const [root, code] of attempts) {
      const error = await rejection(publishRoot(home, root, last.hash));
      expect(error.message).toContain(`reports ${code}:`);
    }
    expect(await publishRoot(home, repository.root(roots[1]))).toBe(last.hash); // A fork conflicts.
    expect(await getRoot(home)).toEqual(last.bytes);
    expect(await readdir(join(store, 'roots'))).toHaveLength(3);
    expect(await temporaries()).toEqual([]);
  });

  test('an unsigned first root creates nothing', async () => {
    const root = new TestRepository().root();
    const forged = { ...root, bytes: root.bytes.map((byte, at) => (at === 50 ? byte ^ 1 : byte)) };
    expect((await rejection(publishRoot(home, forged))).message).toContain('store-damaged');
    expect(await readdir(home)).toEqual([]);
  });

  test.each([
    ['the root first', [frame(0x80, Buffer.alloc(200))], 'expected expect'],
    ['no root', [EXPECT_NONE, end(1, EXPECT_NONE.length)], 'expected root'],
    ['a short hash', [controlFrame(0x10, { current: new Uint8Array(31) })], 'does not fit its schema'],
    ['a root above the cap', [frame(0x80, Buffer.alloc(MAX_ROOT + 1))], 'are allowed'],
    ['half a root', [EXPECT_NONE, frame(0x80, Buffer.alloc(200)).subarray(0, 99)], 'ended'],
  ])('fails with status 1 on %s', async (_what, bytes, words) => {
    const { code, stderr } = await feed(setRoot.service, MAGIC, ...bytes);
    expect(stderr).toContain(words);
    expect(code).toBe(1);
    expect(await readdir(home)).toEqual([]);
  });
});

test('without HOME the store is in the working folder', async () => {
  const root = new TestRepository().root();
  const request = [EXPECT_NONE, frame(0x80, root.bytes)];
  const child = startService(home, setRoot.service, { HOME: '' });
  const result = outcome(child);
  child.stdin.end(Buffer.concat([MAGIC, ...request, end(2, request[0]!.length + request[1]!.length)]));
  expect((await result).code).toBe(0);
  expect(await getRoot(home)).toEqual(root.bytes);
});
