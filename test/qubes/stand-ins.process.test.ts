/**
 * The stand-ins for dom0's programs as programs, and what they refuse: a driver that passes its tests with them has asked for
 * nothing that the real ones would not have done.
 */

import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { rejection } from '../support/failure.ts';
import { makeImage, shell } from '../support/images.ts';
import { program, testNeeding } from '../support/needs.ts';
import { run } from '../support/processes.ts';
import { devicesOf } from './tools/devices.ts';
import { playedTools, programTools, programs, toolState } from './tools/tools-kit.ts';
import { play } from './tools/stand-in.ts';
import { DISPOSABLES, remains, setting, startVm, volumeFile, volumesOf } from './volumes-kit.ts';
import type { Setting } from './volumes-kit.ts';

const [disp1, disp2] = DISPOSABLES;

describe('as programs', () => {
  testNeeding(program('mkfs.ext4'), program('debugfs'))(
    'R24: they freeze a real ext4 of a running VM and give it to a disposable',
    async () => {
      const set = await setting('lvm');
      await startVm(set);
      const live = volumeFile(set, 'live');
      rmSync(live);
      makeImage(live, 'ext4');
      shell(
        'echo written by the VM >"$1.text"; debugfs -w -R "write $1.text note" "$1" 2>/dev/null; rm "$1.text"',
        live,
      );
      const before = remains(set);
      const original = readFileSync(live);
      const { volumes, journal } = volumesOf(set, { tools: programTools(set.folder) });
      const held = await volumes.snapshot(await set.describe(), 'current');
      expect(await held.attach(disp1, 'blocks')).toBe('/dev/xvdi');
      expect(await held.attach(disp2, 'blocks')).toBe('/dev/xvdi');
      shell('debugfs -w -R "rm note" "$1" 2>/dev/null', live);
      for (const name of DISPOSABLES) {
        const [given] = devicesOf(set.folder, name);
        expect(shell('debugfs -R "cat note" "$1" 2>/dev/null', given?.file ?? '')).toBe(
          'written by the VM\n',
        );
      }
      await held.release();
      writeFileSync(live, original);
      expect(remains(set)).toEqual(before);
      expect(await journal.cleanUp()).toEqual([]);
    },
  );

  it('answer, refuse and exit as programs do, and keep their state between processes', async () => {
    const set = await setting('lvm', '4.3', false);
    const { lvcreate = '', lvs = '', zfs = '' } = programs(set.folder);
    const options = [
      '-s',
      '-kn',
      '-ay',
      '-n',
      'qib-00000000',
      '--addtag',
      'mine',
      'qubes_dom0/vm-data-private',
    ];
    expect(await run(lvcreate, options)).toMatchObject({ code: 0, stderr: '' });
    expect(await run(lvcreate, options)).toMatchObject({
      code: 5,
      stderr: 'Logical Volume "qib-00000000" already exists in volume group "qubes_dom0"\n',
    });
    const listed = await run(lvs, ['--reportformat', 'json', '-o', 'lv_name,lv_tags', 'qubes_dom0']);
    expect(listed.stdout.toString()).toContain('"lv_tags": "mine"');
    expect(await run(zfs, ['promote', 'x'])).toMatchObject({ code: 2 });
    expect(toolState(set.folder, ({ calls }) => calls)).toHaveLength(4);
  });
});

