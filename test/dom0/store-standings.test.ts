/** R44: a store that is not what it was is named, and the others go on. */

import { cpSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { syncStore } from '../../dom0/repository/sync.ts';
import { fingerprint } from '../../dom0/words.ts';
import { NO_ROOT } from '../../shared/ids.ts';
import { TestRepository } from '../storagevm/fixtures.ts';
import { rejection } from '../support/failure.ts';
import { Machine, storeFolder } from '../support/repository-bench.ts';
import { Bench, backUp, blob, corrupt, namesOf, quiet } from '../support/stores-bench.ts';

describe('R44: what is wrong with a store is named, and the others go on', () => {
  it('rolled back', async () => {
    const { bench, repository } = await Bench.make();
    const putBack = bench.remember(1);
    await backUp(repository, 'two');
    await bench.machine.stores.close();
    putBack();
    const again = await bench.fresh().open();
    expect(bench.standings()).toEqual(['in-step', 'rolled-back', 'in-step']);
    expect(bench.machine.said).toEqual([
      expect.stringMatching(
        /^warning: store vault2 was rolled back: vault2 offers root 2, older than root 3 /,
      ),
    ]);
    expect(await blob(again, 2)).toBe('two');
    // It is not forgotten by being seen so.
    await bench.fresh().open();
    expect(bench.standings()[1]).toBe('rolled-back');
    await syncStore(await bench.fresh().open(), bench.machine.stores.named('vault2'), quiet);
    await bench.fresh().open();
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'in-step']);
  });

  it('rolled back as the primary: nothing is written, and the others have all', async () => {
    const { bench, repository } = await Bench.make();
    const putBack = bench.remember(0);
    await backUp(repository, 'two');
    await bench.machine.stores.close();
    putBack();
    const again = await bench.fresh().open();
    expect(bench.standings()).toEqual(['rolled-back', 'in-step', 'in-step']);
    expect(await blob(again, 2)).toBe('two');
    const { code, message } = await rejection(Object.assign(bench.fresh(), { publishes: true }).open());
    expect(code).toBe('store-rolled-back');
    expect(message).toContain('run "qubes-backup storage sync vault" first');
    await syncStore(await bench.fresh().open(), bench.machine.stores.primary, quiet);
    await backUp(await Object.assign(bench.fresh(), { publishes: true }).open(), 'three');
    expect(namesOf(bench.folder(0))).toEqual(expect.arrayContaining(namesOf(bench.folder(1))));
  });

  it('of another history: never merged, whichever is newer', async () => {
    const { bench, repository } = await Bench.make();
    await bench.machine.stores.close();
    // The same repository goes on elsewhere, from a copy of store 3 and of this machine.
    const elsewhere = [storeFolder()];
    cpSync(bench.folder(2), elsewhere[0]!, { recursive: true });
    const other = await new Machine(elsewhere).open();
    for (const text of ['else', 'where']) await backUp(other, text);
    await backUp(repository, 'two');
    await bench.machine.stores.close();
    rmSync(bench.folder(2), { recursive: true });
    cpSync(elsewhere[0]!, bench.folder(2), { recursive: true });
    const again = await bench.fresh().open();
    expect(again.root.hash).toBe(repository.root.hash);
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'forked']);
    expect(bench.machine.said).toEqual([
      expect.stringMatching(/^warning: store vault3 has another history: /),
    ]);
    const before = namesOf(bench.folder(2));
    await backUp(again, 'three');
    expect(namesOf(bench.folder(2)), 'nothing is written there').toEqual(before);
    // A person may choose the other one; then these are of another history.
    await bench.machine.stores.close();
    const chosen = await bench.fresh().open(fingerprint(other.root.hash));
    expect(chosen.root.hash).toBe(other.root.hash);
    expect(bench.standings()).toEqual(['forked', 'forked', 'in-step']);
  });

  it('replaced by another repository, or by a root that another key signed', async () => {
    const { bench } = await Bench.make();
    await bench.machine.stores.close();
    rmSync(bench.folder(1), { recursive: true });
    const stranger = await new Machine(bench.folder(1)).create();
    for (const text of ['a', 'b', 'c', 'd']) await backUp(stranger, text);
    await bench.fresh().open();
    expect(bench.standings()).toEqual(['in-step', 'replaced', 'in-step']);
    expect(bench.machine.said).toEqual([expect.stringMatching(/^warning: store vault2 was replaced: /)]);
    // On a machine that knows nothing, the primary says which repository it is.
    rmSync(join(bench.state, 'pins'), { recursive: true });
    await bench.fresh().open();
    expect(bench.standings()).toEqual(['in-step', 'replaced', 'in-step']);
  });

  it('a newer root of its own making, on a machine that knows nothing yet: the next newest opens', async () => {
    const { bench, repository } = await Bench.make();
    await bench.machine.stores.close();
    rmSync(bench.folder(2), { recursive: true });
    const forged = new TestRepository(repository.root.body.repository).root(undefined, { counter: 50 });
    await new Machine(bench.folder(2)).storage.setRoot(forged, NO_ROOT);
    rmSync(join(bench.state, 'pins'), { recursive: true });
    const again = await bench.fresh().open();
    expect(again.root.hash).toBe(repository.root.hash);
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'forked']);
    expect(bench.machine.firstUses).toEqual([repository.root.hash]);
    // Where nothing else is offered, it is the secret that does not fit.
    const alone = await rejection(new Machine(bench.folder(2)).open());
    expect(alone.code).toBe('wrong-secret');
  });

  it('a newest root whose catalog no store has: the next newest opens on a machine that knows nothing yet', async () => {
    const { bench, repository } = await Bench.make();
    const behind = [1, 2].map((index) => bench.remember(index));
    await backUp(repository, 'two');
    for (const back of behind) back();
    await bench.machine.stores.close();
    const { catalog } = repository.root.body;
    rmSync(join(bench.folder(0), 'objects', catalog.slice(0, 2), catalog));
    const other = new Machine(bench.folders);
    const opened = await other.open();
    expect(opened.root.body.counter).toBe(repository.root.body.counter - 1);
    expect(other.stores.all.map(({ standing }) => standing.is)).toEqual(['damaged', 'in-step', 'in-step']);
    await other.stores.close();
  });

  it('none at all: what is wrong with each store is said, and nothing is accepted', async () => {
    const bench = new Bench();
    bench.takeAway(1);
    const { code, message } = await rejection(bench.machine.open());
    expect(code).toBe('store-missing');
    expect(message).toMatch(/^no store has a root .*vault: .*; vault2: there is no .*; vault3: /);
    const only = new Machine(storeFolder());
    expect((await rejection(only.open('zoo-zoo-zoo-zoo-zoo-zoo-zoo-zoo'))).code).toBe('not-initialised');
  });

  it('is not forgotten because its pin is damaged', async () => {
    const { bench } = await Bench.make();
    await bench.machine.stores.close();
    const pin = join(bench.state, 'pins/stores/vault2.json');
    writeFileSync(pin, '{}');
    const { code, message } = await rejection(bench.fresh().open());
    expect([code, message]).toEqual(['io', expect.stringContaining(`${pin} is damaged`)]);
  });

  it('with a damaged root, absent, or empty though it was not', async () => {
    const { bench } = await Bench.make();
    await bench.machine.stores.close();
    const roots = join(bench.folder(1), 'roots');
    for (const name of readdirSync(roots)) corrupt(join(roots, name));
    const bringBack = bench.takeAway(2);
    await bench.fresh().open();
    expect(bench.standings()).toEqual(['in-step', 'damaged', 'absent']);
    expect(bench.machine.said).toEqual([
      expect.stringMatching(/^warning: store vault2 has a damaged root: /),
      expect.stringMatching(/^remark: store vault3 is absent: /),
    ]);
    bringBack();
    for (const index of [1, 2]) rmSync(bench.folder(index), { recursive: true });
    await bench.fresh(['vault3']).open();
    expect(bench.standings(), 'a folder without its medium is empty').toEqual([
      'in-step',
      'emptied',
      'absent',
    ]);
    expect(bench.machine.said.map((text) => text.split(':')[0])).toEqual(['warning', 'note']);
  });

  it('all of them: each is named', async () => {
    const { bench, repository } = await Bench.make();
    const putBack = [0, 1].map((index) => bench.remember(index));
    await backUp(repository, 'two');
    await bench.machine.stores.close();
    for (const back of putBack) back();
    bench.takeAway(2);
    const { code, message } = await rejection(bench.fresh().open());
    expect(code).toBe('store-rolled-back');
    expect(message).toMatch(
      /no store has a root .* vault: .*older.*; vault2: .*older.*; vault3: there is no/,
    );
  });
});
