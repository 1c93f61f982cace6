/** R50: a run that is killed at any instant leaves what the next one removes: all that was made, and nothing else. */

import { mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Admin } from '../../dom0/domains/qubes/admin/admin.ts';
import { parseVmName } from '../../shared/ids.ts';
import { Instants } from './instants.ts';
import { playedTools, toolState } from './tools/tools-kit.ts';
import { DISPOSABLES, POOL_NAMES, remains, setting, startVm, volumeFile, volumesOf } from './volumes-kit.ts';
import type { Parts, PoolName, Setting } from './volumes-kit.ts';

const [disp1, disp2] = DISPOSABLES;

const isChange = (call: string) => !/^lvs|list/.test(call);
const ADMIN_CHANGES = ['create', 'setTag', 'setProperty', 'cloneVolume', 'remove'];

type Job = (set: Setting, parts: Parts) => Promise<void>;

/** Freezes the volume, gives it to two disposables, and releases it. */
const freeze: Job = async (set, { volumes }) => {
  const held = await volumes.snapshot(await set.describe(), 'current');
  await held.attach(disp1, 'files');
  await held.attach(disp2, 'blocks');
  await held.release();
};

/** Gives a disposable the volume of a temporary VM to write, and releases it. */
const write: Job = async (set, { volumes }) => {
  const vm = parseVmName('restore-data-abcd');
  const { vid } = await set.admin.volume(vm, 'private');
  const held = await volumes.open({ ...(await set.describe()), vm, vid }, true);
  await held.attach(disp1, 'blocks');
  await held.release();
};

/** Runs the job up to one instant; answers how many it passed, and whether it came to its end. */
async function runUntil(set: Setting, job: Job, last: number): Promise<{ passed: number; ended: boolean }> {
  const instants = new Instants(last);
  const parts = volumesOf(set, {
    tools: instants.around(playedTools(set.folder), (_run, [tool, args]) =>
      isChange(`${String(tool)} ${String(args)}`),
    ),
    admin: instants.around<Admin>(set.admin, (method) => ADMIN_CHANGES.includes(method)),
    after: instants.pass,
  });
  const ended = await Promise.race([job(set, parts).then(() => true), instants.died.then(() => false)]);
  return { passed: instants.passed, ended };
}

/** Kills the job at each of its instants in turn; each time the machine is as before after a cleanUp(). */
async function killEverywhere(set: Setting, job: Job): Promise<number> {
  const before = remains(set);
  const left = new Set<string>();
  for (let instant = 1; ; instant++) {
    const { ended } = await runUntil(set, job, instant);
    expect(toolState(set.folder, ({ breaches }) => breaches)).toEqual([]);
    if (ended) {
      expect(remains(set)).toEqual(before);
      return left.size;
    }
    left.add(JSON.stringify(remains(set)));
    const lines = await volumesOf(set).journal.cleanUp();
    expect(remains(set), `killed at instant ${instant}, then: ${lines.join('; ')}`).toEqual(before);
    for (const line of lines) expect(line).toMatch(/^(?:removed|detached|took) [\x20-\x7e]+$/);
    expect(await volumesOf(set).journal.cleanUp()).toEqual([]);
  }
}

describe('killed at every instant', () => {
  it.each(POOL_NAMES)('a snapshot in the pool %s leaves what cleanUp() removes', async (pool) => {
    const set = await setting(pool);
    if (pool !== 'file') await startVm(set);
    expect(await killEverywhere(set, freeze)).toBeGreaterThan(6);
  });

  it.each(['lvm', 'reflink', 'zfs', 'file'] as const)(
    'the volume of a temporary VM in the pool %s is given back',
    async (pool) => {
      const set = await setting(pool);
      await set.admin.create({
        ...{ klass: 'AppVM', name: 'restore-data-abcd', label: 'red' },
        pools: { private: pool },
      });
      writeFileSync(volumeFile(set, 'committed').replace('data', 'restore-data-abcd'), 'empty');
      expect(await killEverywhere(set, write)).toBeGreaterThan(3);
    },
  );

  it('so does a cleanUp() that is killed itself', async () => {
    const set = await setting('zfs');
    const before = remains(set);
    for (let instant = 1; ; instant++) {
      await runUntil(set, freeze, 10);
      expect(remains(set)).not.toEqual(before);
      const { ended } = await runUntil(
        set,
        async (_set, { journal }) => {
          await journal.cleanUp();
        },
        instant,
      );
      await volumesOf(set).journal.cleanUp();
      expect(remains(set)).toEqual(before);
      if (ended) break;
    }
  });

  it('what a restart of the machine has ended is not looked for under its old name', async () => {
    const set = await setting('reflink');
    const before = remains(set);
    const { volumes } = volumesOf(set, { boot: 'yesterday' });
    await (await volumes.snapshot(await set.describe(), 'current')).attach(disp1, 'blocks');
    toolState(set.folder, (state) => {
      Object.assign(state, { loops: {}, attachments: [], calls: [] });
    });
    rmSync(set.at('dev/loop0'));
    expect(await volumesOf(set).journal.cleanUp()).toEqual([
      expect.stringMatching(/^removed .*\/qib-[0-9a-f]{8}\.img, a snapshot of VM data$/),
    ]);
    expect(toolState(set.folder, ({ calls }) => calls)).toEqual([]);
    expect(remains(set)).toEqual(before);
  });
});

