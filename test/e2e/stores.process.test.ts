/**
 * R44: three stores, of which one dies in the middle of a backup, one loses 100 objects to a bad disk, and one is put back to an
 * older state. What is left restores exactly, the check names each fault, and its repair heals all three.
 */

import { cpSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { backup } from '../../dom0/commands/backup.ts';
import { init } from '../../dom0/commands/init.ts';
import { LocalDomains } from '../../dom0/domains/local/local.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { neededObjects } from '../../dom0/repository/live-objects.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { put } from '../../shared/protocol/storage.ts';
import { compareTrees } from '../support/checker.ts';
import { COMMAND, Home, SANDBOX } from '../support/home.ts';
import { InProcessDomains } from '../support/in-process-domains.ts';
import { runOver } from '../support/in-process.ts';
import { outcome, start } from '../support/processes.ts';
import type { Child } from '../support/processes.ts';
import { Random } from '../support/random.ts';
import { WrappedDomains, withSteps } from '../support/wrapped-domains.ts';

const MiB = 1024 * 1024;
/** Snapshots before anything goes wrong: enough for 100 objects that the newest root needs. */
const ROUNDS = 32;
const CORRUPTED = 100;

/** A home with a storage VM `main`, another one, `second`, and a folder of dom0's own, `disk`. */
class Stores {
  readonly home = new Home();
  readonly random = new Random(44);

  constructor() {
    const { folder } = this.home;
    this.home.configure(
      ...['[backup]', 'spot_check_mib = 0', '[[storage]]', 'vm = "main"', '[[storage]]', 'vm = "second"'],
      ...['[[storage]]', 'name = "disk"', `folder = "${folder}/disk"`, 'removable = true'],
    );
    cpSync(join(folder, 'vms'), join(folder, 'disk'), { recursive: true });
    createKeyFile(this.home.keyFile);
    this.home.identify('work');
  }

  /** Where the objects of a store are. */
  place(store: 'main' | 'second' | 'disk'): string {
    const home = store === 'disk' ? 'disk' : join('storage', store);
    return join(this.home.folder, home, 'qubes-backup');
  }

  object(store: 'main' | 'second' | 'disk', id: ObjectId): string {
    return join(this.place(store), 'objects', id.slice(0, 2), id);
  }

  /** Takes snapshots quickly, without processes. */
  async fill(): Promise<void> {
    const domains = new InProcessDomains(this.home.folder, () => Date.now() + 60_000);
    await runOver(domains, this.home, (app) => init(app, () => app.secrets()));
    for (let round = 0; round < ROUNDS; round++) {
      this.home.write('work', `file-${round}`, this.random.bytes(5_000));
      const { app } = await runOver(domains, this.home, (run) => backup(run, ['work']));
      expect(app.warnings).toBe(0);
    }
  }

  /** A backup during which the put service of `second` is killed. */
  async backUpKillingSecond(): Promise<readonly string[]> {
    const local = new LocalDomains({ home: this.home.folder, sandbox: SANDBOX });
    let steps = 0;
    const domains = new WrappedDomains(local, (call, service) => {
      if (service !== put.service || !call.peer.startsWith('second:')) return call;
      return withSteps(call, () => {
        if (steps++ === 12) call.kill();
      });
    });
    const { app, output } = await runOver(domains, this.home, (run) => backup(run, ['work']));
    expect(steps).toBeGreaterThan(12);
    expect(app.warnings).toBe(1);
    return output.lines;
  }

  /** What the newest root needs. */
  async needed(): Promise<ObjectId[]> {
    const found: ObjectId[] = [];
    await runOver(new InProcessDomains(this.home.folder), this.home, async (app) => {
      app.defer(() => app.storage.abort());
      for await (const id of neededObjects(await app.open())) found.push(id);
    });
    return found;
  }

  /** Restores snapshot `target` and compares it with `original`. */
  async expectExact(status: number, target: string, name: string, original: string) {
    rmSync(join(this.home.state, 'cache'), { recursive: true });
    const result = await this.home.expectRun(status, 'restore', target, '--as', name);
    expect(compareTrees(original, this.home.volume(name))).toEqual([]);
    return result;
  }
}

/** The largest size that a process had in memory while it ran, in bytes. */
async function peakOf(child: Child): Promise<number> {
  let peak = 0;
  const look = () => {
    const status = existsSync(`/proc/${child.pid ?? 0}/status`)
      ? readFileSync(`/proc/${child.pid ?? 0}/status`, 'latin1')
      : '';
    peak = Math.max(peak, 1024 * Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0));
  };
  const timer = setInterval(look, 100);
  const { code, stderr } = await outcome(child);
  clearInterval(timer);
  expect(code, stderr).toBe(0);
  expect(peak, 'it was looked at').toBeGreaterThan(0);
  return peak;
}

