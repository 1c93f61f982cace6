/**
 * R21 R30 R31 R33 R37 R50: the main job on a driver, on volumes that are real ext4 images: backup, an incremental one, restores under
 * other names, extractions; and dom0 killed at its steps (kills.ts). Needs root and loop devices.
 */

import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { backup } from '../../../dom0/commands/backup.ts';
import { check } from '../../../dom0/commands/check.ts';
import { drill } from '../../../dom0/commands/drill.ts';
import { extract } from '../../../dom0/commands/extract.ts';
import { init } from '../../../dom0/commands/init.ts';
import { restore } from '../../../dom0/commands/restore.ts';
import { historyOf } from '../../../dom0/repository/find-vm.ts';
import { rejection } from '../../support/failure.ts';
import { shell, withMounted } from '../../support/images.ts';
import type { testNeeding } from '../../support/needs.ts';
import { tempFolder } from '../../support/temp.ts';
import { expectNothingLeft, killed } from './kills.ts';
import { qubesSystem } from './qubes-system.ts';
import type { QubesSystem } from './qubes-system.ts';
import type { Machine, System } from './system.ts';

const FIRST =
  '(cd "$1"; mkdir -p home/user/docs; for i in 1 2 3; do echo "file $i" >home/user/docs/$i; done; ln -s docs home/user/link; ' +
  'head -c 3000000 /dev/urandom >home/user/large; chown -R 1000:1000 home/user; chmod 4755 home/user/docs/1)';
const SECOND = '(cd "$1"; rm home/user/docs/2; echo changed >>home/user/docs/3; echo new >home/user/new)';
/** Every entry with what a restore must bring back. */
const SURVEY =
  '(cd "$1"; find . -path ./lost+found -prune -o -path ./home/user/QubesIncoming -prune -o -printf "%p %y %m %U:%G %n %T@ %l\\n" | sort; ' +
  'find . -path ./home/user/QubesIncoming -prune -o -type f -exec sha256sum {} + | sort)';

const survey = (system: System, vm: string) => withMounted(system.imageOf(vm), 'ro', SURVEY);
const backUp = (system: System) => system.run((app) => backup(app, ['data']));

/** With a first backup of `data`. */
async function backedUp(
  create: () => Promise<System>,
): Promise<{ readonly system: System; readonly first: string }> {
  const system = await create();
  withMounted(system.imageOf('data'), 'rw', FIRST);
  await system.run((app) => init(app, () => app.secrets()));
  expect((await backUp(system)).warnings).toBe(0);
  return { system, first: survey(system, 'data') };
}

/** {@link backedUp}, and `data` changed since. */
async function changed(create: () => Promise<System>) {
  const { system, first } = await backedUp(create);
  withMounted(system.imageOf('data'), 'rw', SECOND);
  return { system, first, second: survey(system, 'data') };
}

/** What an extraction to `to` leaves there, if the driver allows it. */
const TO = { to: undefined, tar: undefined, intoVm: undefined, overwrite: false };