describe('what they refuse', () => {
  type Call = readonly [tool: Parameters<typeof play>[1], ...args: string[]];

  const snapshot = (name: string, origin: string): Call => [
    ...(['lvcreate', '-s', '-kn', '-ay', '-n'] as const),
    ...[name, origin],
  ];
  const loop = (file: string, ...more: string[]): Call => [
    'losetup',
    '--find',
    '--show',
    ...more,
    '--',
    file,
  ];

  /** What each call ends with, after the calls before. */
  async function ends(set: Setting, calls: readonly (readonly [Call, RegExp | true])[]) {
    await Promise.resolve();
    for (const [[tool, ...args], expected] of calls) {
      const { code, stderr } = play(set.folder, tool, args);
      const said = `${[tool, ...args].join(' ')}: ${stderr}`;
      if (expected === true) expect(code, said).toBe(0);
      else {
        expect(code, said).not.toBe(0);
        expect(stderr, said).toMatch(expected);
      }
    }
  }

  it('of LVM: an origin that is not there, a name that is taken or bad, a volume in use, one that is not there', async () => {
    const set = await setting('lvm', '4.3', false);
    const base = 'qubes_dom0/vm-data-private';
    await ends(set, [
      [snapshot('qib-1', 'qubes_dom0/absent'), /Failed to find/],
      [snapshot('qib-1', 'absent/vm-data-private'), /Volume group "absent" not found/],
      [snapshot('snapshot-1', base), /invalid/],
      [snapshot('a b', base), /invalid/],
      [['lvcreate', '-s', '-n', 'qib-1', base], /without -kn/],
      [['lvcreate', '--thin', '-n', 'qib-1', base], /unrecognized option '--thin'/],
      [snapshot('qib-1', base), true],
      [snapshot('qib-1', base), /already exists/],
      [['qvm-block', 'attach', '--ro', disp1, 'dom0:dm-0'], true],
      [['lvremove', '--yes', '--', 'qubes_dom0/qib-1'], /in use/],
      [['qvm-block', 'detach', disp1, 'dom0:dm-0'], true],
      [['lvremove', '--', 'qubes_dom0/qib-1'], /no terminal/],
      [['lvremove', '--yes', '--', 'qubes_dom0/qib-1'], true],
      [['lvremove', '--yes', '--', 'qubes_dom0/qib-1'], /Failed to find/],
    ]);
  });

  it('of qvm-block: what udev hides, a VM that does not run, a second VM, writing to what is read-only', async () => {
    const set = await setting('reflink', '4.3', false);
    const image = set.at('srv/qib.img');
    for (const path of [image]) {
      shell('mkdir -p "$(dirname "$1")"; echo x >"$1"', path);
    }
    const hidden = volumeFile(set, 'committed');
    await ends(set, [
      [loop(hidden, '--read-only'), true],
      [['qvm-block', 'attach', '--ro', disp1, 'dom0:loop0'], /doesn't expose/],
      [loop(image, '--read-only'), true],
      [['qvm-block', 'attach', disp1, 'dom0:loop1'], /only read-only/],
      [['qvm-block', 'attach', '--ro', 'data', 'dom0:loop1'], /not running/],
      [['qvm-block', 'attach', '--ro', 'absent', 'dom0:loop1'], /no such domain/],
      [['qvm-block', 'attach', '--ro', disp1, 'dom0:loop9'], /doesn't expose/],
      [['qvm-block', 'detach', disp1, 'dom0:loop1'], /not attached/],
      [['qvm-block', 'attach', '--ro', disp1, 'dom0:loop1'], true],
      [['qvm-block', 'attach', '--ro', disp2, 'dom0:loop1'], /already attached to disp1/],
      [['qvm-block', 'list'], /lists the devices of dom0/],
      [['qvm-block', 'attach', '--persistent', disp1, 'dom0:loop1'], /unrecognized option/],
      [['losetup', '--detach', set.at('dev/loop7')], /No such device/],
      [['losetup', '--list'], /unknown column/],
      [loop(set.at('absent')), /No such file/],
    ]);
  });

  it('of ZFS: a volume with snapshots, a snapshot with clones, a clone in use, what exists', async () => {
    const set = await setting('zfs', '4.3', false);
    const volume = 'rpool/vms/data/private';
    const mark = ['-o', 'qubes-backup:made=yes'];
    await ends(set, [
      [['zfs', 'snapshot', ...mark, 'rpool/vms/absent@qib-1'], /does not exist/],
      [['zfs', 'snapshot', ...mark, `${volume}@a b`], /invalid name/],
      [['zfs', 'snapshot', ...mark, `${volume}@qib-1`], true],
      [['zfs', 'snapshot', ...mark, `${volume}@qib-1`], /already exists/],
      [['zfs', 'clone', ...mark, `${volume}@absent`, 'rpool/vms/qib-1'], /does not exist/],
      [['zfs', 'clone', ...mark, `${volume}@qib-1`, 'rpool/absent/qib-1'], /parent does not exist/],
      [['zfs', 'clone', ...mark, `${volume}@qib-1`, 'rpool/vms/qib-1'], true],
      [['zfs', 'destroy', `${volume}@qib-1`], /dependent clones/],
      [loop(set.at('dev/zvol/rpool/vms/qib-1')), true],
      [['zfs', 'destroy', 'rpool/vms/qib-1'], /busy/],
      [['losetup', '--detach', set.at('dev/loop0')], true],
      [['zfs', 'destroy', 'rpool/vms/qib-1'], true],
      [['zfs', 'destroy', `${volume}@qib-1`], true],
      [['zfs', 'list', '-H', '-t', 'volume', '-o', 'name', 'absent'], /does not exist/],
    ]);
  });

  it('of mounts: a place that is not there, one in use, one that is no mount', async () => {
    const set = await setting('reflink', '4.3', false);
    const image = volumeFile(set, 'committed');
    const place = set.at('srv/place.img');
    shell('mkdir -p "$(dirname "$1")"', place);
    await ends(set, [
      [['mount', '--bind', '--', image, place], /mount point does not exist/],
      [['umount', '--', place], /not mounted/],
    ]);
    writeFileSync(place, '');
    await ends(set, [
      [['mount', '--bind', '--', image, place], true],
      [loop(place), true],
      [['umount', '--', place], /busy/],
      [['losetup', '--detach', set.at('dev/loop0')], true],
      [['umount', '--', place], true],
    ]);
    expect(readFileSync(place, 'utf8')).toBe('');
    expect(readFileSync(image, 'utf8')).toBe('committed');
  });

  it.each([
    ['lvm', ['lvcreate', '-s', '-kn', '-ay', '-n', 'vm-x', 'qubes_dom0/vm-data-private']],
    ['lvm', ['lvremove', '--yes', '--', 'qubes_dom0/vm-data-private']],
    ['zfs', ['zfs', 'destroy', 'rpool/vms/data/private']],
    ['reflink', ['cp', '--reflink=always', '--', 'IMAGE', 'IMAGE']],
  ] as const)(
    'in the pool %s, and report to the test, what must never be: %j',
    async (pool, [tool, ...args]) => {
      const set = await setting(pool, '4.3', false);
      const before = remains(set);
      const paths = args.map((arg) => (arg === 'IMAGE' ? volumeFile(set, 'committed') : arg));
      const error = await rejection(playedTools(set.folder).run(tool, paths, { subject: 'VM data' }));
      expect(error.message).toContain('NEVER');
      expect(remains(set)).toEqual(before);
      expect(toolState(set.folder, ({ breaches }) => breaches.splice(0))).toHaveLength(1);
    },
  );

  it('an original volume for a VM, by any way', async () => {
    const set = await setting('zfs', '4.3', false);
    await ends(set, [[loop(set.at('dev/zvol/rpool/vms/data/private')), true]]);
    expect(play(set.folder, 'qvm-block', ['attach', '--ro', disp1, 'dom0:loop0']).stderr).toContain('NEVER');
    toolState(set.folder, ({ breaches }) => breaches.splice(0));
  });

  it('and an expected call that never came fails the test', async () => {
    const set = await setting('lvm', '4.3', false);
    toolState(set.folder, (state) => {
      state.expected.push({ tool: 'lvcreate', args: '-s' }, { tool: 'lvremove', args: '--yes' });
    });
    const { volumes } = volumesOf(set);
    const held = await volumes.snapshot(await set.describe(), 'current');
    expect(toolState(set.folder, ({ expected }) => expected.map(({ tool }) => tool))).toEqual(['lvremove']);
    await held.release();
    expect(toolState(set.folder, ({ expected }) => expected)).toEqual([]);
  });
});
