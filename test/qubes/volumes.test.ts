/** R24, R30: a volume as a disposable gets it, from each kind of pool: the state asked for, and never the original. */

import { existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { TOOLS } from '../../dom0/domains/qubes/tools/tools.ts';
import type { ToolName, ToolRunner } from '../../dom0/domains/qubes/tools/tools.ts';
import { describeVolume } from '../../dom0/domains/qubes/volumes/pool-volume.ts';
import { parseVmName } from '../../shared/ids.ts';
import type { VmName } from '../../shared/ids.ts';
import { rejection } from '../support/failure.ts';
import { devicesOf } from './tools/devices.ts';
import { playedTools, toolState } from './tools/tools-kit.ts';
import {
  DISPOSABLES,
  POOL_NAMES,
  remains,
  setting,
  startVm,
  textOf,
  volumeFile,
  volumesOf,
} from './volumes-kit.ts';
import type { PoolName, Setting } from './volumes-kit.ts';

const [disp1, disp2] = DISPOSABLES;

/** What a disposable would read of the snapshot. */
async function frozen(set: Setting, state: 'current' | 'committed'): Promise<string> {
  const { volumes } = volumesOf(set);
  const held = await volumes.snapshot(await set.describe(), state);
  try {
    const device = await held.attach(disp1, 'blocks');
    const [found, ...more] = devicesOf(set.folder, disp1);
    expect(more).toEqual([]);
    expect(found).toMatchObject({ device, readOnly: true });
    return `${textOf(found?.file ?? '')} as ${held.state}`;
  } finally {
    await held.release();
  }
}

async function refusal(set: Setting, state: 'current' | 'committed' = 'current') {
  const before = remains(set);
  const error = await rejection(volumesOf(set).volumes.snapshot(await set.describe(), state));
  expect(remains(set)).toEqual(before);
  expect(error.message).toContain('VM data: its private volume');
  return error;
}

describe('a snapshot', () => {
  const cases: readonly (readonly [PoolName, running: string, runningCommitted: string])[] = [
    ['lvm', 'live as current', 'committed as committed'],
    ['reflink', 'live as current', 'committed as committed'],
    ['elsewhere', 'live as current', 'committed as committed'],
    ['hidden', 'live as current', 'committed as committed'],
    ['zfs', 'live as current', 'committed as committed'],
    ['strange', 'committed as committed', 'committed as committed'],
  ];

  it.each(cases)(
    'in the pool %s is the state asked for, and leaves nothing',
    async (pool, current, committed) => {
      const set = await setting(pool);
      const halted = remains(set);
      expect(await frozen(set, 'current')).toBe('committed as current');
      expect(await frozen(set, 'committed')).toMatch(/^committed as c/);
      expect(remains(set)).toEqual(halted);
      if (pool === 'zfs') await cleanSnapshot(set);
      await startVm(set);
      const running = remains(set);
      expect(await frozen(set, 'current')).toBe(current);
      expect(await frozen(set, 'committed')).toBe(committed);
      expect(remains(set)).toEqual(running);
    },
  );

  it('of a plain file is there while the VM is halted, and refused while it runs', async () => {
    const set = await setting('file');
    expect(await frozen(set, 'current')).toBe('committed as current');
    await startVm(set);
    const { code, message } = await refusal(set);
    expect(code).toBe('refused');
    expect(message).toMatch(
      /has no snapshots \(driver file\), and the VM runs\. Shut the VM down .*`qvm-clone --pool`/,
    );
  });

  it('of a plain file that is written meanwhile is refused', async () => {
    const set = await setting('file');
    const volume = await set.describe();
    const { volumes } = volumesOf(set, {
      tools: {
        run: (tool) => {
          if (tool === 'cp') set.write('committed', 'written');
          return Promise.resolve('');
        },
      },
    });
    expect((await rejection(volumes.snapshot(volume, 'current'))).message).toContain(
      'was written while it was copied',
    );
  });

  it('of a plain file is whole for a second reader too, or refused if the VM has written since', async () => {
    const set = await setting('file');
    const held = await volumesOf(set).volumes.snapshot(await set.describe(), 'current');
    expect(toolState(set.folder, ({ calls }) => calls.filter((call) => call.startsWith('cp')))).toHaveLength(
      1,
    );
    await held.attach(disp1, 'files');
    expect(toolState(set.folder, ({ calls }) => calls.filter((call) => call.startsWith('cp')))).toHaveLength(
      1,
    );
    set.write('committed', 'written since');
    expect((await rejection(held.attach(disp2, 'files'))).message).toContain(
      'was written while it was copied',
    );
    await held.release();
  });

  it.each(POOL_NAMES)(
    'in the pool %s is attached to several disposables, read-only, by devices of dom0',
    async (pool) => {
      const set = await setting(pool);
      const { volumes } = volumesOf(set);
      const held = await volumes.snapshot(await set.describe(), 'current');
      expect(held.writable).toBe(false);
      expect(await held.attach(disp1, 'blocks')).toBe('/dev/xvdi');
      expect(await held.attach(disp2, 'blocks')).toBe('/dev/xvdi');
      for (const name of DISPOSABLES)
        expect(devicesOf(set.folder, name).map(({ file, readOnly }) => [textOf(file), readOnly])).toEqual([
          ['committed', true],
        ]);
      const loops = toolState(set.folder, (state) => Object.values(state.loops));
      expect(loops.map(({ readOnly }) => readOnly)).toEqual(pool === 'lvm' ? [true] : [true, true]);
      await held.release();
      await held.release();
      expect((await rejection(held.attach(disp1, 'blocks'))).code).toBe('internal');
    },
  );

  it.each(POOL_NAMES)(
    'R24: in the pool %s is given to each reader of files as a copy of its own, and is as it was',
    async (pool) => {
      const set = await setting(pool);
      const before = remains(set);
      const { volumes } = volumesOf(set);
      const held = await volumes.snapshot(await set.describe(), 'current');
      await held.attach(disp1, 'files');
      const given = (name: VmName) =>
        devicesOf(set.folder, name).map(({ file, readOnly }) => ({ file, readOnly }));
      const [own, ...more] = given(disp1);
      expect(more).toEqual([]);
      expect(own?.readOnly).toBe(false);
      writeFileSync(own?.file ?? '', 'replayed');
      await held.attach(disp2, 'files');
      const [other] = given(disp2);
      expect(textOf(other?.file ?? '')).toBe('committed');
      await held.release();
      expect(remains(set)).toEqual(before);
      expect(textOf(volumeFile(set, 'committed'))).toBe('committed');
    },
  );

  it.each(['4.2', '4.3'] as const)(
    'is found where Qubes OS %s says that the disposable has it',
    async (release) => {
      const set = await setting('reflink', release);
      const { volumes } = volumesOf(set);
      const [first, second] = [
        await volumes.snapshot(await set.describe(), 'current'),
        await volumes.snapshot(await set.describe(), 'current'),
      ];
      expect(await first.attach(disp1, 'blocks')).toBe('/dev/xvdi');
      expect(await second.attach(disp1, 'blocks')).toBe('/dev/xvdj');
      await second.release();
      await first.release();
    },
  );

  it('outlives the disposable, whose end detaches it', async () => {
    const set = await setting('lvm');
    const before = remains(set);
    const { volumes } = volumesOf(set);
    const held = await volumes.snapshot(await set.describe(), 'current');
    await held.attach(disp1, 'blocks');
    await set.admin.kill(disp1);
    await held.attach(disp2, 'blocks');
    await set.admin.kill(disp2);
    await held.release();
    expect(
      toolState(set.folder, ({ calls }) => calls.filter((call) => call.includes('detach disp'))),
    ).toEqual([]);
    expect(remains(set)).toEqual(before);
  });

  it('waits for the back end of Xen to let go of a device', async () => {
    const set = await setting('lvm');
    const { volumes } = volumesOf(set);
    const held = await volumes.snapshot(await set.describe(), 'current');
    toolState(set.folder, (state) => {
      state.lingering = 2;
    });
    await held.release();
    expect(
      toolState(set.folder, ({ calls }) => calls.filter((call) => call.startsWith('lvremove'))),
    ).toHaveLength(3);
  });

  it('gives up waiting after a bounded time, names what is left, and a later run removes it', async () => {
    const set = await setting('lvm');
    const before = remains(set);
    const { volumes } = volumesOf(set, { patience: 30 });
    const held = await volumes.snapshot(await set.describe(), 'current');
    toolState(set.folder, (state) => {
      state.lingering = 1e6;
    });
    const { message } = await rejection(held.release());
    expect(message).toMatch(
      /^VM data: `lvremove --yes -- qubes_dom0\/qib-.*in use\.\. What could not be removed stays/,
    );
    expect(await volumesOf(set, { patience: 30 }).journal.cleanUp()).toEqual([message]);
    toolState(set.folder, (state) => {
      state.lingering = 0;
    });
    expect(await volumesOf(set).journal.cleanUp()).toEqual([
      expect.stringMatching(
        /^removed the logical volume qubes_dom0\/qib-[0-9a-f]{8}, a snapshot of VM data$/,
      ),
    ]);
    expect(remains(set)).toEqual(before);
  });
});

/** qubesd takes one at each shutdown. */
async function cleanSnapshot(set: Setting): Promise<void> {
  const run = playedTools(set.folder);
  for (const name of ['qubes-clean-old', 'other'])
    await run.run('zfs', ['snapshot', `rpool/vms/data/private@${name}`], { subject: '' });
  set.write('committed', 'committed');
  await run.run('zfs', ['snapshot', 'rpool/vms/data/private@qubes-clean-new'], { subject: '' });
  toolState(set.folder, ({ calls }) => calls.splice(0)); // They were not the driver's.
}

describe('a VM that keeps no revisions', () => {
  async function withoutRevisions(pool: PoolName): Promise<Setting> {
    const set = await setting(pool);
    await set.qubesd.call('admin.vm.volume.Set.revisions_to_keep+private', set.vm, '-1');
    await set.admin.start(set.vm);
    set.write('live', 'live');
    if (pool === 'lvm')
      toolState(set.folder, (state) => {
        state.open.push('qubes_dom0/vm-data-private');
      });
    return set;
  }

  it.each(['lvm', 'reflink', 'zfs'] as const)(
    'in the pool %s is frozen as it runs, and has no committed state',
    async (pool) => {
      const set = await withoutRevisions(pool);
      expect(await frozen(set, 'current')).toBe('live as current');
      expect((await refusal(set, 'committed')).message).toContain('revisions_to_keep is -1');
    },
  );

  it('is not mistaken for the leftover of a crash that lies beside it', async () => {
    const set = await withoutRevisions('lvm');
    writeFileSync(set.at('dev/qubes_dom0/vm-data-private-snap'), 'crashed');
    expect(await frozen(set, 'current')).toBe('live as current');
    toolState(set.folder, (state) => {
      state.open = ['qubes_dom0/vm-data-private-snap'];
    });
    expect(await frozen(set, 'current')).toBe('crashed as current');
    toolState(set.folder, (state) => {
      state.open.push('qubes_dom0/vm-data-private');
    });
    expect((await refusal(set)).message).toContain('two logical volumes of it are in use');
    toolState(set.folder, (state) => {
      state.open = [];
    });
    expect((await refusal(set)).message).toContain('is not there');
  });

  it('in a pool of no known driver is refused while it runs', async () => {
    const set = await withoutRevisions('strange');
    expect((await refusal(set)).message).toContain('Shut the VM down');
  });
});

describe('a volume that is not as it should be', () => {
  it.each(['lvm', 'reflink'] as const)(
    'in the pool %s: after a crash of the machine, what the VM would go on with',
    async (pool) => {
      const set = await setting(pool);
      await startVm(set);
      await set.qubesd.call('admin.vm.Kill', set.vm);
      const live = volumeFile(set, 'live');
      if (!existsSync(live) || live === volumeFile(set, 'committed'))
        writeFileSync(pool === 'lvm' ? set.at('dev/qubes_dom0/vm-data-private-snap') : live, 'crashed');
      set.write('committed', 'committed');
      expect(await frozen(set, 'current')).toBe('crashed as current');
      expect(await frozen(set, 'committed')).toBe('committed as committed');
    },
  );

  it.each(['lvm', 'reflink', 'file'] as const)('in the pool %s: it is gone', async (pool) => {
    const set = await setting(pool);
    const volume = await set.describe();
    rmSync(volumeFile(set, 'committed'));
    const before = remains(set);
    for (const state of ['current', 'committed'] as const) {
      const error = await rejection(volumesOf(set).volumes.snapshot(volume, state));
      expect(error.message).toMatch(/is not there\. If the VM was just started or shut down, try again/);
    }
    expect(remains(set)).toEqual(before);
  });

  it.each(['lvm', 'reflink'] as const)(
    'in the pool %s: a running VM without what it works on',
    async (pool) => {
      const set = await setting(pool);
      await startVm(set);
      const live = volumeFile(set, 'live');
      renameSync(live, `${live}-gone`);
      expect((await refusal(set)).message).toContain('is not there');
    },
  );

  it('in a ZFS pool: a running VM without a snapshot of its last shutdown', async () => {
    const set = await setting('zfs');
    await startVm(set);
    expect((await refusal(set, 'committed')).message).toContain('rpool/vms/data/private@qubes-clean');
  });

  it.each(['../../etc/shadow', 'appvms/../../x', '/etc/passwd', 'a//b', 'vm', 'a/b c', 'a/.'])(
    'its id is %s',
    async (vid) => {
      for (const pool of ['lvm', 'reflink', 'zfs', 'file'] as const) {
        const set = await setting(pool);
        const before = remains(set);
        const volume = { ...(await set.describe()), vid };
        const { code } = await rejection(volumesOf(set).volumes.snapshot(volume, 'current'));
        expect(['io', 'refused']).toContain(code);
        expect(remains(set)).toEqual(before);
      }
    },
  );

  it('its pool does not say where it is', async () => {
    for (const pool of ['lvm', 'reflink', 'zfs', 'file'] as const) {
      const set = await setting(pool);
      const volume = await set.describe();
      for (const value of [undefined, '', 'relative', '/a/../b', '-x', 'a b']) {
        const settings = Object.fromEntries(
          Object.keys(volume.pool.settings).map((key) => [key, value ?? '']),
        );
        const altered = {
          ...volume,
          pool: { ...volume.pool, settings: value === undefined ? {} : settings },
        };
        const error = await rejection(volumesOf(set).volumes.snapshot(altered, 'current'));
        expect(error.message).toMatch(/has no usable|is not there/);
      }
    }
  });

  it('is none of the VM’s own', async () => {
    const { admin } = await setting('lvm');
    const error = await rejection(describeVolume(admin, parseVmName('work'), 'root'));
    expect(error).toMatchObject({ code: 'unknown-volume' });
  });

  it('is in a pool of no known driver, and so is the default pool', async () => {
    const set = await setting('strange');
    await set.qubesd.call('admin.property.Set+default_pool_private', 'dom0', 'strange');
    const { message } = await refusal(set);
    expect(message).toContain('qubes-prefs default_pool_private');
  });
});

describe('the volume of a temporary VM', () => {
  /** A temporary VM in that pool, with that content. */
  async function temporary(pool: PoolName) {
    const set = await setting(pool);
    const vm = parseVmName('restore-data-abcd');
    await set.admin.create({ klass: 'AppVM', name: vm, label: 'red', pools: { private: pool } });
    const describe = async () => ({
      ...(await set.describe()),
      vm,
      vid: (await set.admin.volume(vm, 'private')).vid,
    });
    const volume = await describe();
    const file = volumeFile(set, 'committed').replace('data', vm);
    writeFileSync(file, 'empty');
    return { set, vm, volume, file };
  }

  it.each(['lvm', 'reflink', 'elsewhere', 'zfs', 'file'] as const)(
    'in the pool %s is given itself: writable, then read-only to another',
    async (pool) => {
      const { set, volume, file } = await temporary(pool);
      const { volumes } = volumesOf(set);
      const before = remains(set);
      const writable = await volumes.open(volume, true);
      await writable.attach(disp1, 'blocks');
      const [given] = devicesOf(set.folder, disp1);
      expect(given?.readOnly).toBe(false);
      writeFileSync(given?.file ?? '', 'EMPTY');
      await set.admin.kill(disp1);
      await writable.release();
      const readable = await volumes.open(volume, false);
      await readable.attach(disp2, 'blocks');
      const [seen] = devicesOf(set.folder, disp2);
      expect([textOf(seen?.file ?? ''), seen?.readOnly]).toEqual(['EMPTY', true]);
      await readable.release();
      expect(textOf(file)).toBe('EMPTY');
      writeFileSync(file, 'empty');
      expect(remains(set)).toEqual(before);
    },
  );

  it('is not to be had of a VM that is not temporary, or runs', async () => {
    const { set, volume } = await temporary('lvm');
    const { volumes } = volumesOf(set);
    const before = remains(set);
    for (const refused of [await set.describe(), { ...volume, running: true }])
      for (const writable of [true, false])
        expect((await rejection(volumes.open(refused, writable))).code).toBe('refused');
    expect(remains(set)).toEqual(before);
  });

  it('is not to be had in a pool of no known driver', async () => {
    const { set, volume } = await temporary('strange');
    expect((await rejection(volumesOf(set).volumes.open(volume, true))).message).toContain(
      'choose another pool',
    );
  });
});

describe('what fails', () => {
  const failing = [
    ['lvm', 'lvs', ''],
    ['lvm', 'lvcreate', ''],
    ['reflink', 'cp', ''],
    ['zfs', 'zfs', 'snapshot'],
    ['zfs', 'zfs', 'clone'],
  ] as const;

  it.each(failing)(
    'in the pool %s: %s %s says so, with what to do, and leaves nothing',
    async (pool, tool, args) => {
      const set = await setting(pool);
      toolState(set.folder, (state) => {
        state.failing.push({ tool, args, code: 5, says: 'no space left' });
      });
      const before = remains(set);
      const { message } = await rejection(volumesOf(set).volumes.snapshot(await set.describe(), 'current'));
      expect(message).toMatch(new RegExp(`^VM data: \`${tool} .*failed with status 5: no space left`));
      expect(message).toContain(TOOLS[tool].failure);
      expect(remains(set)).toEqual(before);
    },
  );

  it.each([
    ['losetup', '--find'],
    ['qvm-block', 'list'],
    ['qvm-block', 'attach'],
  ] as const)('on the way to a disposable: %s %s', async (tool, args) => {
    const set = await setting('reflink');
    const before = remains(set);
    const held = await volumesOf(set).volumes.snapshot(await set.describe(), 'current');
    toolState(set.folder, (state) => {
      state.failing.push({ tool, args, code: 1, says: 'refused' });
    });
    const { message } = await rejection(held.attach(disp1, 'blocks'));
    expect(message).toMatch(new RegExp(`^VM data: \`${tool} ${args}.*: refused`));
    toolState(set.folder, (state) => {
      state.failing = [];
    });
    await held.release();
    expect(remains(set)).toEqual(before);
  });

  /** Tools of which one says something else than it does. */
  const lying = (set: Setting, liar: ToolName, said: string): ToolRunner => ({
    run: (tool, args, options) =>
      tool === liar ? Promise.resolve(said) : playedTools(set.folder).run(tool, args, options),
  });

  it.each(['{"report":[]}', 'WARNING: no JSON', '{"report":[{"lv":[{"lv_name":7}]}]}'])(
    'what lvs never says is not believed: %s',
    async (said) => {
      const set = await setting('lvm');
      const { volumes } = volumesOf(set, { tools: lying(set, 'lvs', said) });
      const { code, message } = await rejection(volumes.snapshot(await set.describe(), 'current'));
      expect([code, message]).toEqual([
        'protocol',
        expect.stringMatching(/^VM data: what lvs says is not what it says on Qubes OS/),
      ]);
    },
  );

  it('nor is losetup, by a cleanUp(), which goes no further', async () => {
    const set = await setting('reflink');
    await (await volumesOf(set).volumes.snapshot(await set.describe(), 'current')).attach(disp1, 'blocks');
    const listing = '{"loopdevices":[{"name":"/etc/passwd","back-file":null}]}';
    expect(await volumesOf(set, { tools: lying(set, 'losetup', listing) }).journal.cleanUp()).toEqual([
      'took the device loop0 of VM data from disp1',
      expect.stringMatching(/^VM data: what losetup says is not/),
    ]);
    expect(readdirSync(set.at('var/lib/qubes-backup/images'))).toHaveLength(1);
  });

  it('a mount for the image of a temporary VM', async () => {
    const set = await setting('reflink');
    const volume = { ...(await set.describe()), vm: parseVmName('restore-x') };
    toolState(set.folder, (state) => {
      state.failing.push({ tool: 'mount', args: '', code: 32, says: 'not permitted' });
    });
    const before = remains(set);
    expect((await rejection(volumesOf(set).volumes.open(volume, true))).message).toContain(
      '`mount --bind -- /',
    );
    expect(remains(set)).toEqual(before);
  });

  it('a disposable that does not run, and a device that is not offered, are named in bounded time', async () => {
    const set = await setting('reflink');
    await set.admin.kill(disp1);
    const held = await volumesOf(set).volumes.snapshot(await set.describe(), 'current');
    expect((await rejection(held.attach(disp1, 'blocks'))).message).toContain('not running: disp1');
    await held.release();
    const hidden = volumesOf(set, {
      patience: 30,
      tools: {
        run: (tool, args, options) => {
          if (tool === 'cp') return playedTools(set.folder).run(tool, args, options);
          return Promise.resolve(tool === 'losetup' ? '/dev/loop7\n' : '');
        },
      },
    });
    const unseen = await hidden.volumes.snapshot(await set.describe(), 'current');
    const { code, message } = await rejection(unseen.attach(disp2, 'blocks'));
    expect([code, message]).toEqual([
      'timeout',
      expect.stringContaining('dom0 does not offer its device loop7'),
    ]);
  });

  it('what cannot be taken back is told along with what failed', async () => {
    const set = await setting('zfs');
    toolState(set.folder, (state) => {
      state.failing.push({ tool: 'zfs', args: 'clone', code: 1, says: 'full' });
      state.failing.push({ tool: 'zfs', args: 'destroy', code: 1, says: 'held' });
    });
    const { message } = await rejection(
      volumesOf(set, { patience: 30 }).volumes.snapshot(await set.describe(), 'current'),
    );
    expect(message).toMatch(
      /zfs clone .*: full.* Besides, what was made cannot be removed, .*zfs destroy .*: held/s,
    );
    expect(readdirSync(join(set.folder, 'journal'))).toHaveLength(1);
    toolState(set.folder, (state) => {
      state.failing = [];
    });
    await volumesOf(set).journal.cleanUp();
  });
});
