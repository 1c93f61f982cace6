/**
 * The programs of dom0 that every Linux machine has, for real: the stand-ins are held against them, and snapshots of images are
 * taken by real reflinks.
 */

import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { onTestFinished, expect, describe } from 'vitest';
import type { FileSystem } from '../../dom0/domains/local/file-system.ts';
import { Journal } from '../../dom0/domains/qubes/journal.ts';
import { Tools } from '../../dom0/domains/qubes/tools/tools.ts';
import type { ToolName, ToolRunner } from '../../dom0/domains/qubes/tools/tools.ts';
import type { PoolVolume } from '../../dom0/domains/qubes/volumes/pool-volume.ts';
import { Volumes } from '../../dom0/domains/qubes/volumes/volumes.ts';
import { Admin } from '../../dom0/domains/qubes/admin/admin.ts';
import { parseVmName } from '../../shared/ids.ts';
import { rejection } from '../support/failure.ts';
import { makeImage, mountable, shell } from '../support/images.ts';
import { testNeeding } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';
import { play } from './tools/stand-in.ts';
import { toolState } from './tools/tools-kit.ts';

const real = new Tools();
const subject = 'VM data';

/** A folder that stands for `/`, in which all below `at` is on a file system of this kind. */
function realRoot(kind: FileSystem, at = ''): string {
  const folder = tempFolder();
  const root = join(folder, 'root');
  const mounted = join(root, at);
  mkdirSync(mounted, { recursive: true });
  makeImage(join(folder, 'disk'), kind);
  shell('mount -o loop "$1" "$2"', join(folder, 'disk'), mounted);
  onTestFinished(() => {
    for (const device of devicesOver(root)) shell('losetup --detach "$1"', device); // Of a test that failed.
    shell('umount "$1"', mounted);
  });
  return root;
}

/** Real programs, but that qvm-block is played: it offers every loop device, and gives one to a VM `disp` as xvdi. */
function withPlayedBlocks(): ToolRunner {
  let attached: { readonly port: string; readonly readOnly: boolean } | undefined;
  const frontend = (port: string) =>
    attached?.port === port
      ? `disp (attached: frontend-dev=xvdi, read-only=${attached.readOnly ? 'yes' : 'no'})`
      : '';
  return {
    run: async (tool, args, options) => {
      if (tool !== 'qvm-block') return real.run(tool, args, options);
      const [command] = args;
      const port = args.at(-1)?.split(':')[1] ?? '';
      if (command === 'attach') attached = { port, readOnly: args.includes('--ro') };
      if (command === 'detach') attached = undefined;
      return readdirSync('/sys/block')
        .map((name) => `dom0:${name}  a device  ${frontend(name)}\n`)
        .join('');
    },
  };
}

function volumesIn(root: string, tools: ToolRunner) {
  const journal = new Journal(join(root, 'journal'));
  return {
    journal,
    volumes: new Volumes({ tools, journal, admin: new Admin('/nonexistent'), root, patience: 5000 }),
  };
}

const volume = (vm: string, pool = '/srv/vms'): PoolVolume => ({
  ...{ vm: parseVmName(vm), name: 'private', vid: `appvms/${vm}/private`, size: 1 << 20, revisionsToKeep: 1 },
  ...{ running: false, pool: { name: 'vms', driver: 'file-reflink', settings: { dir_path: pool } } },
});

function makeVolume(root: string, vm: string, pool = '/srv/vms'): string {
  const image = join(root, pool, `appvms/${vm}/private.img`);
  mkdirSync(dirname(image), { recursive: true });
  writeFileSync(image, Buffer.alloc(1 << 20, 'original '));
  return image;
}

/** Loop devices over files below `root`, or those files. */
function loops(root: string, column: 'NAME' | 'BACK-FILE'): readonly string[] {
  const rows = shell('losetup --list --noheadings --raw --output NAME,BACK-FILE').split('\n');
  return rows.flatMap((row) => {
    const [name = '', file = ''] = row.split(' ');
    return file.startsWith(`${root}/`) ? [column === 'NAME' ? name : file] : [];
  });
}