describe('what is not ours is left alone and named', () => {
  /** Leaves a snapshot behind, of which something else has taken the place; answers what cleanUp() says. */
  async function replaced(pool: PoolName, replace: (set: Setting) => void) {
    const set = await setting(pool);
    const { volumes } = volumesOf(set);
    await volumes.snapshot(await set.describe(), 'current');
    replace(set);
    const before = remains(set) as { files: readonly string[] };
    const lines = await volumesOf(set).journal.cleanUp();
    const after = remains(set) as { files: readonly string[] };
    const without = (files: readonly string[]) => files.filter((file) => !file.includes('/journal/'));
    expect({ ...after, files: without(after.files) }).toEqual({ ...before, files: without(before.files) });
    return lines;
  }

  it('a logical volume of such a name without our tag', async () => {
    const lines = await replaced('lvm', (set) =>
      toolState(set.folder, ({ logical }) => {
        for (const [name, known] of Object.entries(logical)) logical[name] = { ...known, tags: ['backup'] };
      }),
    );
    expect(lines).toEqual([expect.stringMatching(/^left qubes_dom0\/qib-.* alone: it lacks the tag/)]);
  });

  it('ZFS datasets without our property', async () => {
    const lines = await replaced('zfs', (set) =>
      toolState(set.folder, ({ datasets }) => {
        for (const [name, known] of Object.entries(datasets)) datasets[name] = { ...known, properties: {} };
      }),
    );
    expect(lines).toEqual([
      expect.stringMatching(/^left rpool\/vms\/qib-.* alone: it lacks the property/),
      expect.stringMatching(/^left rpool\/vms\/data\/private@qib-.* alone: it lacks the property/),
    ]);
  });

  it.each(['folder', 'symlink'] as const)('a %s of the name of an image', async (kind) => {
    const lines = await replaced('reflink', ({ at }) => {
      const folder = at('var/lib/qubes-backup/images');
      const [image = ''] = readdirSync(folder);
      rmSync(join(folder, image));
      if (kind === 'folder') {
        mkdirSync(join(folder, image));
        writeFileSync(join(folder, image, 'x'), '');
      } else symlinkSync('/etc/passwd', join(folder, image));
    });
    expect(lines).toEqual([expect.stringMatching(/^left .*\.img alone: it is no regular file/)]);
  });

  it('a VM of such a name without our tag', async () => {
    const set = await setting('strange');
    const { volumes } = volumesOf(set);
    await volumes.snapshot(await set.describe(), 'current');
    const clone = set.qubesd.store.vms().find(({ name }) => name.startsWith('qib-'))?.name ?? '';
    await set.admin.removeTag(clone, 'qubes-backup-temporary');
    expect(await volumesOf(set).journal.cleanUp()).toContain(
      `left VM ${clone} alone: it lacks the tag qubes-backup-temporary, so it is not ours`,
    );
    expect(set.qubesd.store.find(clone)).toBeDefined();
  });

  it('things of similar names that the journal does not tell of', async () => {
    const set = await setting('lvm');
    for (const name of ['qib-00000000', 'qib-12345678', 'qib-12345678-snap'])
      writeFileSync(set.at(`dev/qubes_dom0/${name}`), 'foreign');
    mkdirSync(set.at('var/lib/qubes-backup/images'), { recursive: true });
    writeFileSync(set.at('var/lib/qubes-backup/images/qib-12345678.img'), 'foreign');
    await set.admin.create({ klass: 'StandaloneVM', name: 'qib-12345678', label: 'red' });
    const before = remains(set);
    await freeze(set, volumesOf(set));
    expect(await volumesOf(set).journal.cleanUp()).toEqual([]);
    expect(remains(set)).toEqual(before);
  });

  it('a device of ours that a VM has which nobody gave it to: it is not taken from that, and all is named', async () => {
    const set = await setting('reflink');
    const held = await volumesOf(set).volumes.snapshot(await set.describe(), 'current');
    await held.attach(disp1, 'blocks');
    toolState(set.folder, (state) => {
      state.attachments = state.attachments.map((attachment) => ({ ...attachment, vm: disp2 }));
    });
    await volumesOf(set).journal.cleanUp();
    expect(toolState(set.folder, ({ attachments }) => attachments.map(({ vm }) => vm))).toEqual([disp2]);
    await set.admin.kill(disp2);
    expect(
      toolState(set.folder, ({ loops }) => Object.values(loops).map(({ autoclear }) => autoclear)),
    ).toEqual([true]);
  });
});