/** Defines the tests of one driver; `testMounting` defines a test that mounts images. */
export function driverSuite(
  name: Machine['driver'],
  create: () => Promise<System>,
  testMounting: ReturnType<typeof testNeeding>,
): void {
  testMounting('R21 R30 R33: backs up, backs up what changed, restores and extracts both', async () => {
    const { system, first, second } = await changed(create);
    expect((await backUp(system)).warnings).toBe(0);
    await system.run((app) => restore(app, 'data@1', 'old'));
    await system.run((app) => restore(app, 'data', 'copy'));
    expect(survey(system, 'old')).toBe(first);
    expect(survey(system, 'copy')).toBe(second);
    expect(survey(system, 'data')).toBe(second);
    const folder = tempFolder();
    const toFolder = system.run((app) => extract(app, 'data@1', ['home/user/docs'], { ...TO, to: folder }));
    if (name === 'local') {
      await toFolder;
      expect(readFileSync(join(folder, 'home/user/docs/2'), 'utf8')).toBe('file 2\n');
    } else expect((await rejection(toFolder)).message).toContain('dom0 unpacks nothing on Qubes OS');
    const tar = join(folder, 'all.tar');
    await system.run((app) => extract(app, 'data', ['home/user/new'], { ...TO, tar }));
    expect(existsSync(tar)).toBe(true);
    await system.run((app) => extract(app, 'data@1', ['home/user/docs/2'], { ...TO, intoVm: 'data' }));
    expect(system.incoming('data-1/home/user/docs/2')).toBe('file 2\n');
    expect((await system.run((app) => check(app, 100))).warnings).toBe(0);
    await expectNothingLeft(system);
  });

  testMounting('R24: backs up several VMs at a time, each whole', async () => {
    const { system } = await backedUp(create);
    const vms = ['data', 'more', 'most'];
    for (const vm of vms.slice(1)) {
      await system.add(vm);
      withMounted(system.imageOf(vm), 'rw', FIRST);
    }
    const calls = 'set' in system ? (system as QubesSystem).set.qubesd.calls : [];
    calls.length = 0;
    expect((await system.run((app) => backup(app, vms, { jobs: 3 }))).warnings).toBe(0);
    const running = new Set<string>();
    let most = 0;
    for (const { call, dest, payload } of calls) {
      const [made] = /qib-disp-\w+/.exec(payload) ?? [];
      if (call.startsWith('admin.vm.Create.DispVM') && made !== undefined) running.add(made);
      if (/^admin\.vm\.(Kill|Remove)/.test(call)) running.delete(dest);
      most = Math.max(most, running.size);
    }
    expect(most).toBe(name === 'qubes' ? 3 : 0);
    for (const vm of vms) {
      await system.run((app) => restore(app, vm, `${vm}-again`));
      expect(survey(system, `${vm}-again`)).toBe(survey(system, vm));
    }
    await expectNothingLeft(system);
  });

  if (name === 'qubes')
    testMounting(
      'R24: backs up and restores a VM that was never started: its volume has no file system yet',
      async () => {
        const system = await qubesSystem();
        const { admin, pool } = system.set;
        await admin.create({ klass: 'AppVM', name: 'new', label: 'red', pools: { private: pool } });
        await system.run((app) => init(app, () => app.secrets()));
        for (const audit of [false, true])
          expect((await system.run((app) => backup(app, ['new'], { audit }))).warnings).toBe(0);
        await system.run((app) => restore(app, 'new', 'copy'));
        expect(survey(system, 'copy')).toBe('. d 755 0:0 2 0.0000000000 \n');
        await expectNothingLeft(system);
      },
    );

  testMounting('R22: restores blocks, also where new volumes are larger', async () => {
    const { system } = await backedUp(create);
    const image = system.imageOf('data');
    writeFileSync(join(system.machine.folder, 'config.toml'), '[vm.data.volumes]\nprivate = "blocks"\n');
    expect((await backUp(system)).warnings).toBe(0);
    const { warnings } = await system.run((app) => restore(app, 'data', 'copy'));
    const restored = system.imageOf('copy');
    const [size, now] = [statSync(image).size, statSync(restored).size];
    // Qubes OS makes no volume smaller than a new one is: told, and proven to be zeros.
    expect([now > size, warnings]).toEqual(name === 'qubes' ? [true, 1] : [false, 0]);
    shell(
      'cmp -n "$3" "$1" "$2" && cmp -n "$(($4 - $3))" -i "$3":0 "$2" /dev/zero',
      image,
      restored,
      String(size),
      String(now),
    );
    await expectNothingLeft(system);
  });

  testMounting(
    'R37: drills a snapshot, which a command judges, and leaves nothing, also if it dies',
    async () => {
      const { system, first } = await backedUp(create);
      const judge = (command: string) =>
        writeFileSync(
          join(system.machine.folder, 'config.toml'),
          `[vm.data]\ndrill_command = ["sh", "-c", ${JSON.stringify(command)}]\n`,
        );
      // It sees all files, whosesoever they are, can write none, and has no network.
      const sound =
        'test "$(cat home/user/docs/1)" = "file 1" && ! touch home/user/new 2>/dev/null && test "$PWD" = "$QUBES_BACKUP_VOLUME"';
      judge(sound);
      expect((await system.run((app) => drill(app, ['data'], {}))).warnings).toBe(0);
      await expectNothingLeft(system);
      judge('cat home/user/absent');
      expect((await rejection(system.run((app) => drill(app, ['data'], {})))).code).toBe('verify-failed');
      await expectNothingLeft(system);
      judge(sound);
      const vms = await system.vms();
      await killed(system, 'drill', async () => {
        expect(survey(system, 'data')).toBe(first);
        expect(await system.vms()).toEqual(vms);
      });
    },
    1_800_000,
  );

  testMounting(
    'R50: survives the death of dom0 at steps of a backup and of a restore',
    async () => {
      const { system, first, second } = await changed(create);
      await killed(system, 'backup', async () => {
        expect(survey(system, 'data')).toBe(second);
        await Promise.resolve();
      });
      await killed(system, 'restore', async () => {
        expect(survey(system, 'data')).toBe(second);
        // A VM with its name has its content; else there is none (R30).
        if (!(await system.vms()).includes('copy')) return;
        expect(survey(system, 'copy')).toBe(first);
        await system.remove('copy');
      });
      expect((await backUp(system)).warnings).toBe(0);
      await system.run((app) => restore(app, 'data@1', 'old'));
      expect(survey(system, 'old')).toBe(first);
      expect((await system.run((app) => check(app, 100))).warnings).toBe(0);
    },
    1_800_000,
  );

  testMounting(
    'R50: survives the death of dom0 at steps of a restore in place and of one of all',
    async () => {
      const { system, first, second } = await changed(create);
      expect((await backUp(system)).warnings).toBe(0);
      await system.run((app) => restore(app, 'data@1', 'old'));
      let now = second;
      await killed(system, 'replace', async () => {
        const kept = await keptVms(system);
        // Either the one or the other, whole; what was there before is there in any case.
        expect(survey(system, 'data')).toBe(kept.length === 0 ? now : first);
        await expectContinued(system, 'data');
        for (const vm of kept) {
          expect(survey(system, vm)).toBe(now);
          await system.remove(vm);
        }
        withMounted(system.imageOf('data'), 'rw', '(cd "$1"; date +%N >>home/user/last)');
        now = survey(system, 'data');
      });
      await system.run((app) => backup(app, ['old']));
      const newest = { data: second, old: first };
      for (const vm of Object.keys(newest)) await system.remove(vm);
      const restored = new Set<string>();
      await killed(system, 'restore-all', async () => {
        const there = await system.vms();
        for (const [vm, content] of Object.entries(newest)) {
          if (!there.includes(vm)) continue;
          expect(survey(system, vm)).toBe(content);
          await expectContinued(system, vm);
          await system.remove(vm);
          restored.add(vm);
        }
      });
      expect(restored.size).toBe(2);
      expect((await system.run((app) => check(app, 100))).warnings).toBe(0);
    },
    1_800_000,
  );
}

/** The VM continues the snapshots of the one that it was (R11). */
async function expectContinued(system: System, vm: string): Promise<void> {
  let record: unknown;
  await system.run(async (app) => {
    await app.lock();
    const repository = await app.open();
    const found = (await app.domains.list()).find(({ name }) => name === vm);
    record = found && (await historyOf(repository, found)).recordId;
    await app.closeStorage();
  });
  expect(record, vm).toBeDefined();
}

/** VMs that another took the place of. */
async function keptVms(system: System): Promise<readonly string[]> {
  return (await system.vms()).filter((vm) => /^data-\d{8}/.test(vm));
}