const faultsOf = (events: readonly Readonly<Record<string, unknown>>[]) =>
  events.filter(({ event }) => event === 'fault');

describe('R44: three stores', () => {
  it('one killed, one corrupted, one rolled back: nothing is lost, all is named, all is healed', async () => {
    const stores = new Stores();
    const { home } = stores;
    await stores.fill();
    const older = join(home.folder, 'older-disk');
    cpSync(stores.place('disk'), older, { recursive: true });

    for (let file = 0; file < 3; file++) home.write('work', `large-${file}`, stores.random.bytes(9 * MiB));
    const said = await stores.backUpKillingSecond();
    expect(said.filter((line) => line.includes('store second failed'))).toHaveLength(1);
    expect(said.at(-1)).toMatch(
      /^warning: only 2 of 3 stores have it all, 3 are wanted \(quorum\): second failed: .*second: qubes\.BackupPut/,
    );

    rmSync(stores.place('disk'), { recursive: true });
    renameSync(older, stores.place('disk'));
    const victims = (await stores.needed())
      .filter((id) => existsSync(stores.object('second', id)))
      .slice(-CORRUPTED);
    expect(victims).toHaveLength(CORRUPTED);
    for (const id of victims) {
      const bytes = readFileSync(stores.object('main', id));
      bytes[40] = (bytes[40] ?? 0) ^ 1;
      rmSync(stores.object('main', id));
      writeFileSync(stores.object('main', id), bytes);
    }

    const checked = await home.expectRun(1, 'check', '--read-data', '100%');
    expect(faultsOf(checked.events)).toHaveLength(CORRUPTED);
    for (const id of victims)
      expect(checked.stderr).toContain(`main: object ${id.slice(0, 16)}… is damaged: other bytes are there`);
    expect(checked.stderr).toMatch(/note: store second is behind by 1 root/);
    expect(checked.stderr).toMatch(
      /warning: store disk was rolled back: disk offers root 33, older than root 34/,
    );

    const restored = await stores.expectExact(3, 'work', 'copy', home.volume('work'));
    expect(restored.stderr).toMatch(
      /warning: store main: object [0-9a-f]{16}… is damaged, another store is asked/,
    );

    const repaired = await home.expectRun(3, 'check', '--read-data', '100%', '--repair');
    expect(repaired.events.filter(({ event }) => event === 'synced').map(({ store }) => store)).toEqual([
      'second',
      'disk',
    ]);
    const results = repaired.events.filter(({ event }) => event === 'checked');
    expect(results).toMatchObject([
      { store: 'main', faults: CORRUPTED, repaired: CORRUPTED },
      { store: 'second', faults: 0 },
      { store: 'disk', faults: 0 },
    ]);

    const healed = await home.expectRun(0, 'check', '--read-data', '100%');
    expect(faultsOf(healed.events)).toEqual([]);
    const listed = await home.expectRun(0, 'storage', 'list');
    expect(listed.events.filter(({ event }) => event === 'store')).toMatchObject([
      { store: 'main', state: 'in-step', root: 34, primary: true },
      { store: 'second', state: 'in-step', root: 34 },
      { store: 'disk', state: 'in-step', root: 34, removable: true },
    ]);

    // Any one suffices: the folder that was rolled back, alone.
    for (const store of ['main', 'second'] as const)
      rmSync(join(stores.place(store), '..'), { recursive: true });
    const alone = await stores.expectExact(0, 'work', 'again', home.volume('work'));
    expect(alone.stderr).toMatch(/warning: store main is absent/);
    expect(alone.stderr).toMatch(/warning: store second is absent/);
  }, 300_000);

  it('leave dom0 below 256 MiB, while it backs up and while it brings one up to date', async () => {
    const stores = new Stores();
    const { home } = stores;
    home.configure(readFileSync(join(home.folder, 'config.toml'), 'utf8').replace('spot_check_mib = 0', ''));
    const dom0 = (...args: readonly string[]) =>
      peakOf(
        start(COMMAND, ['--local', home.folder, '--sandbox', SANDBOX, '--key-file', home.keyFile, ...args]),
      );
    await dom0('init');
    for (let round = 0; round < 2; round++) {
      for (let file = 0; file < 4; file++) home.write('work', `large-${file}`, stores.random.bytes(40 * MiB));
      expect(await dom0('backup', 'work')).toBeLessThan(256 * MiB);
    }
    rmSync(stores.place('disk'), { recursive: true });
    expect(await dom0('storage', 'sync', 'disk', '--refill')).toBeLessThan(256 * MiB);
  }, 300_000);
});
