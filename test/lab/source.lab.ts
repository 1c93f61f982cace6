/**
 * R20 R44: a VM that runs, writes and fsyncs while it is snapshotted and backed up: on reflink files of xfs and of btrfs on this
 * machine, and on a dm-thin pool inside of a guest. What it had fsynced before the snapshot is in the restore.
 */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished } from 'vitest';
import { backup } from '../../dom0/commands/backup.ts';
import { init } from '../../dom0/commands/init.ts';
import { restore } from '../../dom0/commands/restore.ts';
import type { ServiceCall } from '../../dom0/domains/domains.ts';
import { Sandboxes } from '../../dom0/domains/local/sandbox.ts';
import { runOver } from '../support/in-process.ts';
import { makeImage, mountable, shell, withMounted } from '../support/images.ts';
import { waitFor } from '../support/processes.ts';
import { tempFolder } from '../support/temp.ts';
import { Guest } from './guest.ts';
import type { Drive } from './guest.ts';
import { imageIn } from './image-files.ts';
import { inGuest } from './in-guest.ts';
import { LabDomains } from './lab-domains.ts';
import { labSystem } from './lab-system.ts';
import type { LabSystem } from './lab-system.ts';
import { imageFolder, labTest } from './needs.ts';

/** Bytes of the file system on this machine that holds a home; sparse. */
const HOME_SIZE = 8 * 1024 * 1024 * 1024;

/** Writes files below a folder for ever, and says the number of each once it is fsynced: ext4 has its name on the disk then as well. */
const WRITER = (folder: string) =>
  `mkdir -p ${folder}; i=0; while :; do i=$((i + 1)); echo "content $i" | dd of=${folder}/$i conv=fsync 2>/dev/null || exit; echo $i; done\n`;

/** Numbers that are there, in order, with the content that they should have. */
const WRITTEN =
  '(cd "$1/home/user/written"; for i in $(ls | sort -n); do [ "$(cat $i 2>/dev/null)" = "content $i" ] || break; echo $i; done)';

interface Writer {
  /** The last number that was fsynced. */
  readonly last: () => number;
  readonly stop: () => Promise<void>;
}

async function startWriter(guest: Guest, folder: string): Promise<Writer> {
  const call = guest.call('qubes.VMRootShell');
  await call.io.write([Buffer.from(WRITER(folder))]);
  let last = 0;
  const reading = readNumbers(call, (number) => (last = number));
  await waitFor(() => last > 20, 'the VM writes', 120_000);
  return {
    last: () => last,
    stop: async () => {
      call.kill();
      await reading;
    },
  };
}

async function readNumbers(call: ServiceCall, tell: (number: number) => void): Promise<void> {
  const buffer = Buffer.alloc(64 * 1024);
  let text = '';
  for (;;) {
    const size = await call.io.read(buffer);
    if (size === 0) return;
    const lines = (text + buffer.toString('latin1', 0, size)).split('\n');
    text = lines.pop() ?? '';
    const number = lines.at(-1);
    if (number !== undefined) tell(Number(number));
  }
}

/** A folder on a file system of that kind. */
function folderOn(kind: 'xfs' | 'btrfs'): string {
  const folder = tempFolder();
  const place = join(folder, 'mounted');
  mkdirSync(place);
  makeImage(join(folder, 'image'), kind, '', HOME_SIZE);
  shell('mount -o loop "$1" "$2"', join(folder, 'image'), place);
  onTestFinished(() => void shell('umount "$1" || { umount --lazy "$1"; exit 1; }', place));
  const home = join(place, 'home');
  mkdirSync(home);
  return home;
}

async function running(system: LabSystem, serial: Drive['serial']): Promise<Guest> {
  const sandboxes = new Sandboxes('auto', tempFolder());
  const drives = [{ file: system.imageOf('data'), serial, access: 'write' }] as const;
  const guest = await Guest.start({
    ...{ name: 'data', image: imageIn(imageFolder()), sandboxes, drives, scratch: tempFolder() },
  });
  onTestFinished(() => guest.kill());
  return guest;
}

