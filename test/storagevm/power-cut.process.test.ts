/** R40, R41: the power fails at any instant of a put or a setRoot, and the disk kept whatever it wanted of what was not synced. */

import { hash } from 'node:crypto';
import { join } from 'node:path';
import { mkdirSync } from 'node:fs';
import { expect } from 'vitest';
import { equalBytes } from '../../shared/bytes.ts';
import { decodeWith } from '../../shared/cbor.ts';
import { put, setRoot } from '../../shared/protocol/storage.ts';
import { MAGIC } from '../../shared/wire/frame.ts';
import { LARGE } from '../../storagevm/new-file.ts';
import { program, testNeeding } from '../support/needs.ts';
import { controlFrame, end, frame, framesOf } from '../support/peers.ts';
import { PROJECT, run } from '../support/processes.ts';
import { makeTemp, removeTree, tempFolder } from '../support/temp.ts';
import { environment } from './caller.ts';
import { Disk, STRACE, materialise, readTrace } from './disk-trace.ts';
import type { DiskCall } from './disk-trace.ts';
import { TestRepository, object, objects } from './fixtures.ts';
import { putInto, storeIn } from './stores.ts';

const STORE = 'qubes-backup';
/** Of so many states one is also written to. */
const WRITTEN_TO = 40;
/** Bytes of an object that is written past the kernel's cache, in blocks, and then cut to its length. */
const PAST_CACHE = LARGE + 40;

/** Of contents that are never changed: each is hashed once. */
class Hashes {
  readonly #known = new WeakMap<Buffer, string>();

  of(bytes: Buffer): string {
    const known = this.#known.get(bytes) ?? hash('sha256', bytes);
    this.#known.set(bytes, known);
    return known;
  }
}

/** One session, traced. */
async function traced(home: string, service: string, frames: readonly Uint8Array[]): Promise<DiskCall[]> {
  const trace = join(tempFolder(), 'trace');
  const length = frames.reduce((sum, { length: one }) => sum + one, 0);
  const [strace = '', ...options] = STRACE;
  const command = [process.execPath, join(PROJECT, 'services', 'storagevm', `${service}.ts`)];
  const { code, stderr } = await run(strace, [...options, '-o', trace, '--', ...command], {
    cwd: home,
    env: { ...environment(home, service), UV_USE_IO_URING: '0' },
    input: Buffer.concat([MAGIC, ...frames, end(frames.length, length)]),
  });
  expect([code, stderr]).toEqual([0, '']);
  return readTrace(trace, home);
}

testNeeding(program('strace'))(
  'R40 R41: what was acknowledged is there after a power cut, and the root is the old or the new one',
  async () => {
    const home = tempFolder();
    const some = [...objects(2), object(30_000), object(PAST_CACHE)];
    const [first, second] = new TestRepository().chain(2);
    const calls: DiskCall[] = [];
    const sessions: readonly (readonly [string, readonly Uint8Array[]])[] = [
      [put.service, some.slice(0, 2).map(({ bytes }) => frame(0x80, bytes))],
      [setRoot.service, [controlFrame(0x10, { current: new Uint8Array(32) }), frame(0x80, first!.bytes)]],
      [put.service, some.slice(1).map(({ bytes }) => frame(0x80, bytes))],
      [
        setRoot.service,
        [controlFrame(0x10, { current: Buffer.from(first!.hash, 'hex') }), frame(0x80, second!.bytes)],
      ],
    ];
    const bounds: number[] = [];
    for (const [service, frames] of sessions) {
      calls.push(...(await traced(home, service, frames)));
      bounds.push(calls.length);
    }

    const disk = new Disk();
    const acknowledged = new Set<string>();
    const roots: (Uint8Array | undefined)[] = [undefined, first!.bytes, second!.bytes];
    let published = 0;
    let said = Buffer.alloc(0);
    let states = 0;
    const seen = new Set<string>();
    const hashes = new Hashes();
    for (const [index, call] of calls.entries()) {
      disk.do(call);
      if (call.what === 'say') {
        said = Buffer.concat([said, call.bytes]);
        const session = bounds.findIndex((bound) => index < bound);
        for (const { type, payload } of framesOf(said)) {
          if (sessions[session]![0] === put.service && type === put.toCaller.ack.type)
            for (const { id } of decodeWith(put.toCaller.ack.schema, payload).objects) acknowledged.add(id);
          if (sessions[session]![0] === setRoot.service && type === setRoot.toCaller.done.type)
            published = session === 1 ? 1 : 2;
        }
      }
      if (bounds.includes(index + 1)) said = Buffer.alloc(0);
      for (const state of disk.states()) {
        const key = [...state]
          .map(([path, bytes]) => `${path}:${bytes === undefined ? '' : hashes.of(bytes)}`)
          .join('\n');
        const fingerprint = `${acknowledged.size} ${published} ${hash('sha256', key)}`;
        if (seen.has(fingerprint)) continue;
        seen.add(fingerprint);
        states += 1;
        const copy = makeTemp('qib-power-');
        try {
          mkdirSync(join(copy, 'home'));
          materialise(state, join(copy, 'home'));
          const store = storeIn(join(copy, 'home', STORE));
          const where = `after call ${index} (${call.what})`;
          const root = await store.currentRoot();
          const expected = roots.slice(published, published + 2);
          expect(
            expected.some((one) =>
              one === undefined ? root === undefined : root !== undefined && equalBytes(one, root),
            ),
            where,
          ).toBe(true);
          for (const { id, bytes } of some) {
            const found = await store.read(id);
            if (acknowledged.has(id)) expect(isSame(found, bytes), where).toBe(true);
          }
          if (states % WRITTEN_TO !== 0) continue;
          await putInto(storeIn(join(copy, 'home', STORE)), some);
          await storeIn(join(copy, 'home', STORE)).sweep();
          for (const { id, bytes } of some) expect(isSame(await store.read(id), bytes), where).toBe(true);
        } finally {
          removeTree(copy);
        }
      }
    }
    expect(acknowledged.size).toBe(some.length);
    expect(published).toBe(2);
    expect(states).toBeGreaterThan(100);
  },
);

/** Vitest compares number by number: a minute for all states. */
function isSame(found: Uint8Array | undefined, expected: Uint8Array): boolean {
  return found !== undefined && equalBytes(found, expected);
}