const devicesOver = (root: string) => loops(root, 'NAME');
const loopsOver = (root: string) => loops(root, 'BACK-FILE');

describe.each(['xfs', 'btrfs'] as const)('on a real %s', (kind) => {
  testNeeding(mountable(kind))(
    'R24: a snapshot shares blocks, is of its moment, and is read-only',
    async () => {
      const root = realRoot(kind);
      const image = makeVolume(root, 'data');
      const tools = withPlayedBlocks();
      const held = await volumesIn(root, tools).volumes.snapshot(volume('data'), 'current');
      writeFileSync(image, Buffer.alloc(1 << 20, 'changed '));
      expect(await held.attach(parseVmName('disp'), 'blocks')).toBe('/dev/xvdi');
      const [file = ''] = loopsOver(root);
      expect(file).toMatch(/^\/.*\/srv\/vms\/qubes-backup\/qib-[0-9a-f]{8}\.img$/);
      expect(readFileSync(file, 'latin1').startsWith('original ')).toBe(true);
      const device = shell('losetup --noheadings --output NAME --associated "$1"', file).trim();
      expect(readFileSync(`/sys/block/${basename(device)}/ro`, 'utf8').trim()).toBe('1');
      // As a run that was killed leaves it.
      expect(await volumesIn(root, tools).journal.cleanUp()).toHaveLength(3);
      expect([loopsOver(root), readdirSync(dirname(file))]).toEqual([[], []]);
      expect(readFileSync(image, 'latin1').startsWith('changed ')).toBe(true);
    },
  );

  testNeeding(mountable(kind))(
    'R24: a snapshot shares blocks also where /var/lib/qubes is a file system of its own, and is shown where udev does not hide it',
    async () => {
      const pool = '/var/lib/qubes';
      const root = realRoot(kind, pool);
      makeVolume(root, 'data', pool);
      const tools = withPlayedBlocks();
      const { volumes } = volumesIn(root, tools);
      const held = await volumes.snapshot(volume('data', pool), 'current');
      await held.attach(parseVmName('disp'), 'files');
      const [file = ''] = loopsOver(root);
      expect(file).toMatch(/^\/.*\/var\/lib\/qubes-backup\/images\/qib-[0-9a-f]{8}\.img$/);
      expect(readFileSync(file, 'latin1').startsWith('original ')).toBe(true);
      // As a run that was killed leaves it: two images, each shown, a loop device and an attachment.
      expect(await volumesIn(root, tools).journal.cleanUp()).toHaveLength(6);
      const left = [join(root, pool, 'qubes-backup'), dirname(file)].map((folder) => readdirSync(folder));
      expect([loopsOver(root), ...left]).toEqual([[], [], []]);
    },
  );
});

describe('on a real ext4', () => {
  testNeeding(mountable('ext4'))(
    'a snapshot by reflink is refused with what to do, and leaves nothing',
    async () => {
      const root = realRoot('ext4');
      makeVolume(root, 'data');
      const { volumes, journal } = volumesIn(root, real);
      const { message } = await rejection(volumes.snapshot(volume('data'), 'current'));
      expect(message).toMatch(
        /^VM data: `cp --reflink=always -- .*` failed with status 1: .*Operation not supported/,
      );
      expect(readdirSync(join(root, 'srv/vms/qubes-backup'))).toEqual([]);
      expect(await journal.cleanUp()).toEqual([]);
    },
  );

  testNeeding(mountable('ext4'))(
    'R30: the image of a temporary VM is written through a path that udev does not hide, and given back after a kill',
    async () => {
      const root = realRoot('ext4');
      const image = makeVolume(root, 'restore-data-abcd');
      const tools = withPlayedBlocks();
      const held = await volumesIn(root, tools).volumes.open(volume('restore-data-abcd'), true);
      await held.attach(parseVmName('disp'), 'blocks');
      const [file = ''] = loopsOver(root);
      expect(file).toMatch(/^\/.*\/var\/lib\/qubes-backup\/images\/qib-[0-9a-f]{8}\.img$/);
      const device = shell('losetup --noheadings --output NAME --associated "$1"', file).trim();
      writeFileSync(device, 'restored', { flag: 'r+', flush: true });
      expect(await volumesIn(root, tools).journal.cleanUp()).toHaveLength(3);
      expect(readFileSync(image, 'latin1').slice(0, 17)).toBe('restored original');
      expect([loopsOver(root), readdirSync(dirname(file))]).toEqual([[], []]);
    },
  );
});

