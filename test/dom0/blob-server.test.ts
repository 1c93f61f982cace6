/** What a disposable's session may read: once more than it needs, but not for ever. */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { BlobServer } from '../../dom0/session/blob-server.ts';
import { BackupError } from '../../shared/errors.ts';
import { MAX_BLOBS_REQUESTED, MAX_READS, MAX_REQUEST } from '../../shared/limits.ts';
import { failure } from '../support/failure.ts';
import {
  Machine,
  appendBlob,
  commitVolume,
  historyFor,
  storeFolder,
  writerFor,
} from '../support/repository-bench.ts';

async function serve(treesOnly: boolean) {
  const machine = new Machine(storeFolder());
  const repository = await machine.create();
  const first = await writerFor(repository);
  const [content, old] = [await appendBlob(first, 'content'), await appendBlob(first, 'old tree', 'tree')];
  await commitVolume(first, old, [content, old]);
  const second = await writerFor(repository);
  const tree = await appendBlob(second, 'tree', 'tree');
  await commitVolume(second, tree, [content, tree]);
  const history = await historyFor(repository);
  const numbers = await history.newestLive();
  const sent: number[] = [];
  const failed: unknown[] = [];
  let idle = Promise.withResolvers<undefined>();
  const server = new BlobServer(
    history,
    { numbers, treesOnly },
    {
      send: (pieces) => {
        sent.push(Number(Buffer.from(pieces[0] ?? new Uint8Array(8)).readBigUInt64BE()));
        idle.resolve(undefined);
        return Promise.resolve();
      },
      failed: (error) => {
        failed.push(error);
        idle.resolve(undefined);
      },
    },
  );
  const ask = async (...wanted: number[]) => {
    idle = Promise.withResolvers();
    const end = sent.length + wanted.length;
    server.request(wanted);
    while (sent.length < end && failed.length === 0) {
      await idle.promise;
      idle = Promise.withResolvers();
    }
  };
  return {
    server,
    ask,
    sent,
    failed,
    store: repository.store,
    history,
    content,
    old,
    tree,
    close: () => machine.storage.close(),
  };
}

it('R02: a scan gets the trees of its base: no content, and no tree of an older snapshot', async () => {
  const { ask, server, sent, failed, content, old, tree, close } = await serve(true);
  await ask(tree);
  expect(sent).toEqual([tree]);
  expect(failure(() => server.request([old])).code).toBe('refused');
  await ask(content);
  expect(failed).toMatchObject([{ code: 'refused' }]);
  expect(sent).toEqual([tree]);
  await close();
});

it('a session may ask for so many blobs at a time, and so often in all', async () => {
  const { server, ask, sent, failed, tree, close } = await serve(false);
  const many = (count: number) => Array.from({ length: count }, () => tree);
  for (let asked = 0; asked < 2 * MAX_READS; asked += MAX_REQUEST) await ask(...many(MAX_REQUEST));
  expect([sent.length, failed]).toEqual([2 * MAX_READS, []]);
  expect(failure(() => server.request([tree])).code).toBe('limit');
  const fresh = await serve(false);
  expect(failure(() => fresh.server.request(many(MAX_BLOBS_REQUESTED + 1))).code).toBe('protocol');
  await close();
  await fresh.close();
}, 60_000);

it('requests that overlap are answered in the order they came', async () => {
  const { server, ask, sent, content, tree, close } = await serve(false);
  server.request([content, tree]);
  await ask(tree, content);
  while (sent.length < 4) await nextTurn();
  expect(sent).toEqual([content, tree, tree, content]);
  await close();
});

it('who says that it is done gets nothing more, and no failure either', async () => {
  for (const end of ['resolve', 'reject'] as const) {
    const { server, sent, failed, store, history, tree, close } = await serve(true);
    await history.table.row(tree); // Its table is read already: only the blob is waited for.
    const fetched = Promise.withResolvers<Uint8Array>();
    store.get = () => fetched.promise;
    server.request([tree, tree]);
    server.stop();
    if (end === 'resolve') fetched.resolve(new Uint8Array(1));
    else fetched.reject(new BackupError('store-missing', 'lost'));
    for (let turns = 0; turns < 10; turns++) await nextTurn();
    expect([sent, failed]).toEqual([[], []]);
    await close();
  }
});

it('a blob that its snapshot names and the table lacks is damage of the store', async () => {
  const { ask, failed, history, content, close } = await serve(false);
  await history.table.drop([content]);
  await ask(content);
  expect(failed).toMatchObject([{ code: 'store-damaged' }]);
  await close();
});

it('a blob’s memory is used again only once it was sent', async () => {
  const machine = new Machine(storeFolder());
  const repository = await machine.create();
  const writer = await writerFor(repository);
  const size = 2 * 2 ** 20;
  const contents = Array.from({ length: 5 }, (_, i) => String(i).repeat(size));
  const numbers: number[] = [];
  for (const content of contents) numbers.push(await appendBlob(writer, content));
  const tree = await appendBlob(writer, 'tree', 'tree');
  await commitVolume(writer, tree, [...numbers, tree]);
  const history = await historyFor(repository);
  const sent: boolean[] = [];
  const memories = new Set<unknown>();
  const ended = Promise.withResolvers<undefined>();
  const server = new BlobServer(
    history,
    { numbers: await history.newestLive(), treesOnly: false },
    {
      send: async ([, blob = new Uint8Array(0)]) => {
        for (let turn = 0; turn < 20; turn++) await nextTurn(); // What is fetched ahead comes meanwhile.
        memories.add(blob.buffer);
        sent.push(Buffer.from(blob).toString() === contents[sent.length]);
        if (sent.length === contents.length) ended.resolve(undefined);
      },
      failed: ended.reject,
    },
  );
  server.request(numbers);
  await ended.promise;
  expect(sent).toEqual(contents.map(() => true));
  expect(memories.size).toBeLessThan(contents.length);
  await machine.storage.close();
});
