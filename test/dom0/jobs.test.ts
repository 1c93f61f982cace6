/** R50: several VMs are backed up at the same time, and none disturbs another. */

import { randomBytes } from 'node:crypto';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { App } from '../../dom0/app.ts';
import { backup } from '../../dom0/commands/backup.ts';
import { check } from '../../dom0/commands/check.ts';
import { init } from '../../dom0/commands/init.ts';
import { restore } from '../../dom0/commands/restore.ts';
import { Semaphore } from '../../dom0/semaphore.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { scan } from '../../shared/protocol/disposable.ts';
import { put } from '../../shared/protocol/storage.ts';
import { rejection } from '../support/failure.ts';
import { Home } from '../support/home.ts';
import { InProcessDomains } from '../support/in-process-domains.ts';
import { runOver } from '../support/in-process.ts';
import { WrappedDomains, withSteps } from '../support/wrapped-domains.ts';
import type { Wrap } from '../support/wrapped-domains.ts';

const VMS = ['personal', 'untrusted', 'vault', 'work'] as const;

/** A home with four VMs of a few files each. */
async function fourVms(sizes: readonly number[] = [200_000, 1000, 0]): Promise<Home> {
  const home = new Home();
  for (const [index, name] of VMS.entries()) {
    for (const [file, size] of sizes.entries()) home.write(name, `file-${file}`, randomBytes(size));
    home.identify(name, index);
  }
  createKeyFile(home.keyFile);
  await run(home, (app) => init(app, () => app.secrets()));
  return home;
}

function run(home: Home, command: (app: App) => Promise<void>, wrap: Wrap = (call) => call) {
  // Later than any file's time stamps: no entry is too young to be trusted.
  const domains = new InProcessDomains(home.folder, () => Date.now() + 60_000);
  return runOver(new WrappedDomains(domains, wrap), home, command);
}

function expectSame(home: Home, vm: string, copy: string): void {
  const [original, restored] = [home.volume(vm), home.volume(copy)];
  expect(readdirSync(restored)).toEqual(readdirSync(original));
  for (const file of readdirSync(original))
    expect(readFileSync(join(restored, file)).equals(readFileSync(join(original, file))), file).toBe(true);
}

/** Holds every scan until `count` of them have begun. */
function together(count: number): { readonly wrap: Wrap; readonly begun: () => number } {
  let begun = 0;
  const all = Promise.withResolvers<undefined>();
  const wrap: Wrap = (call, service) => {
    if (service !== scan.service) return call;
    begun += 1;
    if (begun === count) all.resolve(undefined);
    return {
      ...withSteps(call, () => undefined),
      io: {
        read: async (target) => {
          await all.promise;
          return call.io.read(target);
        },
        write: (pieces) => call.io.write(pieces),
      },
    };
  };
  return { wrap, begun: () => begun };
}

const objectsOf = (home: Home) =>
  readdirSync(join(home.store, 'objects'), { recursive: true, encoding: 'utf8' })
    .map((name) => statSync(join(home.store, 'objects', name)))
    .filter((stat) => stat.isFile());