describe('a stand-in against the real one', () => {
  testNeeding(mountable('ext4'))('losetup, mount and umount answer, refuse and end alike', async () => {
    const folder = tempFolder();
    const image = join(folder, 'srv.img');
    const place = join(folder, 'place.img');
    mkdirSync(join(folder, 'dev'));
    const prepare = () => {
      writeFileSync(image, Buffer.alloc(1 << 20, 1));
      writeFileSync(place, '');
    };
    /** What a call says, with devices of either machine made alike. */
    const alike = (text: string, devices: Map<string, string>) => {
      const named = text.replace(/(?:\/[\w.-]+)*\/dev\/loop[0-9]+/g, (device) => {
        if (!devices.has(device)) devices.set(device, `LOOP${devices.size}`);
        return devices.get(device) ?? '';
      });
      return named.startsWith('{') ? (JSON.parse(named) as unknown) : named;
    };
    const script = async (call: (tool: ToolName, args: readonly string[]) => Promise<string>) => {
      const devices = new Map<string, string>();
      const loops: string[] = [];
      const answers: unknown[] = [];
      const say = async (tool: ToolName, ...args: string[]) => {
        const said = await call(tool, args).catch(
          (error: unknown) => `refused ${error instanceof Error ? error.message : ''}`,
        );
        if (said.includes('/dev/loop') && !said.startsWith('{')) loops.push(said.trim());
        answers.push(said.startsWith('refused') ? 'refused' : alike(said, devices));
      };
      const list = async () => {
        const said = await call('losetup', ['--list', '--json', '--output', 'NAME,BACK-FILE']);
        const { loopdevices } = (said.trim() === '' ? { loopdevices: [] } : JSON.parse(said)) as {
          loopdevices: { name: string; 'back-file': string }[];
        };
        answers.push(
          loopdevices.flatMap((device) =>
            device['back-file'].startsWith(folder)
              ? [[alike(device.name, devices), device['back-file']]]
              : [],
          ),
        );
      };
      await say('umount', '--', place);
      await say('mount', '--bind', '--', join(folder, 'absent'), place);
      await say('mount', '--bind', '--', image, place);
      answers.push(readFileSync(place).length);
      await say('losetup', '--find', '--show', '--read-only', '--', join(folder, 'absent'));
      await say('losetup', '--find', '--show', '--read-only', '--', place);
      await list();
      await say('umount', '--', place); // It is open.
      await say('losetup', '--detach', loops[0] ?? '');
      await say('losetup', '--detach', loops[0] ?? '');
      await list();
      await say('umount', '--', place);
      answers.push(readFileSync(place).length);
      return answers;
    };
    prepare();
    const byReal = await script((tool, args) => real.run(tool, args, { subject }));
    prepare();
    const byStandIn = await script((tool, args) => {
      const { code, stdout, stderr } = play(folder, tool, args);
      return code === 0 ? Promise.resolve(stdout) : Promise.reject(new Error(stderr));
    });
    expect(byStandIn).toEqual(byReal);
    expect(byReal).toContain('LOOP0\n');
    expect(toolState(folder, ({ breaches }) => breaches)).toEqual([]);
  });
});
