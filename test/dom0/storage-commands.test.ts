/** R44: the commands over several stores: init, backup, check --repair, storage. Services in the test's own process. */

import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { App } from '../../dom0/app.ts';
import { backup } from '../../dom0/commands/backup.ts';
import { check } from '../../dom0/commands/check.ts';
import { init } from '../../dom0/commands/init.ts';
import { keyList } from '../../dom0/commands/key.ts';
import { storageList, storagePrimary, storageSync } from '../../dom0/commands/storage.ts';
import { restore } from '../../dom0/commands/restore.ts';
import type { Domains, ServiceCall } from '../../dom0/domains/domains.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { BackupError } from '../../shared/errors.ts';
import { put, setRoot } from '../../shared/protocol/storage.ts';
import { compareTrees } from '../support/checker.ts';
import { rejection } from '../support/failure.ts';
import { Home } from '../support/home.ts';
import { InProcessDomains } from '../support/in-process-domains.ts';
import { runOver } from '../support/in-process.ts';
import { tampered } from '../support/tamper.ts';
import { WrappedDomains } from '../support/wrapped-domains.ts';

const backUp = (app: App) => backup(app, ['work']);

/** A home that keeps its backups in the storage VMs `main` and `second`, and in a folder of dom0's, `disk`. */
class Bench {
  readonly home = new Home();
  readonly domains = new InProcessDomains(this.home.folder, () => Date.now() + 60_000);

  constructor(removable = true, ...settings: readonly string[]) {
    this.configure(removable, ...settings);
    mkdirSync(this.place('disk'), { recursive: true });
    this.home.identify('work');
    createKeyFile(this.home.keyFile);
  }

  configure(removable: boolean, ...settings: readonly string[]): void {
    this.home.configure(
      ...[
        ...settings,
        '[backup]',
        'spot_check_mib = 0',
        '[[storage]]',
        'vm = "main"',
        '[[storage]]',
        'vm = "second"',
      ],
      ...[
        '[[storage]]',
        'name = "disk"',
        `folder = "${this.home.folder}/media/disk"`,
        `removable = ${removable}`,
      ],
    );
  }

  static async make(removable = true, ...settings: readonly string[]): Promise<Bench> {
    const bench = new Bench(removable, ...settings);
    await bench.run((app) => init(app, () => app.secrets()));
    await bench.change();
    return bench;
  }

  async run(command: (app: App) => Promise<void>, domains: Domains = this.domains) {
    const { app, output } = await runOver(domains, this.home, command);
    const standings = app.storage.all.map(({ standing }) => standing.is);
    const found = (name: string) => output.events.filter(({ event }) => event === name);
    return { warnings: app.warnings, lines: output.lines, events: found, standings };
  }

  /** One more file, and a backup. */
  change() {
    this.home.write('work', `file-${readdirSync(this.home.volume('work')).length}`, 'text');
    return this.run(backUp);
  }

  failure(command: (app: App) => Promise<void>, domains?: Domains) {
    return rejection(this.run(command, domains));
  }

  /** A store's folder on this machine. */
  place(store: string): string {
    return store === 'disk'
      ? join(this.home.folder, 'media', 'disk')
      : join(this.home.folder, 'storage', store);
  }

  away(store: string): () => void {
    const place = this.place(store);
    renameSync(place, `${place}-away`);
    return () => renameSync(`${place}-away`, place);
  }

  objects(store: string): string[] {
    const folder = join(this.place(store), 'qubes-backup', 'objects');
    const found = readdirSync(folder, { recursive: true, withFileTypes: true });
    return found.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  }
}

const IN_STEP = ['in-step', 'in-step', 'in-step'];

