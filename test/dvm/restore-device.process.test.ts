/** R22: a device's tree onto an image or a block device, whatever was on it before. */

import { spawnSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  openSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { restore, verify } from '../../shared/protocol/disposable.ts';
import type { TreeEntry } from '../../dvm/tree.ts';
import { root, testNeeding } from '../support/needs.ts';
import type { Missing } from '../support/needs.ts';
import { Random } from '../support/random.ts';
import { tempFolder } from '../support/temp.ts';
import { MemoryStore, callService, directory } from './tree-kit.ts';

const MiB = 1024 * 1024;
const SIZE = 8 * MiB;
const random = new Random(8);

/** 1 MiB of data at 2 MiB, with zeros inside; all else is a hole. */
const DATA = Buffer.concat([random.bytes(MiB / 2), Buffer.alloc(MiB / 4), random.bytes(MiB / 4)]);
const CONTENT = Buffer.alloc(SIZE);
CONTENT.set(DATA, 2 * MiB);

function deviceTree(store: MemoryStore, size = SIZE): TreeEntry[] {
  const { entry, chunks } = store.file('volume', [DATA]);
  const [chunk] = chunks;
  return [directory(''), { entry: { ...entry, size }, chunks: [{ ...chunk!, gap: 2 * MiB }] }];
}

async function restoreOnto(path: string, make = deviceTree) {
  const store = new MemoryStore(3);
  const top = await store.tree(make(store));
  return callService(restore, { volume: { kind: 'blocks', path }, top }, store);
}

function image(content: Uint8Array, size = content.length): string {
  const path = join(tempFolder(), 'image');
  writeFileSync(path, content);
  const file = openSync(path, 'r+');
  ftruncateSync(file, size);
  closeSync(file);
  return path;
}

test.each([
  ['empty', Buffer.alloc(0)],
  ['full of an earlier owner’s data', random.bytes(SIZE)],
])('an image that is %s gets the content, and holes', async (_what, before) => {
  const path = image(before, SIZE);
  expect(await restoreOnto(path)).toMatchObject({ failure: undefined, code: 0, stderr: '' });
  expect(readFileSync(path).equals(CONTENT)).toBe(true);
  expect(statSync(path).blocks * 512).toBeLessThan(MiB);
});

/** What a reader says of a restored device whose backup had `deviceSize` bytes. */
async function verified(path: string, deviceSize: number | null) {
  const job = { volume: { kind: 'blocks', path }, owners: true, excludes: null, deviceSize } as const;
  const { said, failure } = await callService(verify, job, new MemoryStore(3));
  const done = said.find((message) => message.name === 'done');
  return { digest: done?.name === 'done' ? done.value.digest : undefined, failure };
}

test.each([4096, 3 * MiB + 100])('one larger by %d bytes has zeros there, which is proven', async (more) => {
  const path = image(random.bytes(SIZE + more));
  expect(await restoreOnto(path)).toMatchObject({ failure: undefined, code: 0 });
  expect(readFileSync(path).equals(Buffer.concat([CONTENT, Buffer.alloc(more)]))).toBe(true);
  const digestOf = async (file: string, size: number | null) => (await verified(file, size)).digest;
  const wanted = await digestOf(image(CONTENT), null);
  expect(wanted).toBeDefined();
  expect(await digestOf(path, SIZE)).toBe(wanted);
  expect(await digestOf(path, null)).not.toBe(wanted);
  // One byte after it, or in it.
  for (const [at, failure] of [
    [SIZE + more - 1, `after the ${SIZE} bytes of that it is not zeros`],
    [SIZE, 'it is not zeros'],
    [2 * MiB, undefined],
  ] as const) {
    const other = image(CONTENT, SIZE + more);
    const file = openSync(other, 'r+');
    writeSync(file, Buffer.of(CONTENT.readUInt8(Math.min(at, SIZE - 1)) + 1), 0, 1, at);
    closeSync(file);
    const said = await verified(other, SIZE);
    if (failure === undefined) expect(said).not.toEqual({ digest: wanted, failure });
    else expect(said.failure).toContain(failure);
  }
});

describe('is refused, and the image left alone', () => {
  const before = random.bytes(SIZE);
  test.each<[string, (store: MemoryStore) => TreeEntry[], string]>([
    ['a device that is too small', (store) => deviceTree(store, SIZE + 4096), 'fewer than its backup'],
    ['a tree of files', (store) => [directory(''), store.file('file', ['x'])], 'not that of a device'],
    ['an empty tree', () => [directory('')], 'not that of a device'],
    ['a folder in its place', () => [directory(''), directory('volume')], 'not that of a device'],
  ])('%s', async (_what, make, message) => {
    const path = image(before);
    const { failure, code } = await restoreOnto(path, make);
    expect(code).not.toBe(0);
    expect(failure).toContain(message);
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  test('what is neither', async () => {
    expect((await restoreOnto(tempFolder())).failure).toContain('cannot be opened');
  });
});

/** Why no loop device can be attached here. */
function loops(): Missing {
  return (
    root ??
    (spawnSync('losetup', ['-f'], { stdio: 'ignore' }).status === 0 ? undefined : 'no loop devices here')
  );
}

testNeeding(loops())('a block device with old data gets the content, zeros included', async () => {
  const path = image(random.bytes(SIZE));
  const attached = spawnSync('losetup', ['-f', '--show', path], { encoding: 'utf8' });
  expect(attached.status, attached.stderr).toBe(0);
  const device = attached.stdout.trim();
  onTestFinished(() => void spawnSync('losetup', ['-d', device]));
  expect(await restoreOnto(device)).toMatchObject({ failure: undefined, code: 0, stderr: '' });
  expect(readFileSync(device).equals(CONTENT)).toBe(true);
});

testNeeding(loops())('what a fresh, sparse block device has as zeros already is not written', async () => {
  const path = image(Buffer.alloc(0), SIZE);
  const attached = spawnSync('losetup', ['-f', '--show', path], { encoding: 'utf8' });
  expect(attached.status, attached.stderr).toBe(0);
  const device = attached.stdout.trim();
  onTestFinished(() => void spawnSync('losetup', ['-d', device]));
  expect(await restoreOnto(device)).toMatchObject({ failure: undefined, code: 0 });
  expect(readFileSync(device).equals(CONTENT)).toBe(true);
  expect(statSync(path).blocks * 512).toBeLessThan(MiB);
});
