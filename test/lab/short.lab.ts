/** R21 R30 R44: one backup, one restore and one attack on guests: what CI runs of the lab. */

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import type { App } from '../../dom0/app.ts';
import { backup } from '../../dom0/commands/backup.ts';
import { init } from '../../dom0/commands/init.ts';
import { restore } from '../../dom0/commands/restore.ts';
import { runOver } from '../support/in-process.ts';
import { rejection } from '../support/failure.ts';
import { shell } from '../support/images.ts';
import { QuietOutput } from '../support/quiet-output.ts';
import type { Guest } from './guest.ts';
import { imageIn } from './image-files.ts';
import { inGuest } from './in-guest.ts';
import { LabDomains } from './lab-domains.ts';
import { labSystem } from './lab-system.ts';
import type { LabSystem } from './lab-system.ts';
import { imageFolder, labTest } from './needs.ts';

/** Puts files into an ext4 image, and reads one, without a mount: this machine's kernel sees none of it. */
const put = (image: string, name: string, text: string) =>
  shell(
    'printf %s "$3" >"$1.part"; debugfs -w -R "write $1.part $2" "$1" 2>/dev/null; rm "$1.part"',
    image,
    name,
    text,
  );
const take = (image: string, name: string) => shell('debugfs -R "cat /$2" "$1" 2>/dev/null', image, name);

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path)) hash.update(piece as Buffer);
  return hash.digest('hex');
}

/** Runs a command whose disposables are each prepared by `started`. */
async function runWith(
  { machine }: LabSystem,
  started: (guest: Guest) => Promise<void>,
  command: Parameters<typeof runOver>[2],
): Promise<void> {
  const image = imageIn(imageFolder());
  const domains = new LabDomains({ home: machine.folder, sandbox: 'auto', image, started });
  await runOver(domains, machine, command);
}

/** What a command has said so far. */
function linesOf({ output }: App): readonly string[] {
  return output instanceof QuietOutput ? output.lines : [];
}

describe('guests', () => {
  labTest()('R21 R30: back up, restore, and give a compromised disposable nothing', async () => {
    const system = await labSystem();
    const image = system.imageOf('data');
    put(image, 'file', 'first\n');
    const before = await hashOf(image);
    await system.run((app) => init(app, () => app.secrets()));
    expect((await system.run((app) => backup(app, ['data']))).warnings).toBe(0);
    expect(await hashOf(image)).toBe(before);

    expect((await system.run((app) => restore(app, 'data', 'copy'))).warnings).toBe(0);
    expect(take(system.imageOf('copy'), 'file')).toBe('first\n');
    expect(system.leftovers()).toEqual([]);

    // A disposable that its volume has taken over: what is there for it, and what comes of writing on all of it.
    const root = await hashOf(join(imageFolder(), 'root.ext4'));
    const seen: string[] = [];
    const takenOver = async (guest: Guest) => {
      seen.push(await inGuest(guest, LOOK));
      await inGuest(guest, TAKE_OVER);
    };
    const said: string[] = [];
    const attacked = runWith(system, takenOver, async (app) => {
      await backup(app, ['data']).finally(() => said.push(...linesOf(app)));
    });
    expect((await rejection(attacked)).code).toBe('protocol');
    expect(said.join('\n')).toMatch(/data: not backed up: disp\d+: qubes\.BackupScan/);
    expect(seen).toEqual(['net lo\ndisks vda vdb\nserials root volume\ncards\nshared\n']);
    expect(await hashOf(image)).toBe(before);
    expect(await hashOf(join(imageFolder(), 'root.ext4'))).toBe(root);
    expect(system.leftovers()).toEqual([]);
    expect((await system.run((app) => backup(app, ['data']))).warnings).toBe(0);
  });
});

/** All ways out of a guest that there are: network cards, disks, other devices' drivers, shared folders. */
const LOOK = `
echo net $(ls /sys/class/net)
echo disks $(ls /sys/block | grep -v loop)
echo serials $(for disk in /sys/block/vd*; do cat $disk/serial; echo; done | sort)
echo cards $(cat /sys/bus/pci/devices/*/class | grep '^0x02')
echo shared $(grep -E ' (9p|virtiofs|nfs|cifs) ' /proc/mounts)
`;

/** Overwrites every disk that lets it, and answers for the service with a flood. */
const TAKE_OVER = `
for disk in /dev/vd?; do dd if=/dev/urandom of=$disk bs=64k count=64 conv=notrunc 2>/dev/null || true; done
mkdir -p /run/qubes-rpc
cat >/run/qubes-rpc/qubes.BackupScan <<'END'
#!/bin/sh
cat /dev/urandom
END
chmod 755 /run/qubes-rpc/qubes.BackupScan
`;