describe('R44: init', () => {
  it('creates the repository in the primary store, and brings it to the others', async () => {
    const bench = new Bench();
    const { standings, warnings, events } = await bench.run((app) => init(app, () => app.secrets()));
    expect([standings, warnings]).toEqual([IN_STEP, 0]);
    expect(events('initialised')).toMatchObject([{ storage: 'main', stores: ['main', 'second', 'disk'] }]);
    expect((await bench.change()).standings).toEqual(IN_STEP);
  });

  it('does without a medium that is absent, and refuses a store that is in use', async () => {
    const bench = new Bench();
    rmSync(bench.place('disk'), { recursive: true });
    const { standings, warnings, lines } = await bench.run((app) => init(app, () => app.secrets()));
    expect([standings, warnings]).toEqual([['in-step', 'in-step', 'absent'], 0]);
    expect(lines.some((line) => line.startsWith('note: store disk is absent'))).toBe(true);

    const other = new Bench();
    mkdirSync(other.place('second'), { recursive: true });
    cpSync(bench.place('second'), other.place('second'), { recursive: true });
    const { code, message } = await other.failure((app) => init(app, () => app.secrets()));
    expect([code, message]).toEqual(['usage', expect.stringMatching(/^second already holds a repository/)]);
    expect(readdirSync(other.place('main'))).toEqual([]);
  });
});

