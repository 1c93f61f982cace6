/** What is refused before anything is done: stores that are in use, empty or malformed, and keys of a wrong size. */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { KIND } from '../../dom0/seal/object.ts';
import { decrypt, encrypt } from '../../dom0/seal/xchacha.ts';
import { NoteCounter } from '../../dom0/session/report.ts';
import type { Note } from '../../dom0/session/report.ts';
import { utf8 } from '../../shared/bytes.ts';
import { messageOf, systemCode } from '../../shared/errors.ts';
import { objectIdOf } from '../../shared/ids.ts';
import { MAX_NOTES } from '../../shared/limits.ts';
import { failure, rejection } from '../support/failure.ts';
import { Machine, historyFor, storeFolder } from '../support/repository-bench.ts';

describe('a repository', () => {
  it('is created in an empty store only, and once for a machine', async () => {
    const folder = storeFolder();
    const machine = new Machine(folder);
    expect(await rejection(machine.open())).toMatchObject({ code: 'not-initialised' });
    await machine.create();
    expect((await rejection(machine.create())).message).toContain('this machine already uses');
    expect((await rejection(new Machine(folder).create())).message).toContain('already holds a repository');
    rmSync(folder, { recursive: true });
    expect(await rejection(machine.open())).toMatchObject({
      code: 'store-missing',
      message: expect.stringContaining('is its disk mounted?') as string,
    });
  });

  it('is accepted by the name of its root only', async () => {
    const machine = new Machine(storeFolder());
    await machine.create();
    expect(await rejection(machine.open('no such root'))).toMatchObject({ code: 'usage' });
  });
});

describe('a catalog that no store has', () => {
  it('is told of with the ways that are left', async () => {
    const folder = storeFolder();
    const repository = await new Machine(folder).create();
    const id = repository.root.body.catalog;
    rmSync(join(folder, 'objects', id.slice(0, 2), id));
    const error = await rejection(new Machine(folder).open());
    expect(error.code).toBe('store-missing');
    for (const text of ['the catalog', 'root 1', 'check --repair', 'restore-root', '--accept-root'])
      expect(error.message).toContain(text);
  });
});

describe('a record', () => {
  it('that is sealed properly but is another is damage, and so is one that is missing', async () => {
    const machine = new Machine(storeFolder());
    const repository = await machine.create();
    const { store } = repository;
    const sealer = (await historyFor(repository)).sealer(KIND.snapshot, 1, 1);
    const id = await store.putRecord(sealer, z.strictObject({ a: z.int() }), { a: 1 });
    expect(await store.getRecord(sealer, z.strictObject({ a: z.int() }), id, 'it')).toEqual({ a: 1 });
    const error = await rejection(store.getRecord(sealer, z.strictObject({ b: z.int() }), id, 'snapshot 1'));
    expect([error.code, error.message]).toEqual([
      'store-damaged',
      expect.stringContaining('snapshot 1 is sealed') as string,
    ]);
    const absent = objectIdOf(utf8('absent'));
    expect(await rejection(store.get(sealer, absent, 'it'))).toMatchObject({ code: 'store-missing' });
    expect(() => store.put({ ...sealer, key: new Uint8Array(31) }, utf8('x'))).toThrow('wrong key');
  });
});

describe('sealed data', () => {
  it('needs keys and nonces of their size, and room for a tag', () => {
    const [key, nonce, none] = [new Uint8Array(32), new Uint8Array(24), new Uint8Array(0)];
    expect(failure(() => encrypt(key, nonce.subarray(1), none, [none])).code).toBe('internal');
    expect(failure(() => encrypt(key.subarray(1), nonce, none, [none])).code).toBe('internal');
    expect(failure(() => decrypt(key, nonce, none, new Uint8Array(15))).code).toBe('store-damaged');
  });
});

describe('notes', () => {
  it('are counted all, and passed on up to a limit', () => {
    const told: Note[] = [];
    const counter = new NoteCounter({ progress: () => undefined, note: (note) => void told.push(note) });
    for (let i = 0; i < MAX_NOTES + 5; i++) counter.take({ code: 'changed', path: `${i}`, detail: '' });
    counter.take({ code: 'skipped-socket', path: 's', detail: '' });
    expect([told.length, counter.warnings]).toEqual([MAX_NOTES, MAX_NOTES + 5]);
  });
});

describe('anything thrown', () => {
  it('has a text, and a code if the system gave one', () => {
    expect([messageOf('text'), messageOf(new Error('why'))]).toEqual(['text', 'why']);
    expect([
      systemCode('ENOENT'),
      systemCode(new Error()),
      systemCode(Object.assign(new Error(), { code: 5 })),
    ]).toEqual([undefined, undefined, undefined]);
    expect(systemCode(Object.assign(new Error(), { code: 'ENOENT' }))).toBe('ENOENT');
  });
});