describe('backup --jobs', () => {
  it('reads as many VMs at the same time, and tells of each what is its own', async () => {
    const home = await fourVms();
    const { wrap, begun } = together(4); // One after the other would wait for ever.
    const { app, output } = await run(home, (app) => backup(app, [], { all: true, jobs: 4 }), wrap);
    expect([app.warnings, begun()]).toEqual([0, 4]);
    const told = output.events.filter(({ event }) => event === 'backup');
    expect(told.map(({ vm }) => vm).sort()).toEqual(VMS);
    // Content, tree leaf and top, blob table, live set, configuration, snapshot, record.
    for (const event of told)
      expect(event).toMatchObject({ files: 3, storedContentObjects: 1, snapshot: 1, spotCheckFaults: 0 });
    const sum = told.reduce((total, { storedObjects }) => total + Number(storedObjects), 0);
    // All but a catalog for each root, that of the first one included.
    expect(sum).toBe(objectsOf(home).length - 5);
  });

  it('never reads more of them than it may', async () => {
    const home = await fourVms();
    let most = 0;
    let running = 0;
    const domains = new InProcessDomains(home.folder);
    const start = domains.startDisposable.bind(domains);
    domains.startDisposable = async (vm, attachment) => {
      most = Math.max(most, ++running);
      const disposable = await start(vm, attachment);
      return {
        ...disposable,
        destroy: () => {
          running -= 1;
          return disposable.destroy();
        },
      };
    };
    await runOver(domains, home, (app) => backup(app, [], { all: true, jobs: 2 }));
    expect(most).toBe(2);
    home.configure('jobs = 3');
    const { wrap, begun } = together(3);
    await run(home, (app) => backup(app, [], { all: true }), wrap);
    expect(begun()).toBe(4);
  });

  it('stores what one after the other would store, and all of it comes back, whatever the order', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 2, max: 8 }),
        fc.shuffledSubarray([...VMS], { minLength: 2 }),
        fc.array(fc.integer({ min: 0, max: 300_000 }), { minLength: 1, maxLength: 5 }),
        async (jobs, order, sizes) => {
          const home = await fourVms(sizes);
          const alone = new Home({ template: home });
          for (let round = 1; round <= 2; round++) {
            const { app, output } = await run(home, (app) => backup(app, order, { jobs }));
            const sequential = await run(alone, (app) => backup(app, order, { jobs: 1 }));
            expect(app.warnings).toBe(0);
            for (const vm of order) {
              const [ours, theirs] = [output, sequential.output].map(({ events }) =>
                events.find((event) => event.event === 'backup' && event['vm'] === vm),
              );
              for (const key of ['files', 'bytes', 'changedFiles', 'storedObjects', 'storedContentObjects'])
                expect(ours?.[key], `${vm}: ${key}`).toBe(theirs?.[key]);
            }
            for (const each of [home, alone]) each.write(order[0] ?? '', 'new', 'text');
          }
          expect(objectsOf(home).length).toBe(objectsOf(alone).length);
          expect((await run(home, (app) => check(app, 100))).app.warnings).toBe(0);
          for (const vm of order.slice(1)) {
            await run(home, (app) => restore(app, vm, `copy-of-${vm}`));
            expectSame(home, vm, `copy-of-${vm}`);
          }
        },
      ),
      { numRuns: 3 },
    );
  });

  it('goes on with the others when the reader of one dies', async () => {
    const home = await fourVms();
    const { wrap } = together(4);
    let died = false;
    const { error, output } = await failing(home, 4, (call, service) => {
      const held = wrap(call, service);
      if (service !== scan.service || died) return held;
      died = true;
      let steps = 0;
      return withSteps(held, (doing) => {
        if (doing === 'read' && ++steps === 3) call.kill();
      });
    });
    expect(error).toMatchObject({ message: '1 of 4 VMs not backed up' });
    expect(output.filter(({ event }) => event === 'failed')).toHaveLength(1);
    expect(output.filter(({ event }) => event === 'backup')).toHaveLength(3);
    await run(home, (app) => check(app, 100));
  });

  it('begins anew with the next VMs when the storage VM ended the session of several', async () => {
    const home = await fourVms();
    const { wrap } = together(2);
    let sessions = 0;
    const { error, output } = await failing(home, 2, (call, service) => {
      if (service === scan.service && sessions < 2) return wrap(call, service);
      if (service !== put.service || ++sessions > 1) return call;
      let steps = 0;
      return withSteps(call, (doing) => {
        if (doing === 'write' && ++steps === 4) call.kill();
      });
    });
    expect(error.message).toMatch(/^[12] of 4 VMs not backed up$/);
    expect(output.filter(({ event }) => event === 'backup').length).toBeGreaterThanOrEqual(2);
    await run(home, (app) => backup(app, [], { all: true, jobs: 8 }));
    await run(home, (app) => check(app, 100));
  });

  /** What a backup of all that fails threw, and told. */
  async function failing(home: Home, jobs: number, wrap: Wrap) {
    const output: Readonly<Record<string, unknown>>[] = [];
    const error = await rejection(
      run(
        home,
        async (app) => {
          app.output.event = (event, fields) => void output.push({ event, ...fields });
          await backup(app, [], { all: true, jobs });
        },
        wrap,
      ),
    );
    return { error, output };
  }

  it('begins no further VM once it was told to stop', async () => {
    const home = await fourVms();
    let begun = 0;
    let app: App | undefined;
    const error = await rejection(
      run(
        home,
        (running) => {
          app = running;
          return backup(running, [], { all: true, jobs: 1 });
        },
        (call, service) => {
          if (service === scan.service) {
            begun += 1;
            call.kill();
            void app?.interrupt();
          }
          return call;
        },
      ),
    );
    expect([error.message, begun]).toEqual(['4 of 4 VMs not backed up', 1]);
  });
});

describe('a semaphore', () => {
  it('lets in no more than it holds, in the order of coming, and what is larger alone', async () => {
    const semaphore = new Semaphore(10);
    const order: string[] = [];
    const take = async (name: string, amount: number) => {
      await semaphore.take(amount);
      order.push(name);
    };
    const all = [take('a', 6), take('b', 6), take('c', 1), take('large', 30), take('d', 1)];
    await Promise.resolve();
    expect(order).toEqual(['a']); // c would fit, but came after b.
    for (const [amount, expected] of [
      [6, ['a', 'b', 'c']],
      [6, ['a', 'b', 'c']],
      [1, ['a', 'b', 'c', 'large']],
      [30, ['a', 'b', 'c', 'large', 'd']],
    ] as const) {
      semaphore.give(amount);
      await new Promise(setImmediate);
      expect(order).toEqual(expected);
    }
    await Promise.all(all);
  });
});