describe('R44: backup', () => {
  it('notes a medium that is absent, and brings it up to date when it is back', async () => {
    const bench = await Bench.make();
    const back = bench.away('disk');
    const without = await bench.change();
    expect([without.warnings, without.standings]).toEqual([0, ['in-step', 'in-step', 'absent']]);
    expect(without.lines.filter((line) => line.startsWith('note: store disk is absent'))).toHaveLength(1);
    back();
    const again = await bench.change();
    expect([again.warnings, again.standings]).toEqual([0, IN_STEP]);
    expect(again.events('synced')).toMatchObject([{ store: 'disk', lost: 0 }]);
    expect(again.lines).toContain('note: store disk is behind by 1 root');
    expect((await bench.change()).events('synced')).toEqual([]);
  });

  it('ends with a warning where fewer stores are complete than are wanted', async () => {
    const bench = await Bench.make(false);
    bench.away('second');
    const { warnings, lines } = await bench.change();
    expect(warnings).toBe(1);
    expect(lines.at(-1)).toMatch(
      /^warning: only 2 of 3 stores have it all, 3 are wanted \(quorum\): second is absent: .*"qubes-backup storage sync"$/,
    );
    bench.configure(false, 'quorum = 2');
    expect((await bench.change()).warnings).toBe(0);
    bench.away('disk');
    expect((await bench.change()).warnings).toBe(1);
  });

  it('needs the primary store; what only looks does not', async () => {
    const bench = await Bench.make();
    bench.away('main');
    const { code, message } = await bench.failure(backUp);
    expect(code).toBe('store-missing');
    expect(message).toMatch(/^the primary store main is absent: .*storage primary NAME"$/);
    const { warnings, events } = await bench.run(keyList);
    expect([warnings, events('slot').length]).toEqual([0, 1]);
  });

  it('does not take the empty folder of a medium that is not mounted for its store', async () => {
    const bench = await Bench.make();
    rmSync(bench.place('disk'), { recursive: true });
    mkdirSync(bench.place('disk'));
    expect((await bench.change()).standings).toEqual(['in-step', 'in-step', 'absent']);
    await bench.run((app) => storageSync(app, undefined, false));
    expect((await bench.failure((app) => storageSync(app, 'disk', false))).message).toMatch(/disk is empty/);
    expect(readdirSync(bench.place('disk'))).toEqual([]);
    expect((await bench.run((app) => storageSync(app, 'disk', true))).standings).toEqual(IN_STEP);
  });
});

/** Its store `second` acknowledges everything, and keeps nothing. */
class DiscardingDomains extends InProcessDomains {
  readonly discard: () => void;

  constructor(home: string, discard: () => void) {
    super(home, () => Date.now() + 60_000);
    this.discard = discard;
  }

  override async callStorage(vm: string, service: string): Promise<ServiceCall> {
    const call = await super.callStorage(vm, service);
    if (vm !== 'second' || service !== put.service) return call;
    return tampered(call, () => {
      this.discard(); // At each acknowledgement.
      return undefined;
    });
  }
}

describe('R44: storage', () => {
  it('sync fills a new store, which is all it takes to add one', async () => {
    const bench = await Bench.make();
    rmSync(join(bench.home.state, 'pins/stores/second.json'));
    rmSync(bench.place('second'), { recursive: true });
    const { standings, events, warnings } = await bench.run((app) => storageSync(app, 'second', false));
    expect([standings, warnings]).toEqual([IN_STEP, 0]);
    expect(events('synced')).toMatchObject([{ store: 'second', lost: 0 }]);
    expect((await bench.run((app) => check(app, 100))).warnings).toBe(0);
    expect((await bench.run((app) => storageSync(app, 'second', false))).lines).toContain(
      'second is in step.',
    );
    expect((await bench.run((app) => storageSync(app, undefined, false))).lines).toContain(
      'No store is behind.',
    );
  });

  it('sync touches a store that was put back only where it is named, and one of another history never', async () => {
    const bench = await Bench.make();
    const older = `${bench.place('second')}-older`;
    cpSync(bench.place('second'), older, { recursive: true });
    await bench.change();
    rmSync(bench.place('second'), { recursive: true });
    renameSync(older, bench.place('second'));
    const unnamed = await bench.run((app) => storageSync(app, undefined, false));
    expect(unnamed.standings[1]).toBe('rolled-back');
    expect(unnamed.warnings).toBe(2);
    expect((await bench.run((app) => storageSync(app, 'second', false))).standings).toEqual(IN_STEP);

    rmSync(bench.place('second'), { recursive: true });
    const other = await Bench.make();
    cpSync(other.place('second'), bench.place('second'), { recursive: true });
    const { code } = await bench.failure((app) => storageSync(app, 'second', false));
    expect(code).toBe('store-replaced');
    expect((await bench.failure((app) => storageSync(app, 'second', true))).code).toBe('store-replaced');
    expect((await bench.failure((app) => storageSync(app, 'third', false))).code).toBe('usage');
    expect((await bench.failure((app) => storageSync(app, undefined, true))).code).toBe('usage');
  });

  it('sync says what failed, and leaves the store as far as it got', async () => {
    const bench = await Bench.make();
    const back = bench.away('disk');
    await bench.change();
    back();
    const full = new WrappedDomains(bench.domains, (call, service) =>
      service === put.service
        ? {
            ...call,
            io: { ...call.io, read: () => Promise.reject(new BackupError('store-full', 'has no room left')) },
          }
        : call,
    );
    const { warnings, lines } = await bench.run((app) => storageSync(app, 'disk', false), full);
    expect(
      lines.filter((line) => line.startsWith('warning: store disk could not be brought up to date')),
    ).toHaveLength(1);
    expect(warnings).toBe(2); // And one store is not in step.
    expect((await bench.run((app) => storageSync(app, 'disk', false))).standings).toEqual(IN_STEP);
  });

  it('primary makes another store the primary one, if that has everything', async () => {
    const bench = await Bench.make();
    const back = bench.away('disk');
    await bench.change();
    expect((await bench.failure((app) => storagePrimary(app, 'disk'))).message).toMatch(/^disk is absent/);
    back();
    expect((await bench.failure((app) => storagePrimary(app, 'disk'))).message).toMatch(
      /^disk is behind by 1 root: only/,
    );
    const main = bench.away('main');
    await bench.run((app) => storagePrimary(app, 'second'));
    const { standings, warnings } = await bench.change();
    expect([standings, warnings]).toEqual([['absent', 'in-step', 'in-step'], 1]);
    main();
    const again = await bench.change();
    expect([again.standings, again.warnings]).toEqual([IN_STEP, 0]);
    expect(again.events('synced')).toMatchObject([{ store: 'main' }]);
  });

  it('primary gives up what was about to be published to the old one', async () => {
    const bench = await Bench.make();
    const cut = new WrappedDomains(bench.domains, (call, service) =>
      service === setRoot.service ? { ...call, io: { ...call.io, read: () => Promise.resolve(0) } } : call,
    );
    await expect(bench.run(backUp, cut)).rejects.toThrow();
    const pending = join(bench.home.state, 'pins/pending-root');
    expect(existsSync(pending)).toBe(true);
    // The old primary took it, or not: it is lost before anybody can know.
    rmSync(bench.place('main'), { recursive: true });
    await bench.run((app) => storagePrimary(app, 'second'));
    expect(existsSync(pending)).toBe(false);
    const { standings } = await bench.change();
    expect(standings).toEqual(['absent', 'in-step', 'in-step']);
  });

  it('list shows how each stands', async () => {
    const bench = await Bench.make();
    bench.away('second');
    const { events, lines } = await bench.run(storageList);
    expect(events('store')).toMatchObject([
      { store: 'main', state: 'in-step', root: 2, primary: true, objects: bench.objects('main').length },
      { store: 'second', state: 'absent', root: null, objects: null },
      { store: 'disk', state: 'in-step', root: 2, removable: true },
    ]);
    expect(lines.filter((line) => line.startsWith('STORE'))).toHaveLength(1);
    expect(lines.find((line) => line.startsWith('main '))).toMatch(/ 2 .* in step, primary$/);
  });
});

it('R58: a store among three that acknowledges and discards is found out by the run itself, and costs nothing', async () => {
  const bench = await Bench.make();
  for (let i = 0; i < 6; i++) await bench.change();
  bench.home.configure(
    readFileSync(join(bench.home.folder, 'config.toml'), 'utf8').replace(
      'spot_check_mib = 0',
      'spot_check_mib = 32',
    ),
  );
  const discard = () => bench.objects('second').forEach((file) => rmSync(file));
  discard(); // Each of some 35 objects is asked of one store of three, whichever.
  const { lines, warnings } = await bench.run(backUp, new DiscardingDomains(bench.home.folder, discard));
  expect(warnings).toBeGreaterThan(0);
  expect(lines.find((line) => line.includes('spot check'))).toMatch(
    /^warning: work: spot check: second lost object/,
  );
  rmSync(join(bench.home.state, 'cache'), { recursive: true });
  await bench.run((app) => restore(app, 'work', 'copy'));
  expect(compareTrees(bench.home.volume('work'), bench.home.volume('copy'))).toEqual([]);
});

describe('R44: check', () => {
  const damage = (file: string) => {
    const bytes = readFileSync(file);
    bytes[50] = (bytes[50] ?? 0) ^ 1;
    rmSync(file);
    writeFileSync(file, bytes);
  };

  it('names what each store has wrong, and repairs it from another', async () => {
    const bench = await Bench.make();
    const gone = bench.objects('second');
    bench.objects('main').forEach(damage);
    for (const file of gone) rmSync(file);
    const { code, message } = await bench.failure((app) => check(app, 100));
    expect([code, message]).toEqual(['store-damaged', expect.stringContaining('check --repair')]);
    const { events, warnings, standings } = await bench.run((app) => check(app, 100, true));
    expect(standings).toEqual(IN_STEP);
    expect(warnings).toBeGreaterThan(2);
    for (const store of ['main', 'second']) {
      const faults = events('fault').filter((fault) => fault['store'] === store).length;
      expect(faults).toBeGreaterThan(5);
      expect(events('repair').filter((repair) => repair['store'] === store)).toHaveLength(faults);
      expect(events('checked')).toContainEqual(expect.objectContaining({ store, faults, repaired: faults }));
    }
    expect((await bench.run((app) => check(app, 100))).warnings).toBe(0);
  });

  it('does not call repaired what a store acknowledges and discards, nor what no store has', async () => {
    const bench = await Bench.make();
    const discard = () => bench.objects('second').forEach((file) => rmSync(file));
    discard();
    const discarding = new DiscardingDomains(bench.home.folder, discard);
    const { message } = await bench.failure((app) => check(app, 100, true), discarding);
    expect(message).toMatch(/^\d+ faults found that could not be repaired$/);
    for (const store of ['main', 'disk']) bench.objects(store).forEach(damage);
    const lost = await bench.failure((app) => check(app, 100, true));
    expect([lost.code, lost.message]).toEqual([
      'store-damaged',
      expect.stringContaining('could not be repaired'),
    ]);
  });

  it('says what it did not check', async () => {
    const bench = await Bench.make();
    bench.away('second');
    bench.away('disk');
    const { warnings, lines, events } = await bench.run((app) => check(app, 0));
    expect(warnings).toBe(1);
    expect(
      lines.filter((line) => line.includes('was not checked')).map((line) => line.split(':')[0]),
    ).toEqual(['warning', 'note']);
    expect(events('unchecked')).toMatchObject([{ store: 'second' }, { store: 'disk' }]);
  });
});