/** Numbers 1 to `count` at least, none missing. */
function expectWritten(system: LabSystem, vm: string, count: number): void {
  const numbers = withMounted(system.imageOf(vm), 'ro', WRITTEN).trim().split('\n').map(Number);
  expect(numbers.length).toBeGreaterThanOrEqual(count);
  expect(numbers).toEqual(numbers.map((_, i) => i + 1));
}

describe('a VM that writes while it is backed up', () => {
  for (const kind of ['xfs', 'btrfs'] as const)
    labTest(mountable(kind), mountable('ext4'))(`R20: on a reflink file of ${kind}`, async () => {
      const system = await labSystem(folderOn(kind));
      await system.run((app) => init(app, () => app.secrets()));
      const guest = await running(system, 'private');
      const writer = await startWriter(guest, '/rw/home/user/written');
      const before = writer.last();
      expect((await system.run((app) => backup(app, ['data']))).warnings).toBe(0);
      expect(writer.last()).toBeGreaterThan(before);
      await writer.stop();
      await guest.shutdown();
      await system.run((app) => restore(app, 'data', 'copy'));
      expectWritten(system, 'copy', before);
      // The VM itself has all that it wrote, and only that.
      expectWritten(system, 'data', writer.last());
      shell('e2fsck -fn "$1"', system.imageOf('data'));
      expect(system.leftovers()).toEqual([]);
    });

  labTest(mountable('ext4'))('R20: on a snapshot of a dm-thin pool', async () => {
    const system = await labSystem();
    shell('rm "$1"; truncate -s 384M "$1"', system.imageOf('data'));
    await system.run((app) => init(app, () => app.secrets()));
    const guest = await running(system, 'volume');
    await inGuest(guest, `${THIN_POOL}\n${NEW_THIN}`);
    const writer = await startWriter(guest, '/tmp/volume/home/user/written');
    const before = writer.last();
    await inGuest(guest, THIN_SNAPSHOT);
    await waitFor(() => writer.last() > before + 20, 'the VM goes on writing', 120_000);
    await inGuest(guest, 'sync'); // The pool's own tables; the power fails then.
    await guest.kill();
    await writer.stop();
    // The disposable finds the pool on its disk, and has the snapshot of it for its volume.
    const started = async (disposable: Guest) => {
      await inGuest(disposable, `${THIN_POOL}\n${THIN_ATTACHED}`);
    };
    const image = imageIn(imageFolder());
    const domains = new LabDomains({ home: system.machine.folder, sandbox: 'auto', image, started });
    const { app } = await runOver(domains, system.machine, (one) => backup(one, ['data']));
    expect(app.warnings).toBe(0);
    await system.run((one) => restore(one, 'data', 'copy'));
    expectWritten(system, 'copy', before);
  });
});

/** On /dev/xvdi: 16 MiB of tables, then the pool's data in blocks of 64 KiB; sizes in sectors. */
const THIN_POOL = `
modprobe dm-thin-pool
mkdir -p /dev/mapper
[ -e /dev/mapper/control ] || mknod /dev/mapper/control c $(sed -n 's/ device-mapper//p' /proc/misc | sed 's/^/10 /')
export DM_DISABLE_UDEV=1
disk=$(readlink -f /dev/xvdi)
size=$(cat /sys/block/\${disk##*/}/size)
dmsetup create tables --table "0 32768 linear $disk 0"
dmsetup create data --table "0 $((size - 32768)) linear $disk 32768"
dmsetup create pool --table "0 $((size - 32768)) thin-pool /dev/mapper/tables /dev/mapper/data 128 0"
`;
const NEW_THIN = `
dmsetup message pool 0 'create_thin 0'
dmsetup create volume --table '0 524288 thin /dev/mapper/pool 0'
mkfs.ext4 -q /dev/mapper/volume
mkdir /tmp/volume
mount /dev/mapper/volume /tmp/volume
`;
/** Of a volume that is written: what is under way waits meanwhile, its file system is not asked. */
const THIN_SNAPSHOT = `
export DM_DISABLE_UDEV=1
dmsetup suspend --nolockfs volume
dmsetup message pool 0 'create_snap 1 0'
dmsetup resume volume
`;
const THIN_ATTACHED = `
dmsetup create snapshot --table '0 524288 thin /dev/mapper/pool 1'
ln -sf /dev/mapper/snapshot /dev/xvdi
`;
