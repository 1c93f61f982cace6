/** Volumes as images: mounted by root only, in a namespace of their own, on a copy. */

import {
  closeSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import type { Attachment } from '../../dom0/domains/domains.ts';
import { FILE_SYSTEMS } from '../../dom0/domains/local/file-system.ts';
import type { FileSystem } from '../../dom0/domains/local/file-system.ts';
import type { LocalDomains } from '../../dom0/domains/local/local.ts';
import { parseVmName } from '../../shared/ids.ts';
import type { VmName } from '../../shared/ids.ts';
import { rejection } from '../support/failure.ts';
import {
  KINDS,
  hashOf,
  makeCrashedImage,
  makeImage,
  mountable,
  shell,
  withMounted,
} from '../support/images.ts';
import { program as installed, testNeeding } from '../support/needs.ts';
import { waitFor } from '../support/processes.ts';
import { Random } from '../support/random.ts';
import { tempFolder } from '../support/temp.ts';
import { makeHome, makeProgram, readAll } from './program.ts';

const work = parseVmName('work');
const MiB = 1024 * 1024;

/** The private volume of a VM, as an attachment. */
function volumeOf(vm: VmName) {
  return { kind: 'volume', vm, volume: 'private', mode: 'files' } as const;
}

async function runVolume(domains: LocalDomains, attachment: Attachment): Promise<unknown> {
  const disposable = await domains.startDisposable(work, attachment);
  try {
    const call = await disposable.call('test.Volume');
    const text = await readAll(call);
    expect([await call.exited, call.stderr()]).toEqual([{ code: 0, signal: null }, '']);
    return JSON.parse(text);
  } finally {
    await disposable.destroy();
  }
}

const files = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`file-${i}`, `fsynced ${i}\n`]));

/** A home whose VM has an image with files that were fsynced and are in the journal only. */
function setUp(kind: FileSystem, sandbox: 'bubblewrap' | 'unshare' | 'auto') {
  const folder = tempFolder();
  const warnings: string[] = [];
  const made = makeHome(folder, {
    program: makeProgram(folder, { 'test.Volume': 'volume.ts', 'test.Mounts': 'mounts.ts' }),
    sandbox,
    warn: (text) => warnings.push(text),
  });
  const image = join(made.home, 'vms', 'work', 'private.img');
  rmSync(join(made.home, 'vms', 'work', 'private'), { recursive: true });
  makeCrashedImage(
    image,
    kind,
    'for i in $(seq 0 19); do echo "fsynced $i" >"$1/file-$i"; sync "$1/file-$i"; done; echo never >"$1/late"; rm "$1/late"',
  );
  return { ...made, image, warnings, volatile: join(made.home, 'state', 'local', 'volatile') };
}

function overwrite(path: string, at: number, bytes: Uint8Array): void {
  const file = openSync(path, 'r+');
  writeSync(file, bytes, 0, bytes.length, at);
  closeSync(file);
}

describe.each(FILE_SYSTEMS)('a volume as an image with %s', (kind) => {
  const missing = mountable(kind);
  if (missing !== undefined) console.warn(`NOT TESTED: volumes as ${kind} images: ${missing}`);

  testNeeding(missing)(
    'bits that flip in its structure end in an answer or an error, and nothing stays mounted',
    async () => {
      const { home, domains, image } = setUp(kind, 'auto');
      const whole = readFileSync(image);
      for (let seed = 0; seed < 3; seed++) {
        const random = new Random(seed);
        const damaged = Buffer.from(whole);
        const written = damaged.length - 4096;
        for (let i = 0; i < 400; i++) {
          // Only what is in use counts: the file is sparse.
          let at = random.below(written);
          for (let tries = 0; tries < 1000 && damaged[at] === 0; tries++) at = random.below(written);
          damaged[at] = (damaged[at] ?? 0) ^ (1 << random.below(8));
        }
        writeFileSync(image, damaged);
        const snapshot = await domains.snapshotVolume(work, 'private', 'files').catch(() => undefined);
        if (snapshot === undefined) continue; // Its magic number was hit.
        const disposable = await domains.startDisposable(work, { kind: 'snapshot', snapshot });
        const call = await disposable.call('test.Volume');
        await readAll(call);
        expect((await call.exited).signal).toBe(null);
        await disposable.destroy();
        await snapshot.release();
      }
      expect(shell('mount')).not.toContain(home);
      await waitFor(() => !shell('losetup -a').includes(home), 'the loop devices are gone');
    },
    120_000,
  );

  describe.each(['bubblewrap', 'unshare'] as const)('sandbox by %s', (sandbox) => {
    const usable = testNeeding(missing, sandbox === 'bubblewrap' ? installed('bwrap') : undefined);

    usable('R24: its journal is replayed in a copy, and the image is not written', async () => {
      const { domains, image, volatile } = setUp(kind, sandbox);
      expect(withMounted(image, KINDS[kind].withoutReplay, 'ls "$1"')).not.toContain('file-19');
      const before = hashOf(image);
      const snapshot = await domains.snapshotVolume(work, 'private', 'files');
      expect(snapshot.capacity).toBe(KINDS[kind].size);
      for (let reader = 0; reader < 2; reader++) {
        expect(await runVolume(domains, { kind: 'snapshot', snapshot })).toEqual({ written: 'EROFS', files });
      }
      await snapshot.release();
      await snapshot.release();
      expect(hashOf(image)).toBe(before);
      expect(readdirSync(volatile)).toEqual([]);
    });

    usable('R31: what one disposable wrote into a new volume, a second one reads', async () => {
      const { home, domains, warnings } = setUp(kind, sandbox);
      const temporary = await domains.createTemporary(
        parseVmName('restored'),
        await domains.readConfig(work),
        [{ name: 'private', mode: 'files', size: KINDS[kind].size }],
      );
      const image = join(home, 'vms', temporary, 'private.img');
      expect(statSync(image).size).toBe(KINDS[kind].size);
      expect(shell('blkid -p -o value -s TYPE "$1"', image).trim()).toBe(kind);
      const files = { written: 'by a service' };
      expect(await runVolume(domains, { ...volumeOf(temporary), writable: true })).toEqual({
        written: 'ok',
        files,
      });
      expect(await runVolume(domains, { ...volumeOf(temporary), writable: false })).toEqual({
        written: 'EROFS',
        files,
      });
      shell(`${KINDS[kind].check} "$1" 2>&1`, image);
      expect(shell('mount')).not.toContain(home);
      await waitFor(() => !shell('losetup -a').includes(image), 'the loop device is gone');
      expect(warnings).toEqual([]);
    });

    usable('a damaged image fails the call, and says why', async () => {
      const { home, domains, image } = setUp(kind, sandbox);
      const magic = { ext4: 0x438, xfs: 0, btrfs: 0x10040 }[kind];
      // All but the magic number.
      overwrite(image, magic + 8, Buffer.alloc(200, 0xff));
      const snapshot = await domains.snapshotVolume(work, 'private', 'files');
      const disposable = await domains.startDisposable(work, { kind: 'snapshot', snapshot });
      const call = await disposable.call('test.Volume');
      expect(await readAll(call)).toBe('');
      expect((await call.exited).code).not.toBe(0);
      expect(call.stderr()).toMatch(/mount/);
      await disposable.destroy();
      await snapshot.release();
      expect(readdirSync(join(home, 'state', 'local', 'volatile'))).toEqual([]);
    });
  });
});

const needing = testNeeding(mountable('ext4'));

needing('an image without a file system is refused by name, and told how else to back it up', async () => {
  const { domains, image, volatile } = setUp('ext4', 'auto');
  truncateSync(image, 0);
  truncateSync(image, MiB);
  const error = await rejection(domains.snapshotVolume(work, 'private', 'files'));
  expect(error.message).toMatch(/private\.img .* holds no ext4, xfs or btrfs .* private = "blocks"/);
  expect(readdirSync(volatile)).toEqual([]);
});

needing('a file system that cannot be made here becomes ext4, and that is said', async () => {
  const { home, domains, warnings } = setUp('ext4', 'auto');
  const size = 8 * MiB; // Too small for an xfs.
  const described = { volumes: { private: { kind: 'image', size, fileSystem: 'xfs' } } };
  const config = Buffer.from(JSON.stringify(described));
  const temporary = await domains.createTemporary(parseVmName('restored'), config, [
    { name: 'private', mode: 'files', size },
  ]);
  expect(shell('blkid -p -o value -s TYPE "$1"', join(home, 'vms', temporary, 'private.img')).trim()).toBe(
    'ext4',
  );
  expect(warnings).toEqual([expect.stringMatching(/its volume was xfs and becomes ext4/)]);
});

needing('a superblock that asks for a panic on errors is not obeyed', async () => {
  const { domains, image } = setUp('ext4', 'auto');
  shell('e2fsck -fy "$1" >/dev/null 2>&1 || true; tune2fs -e panic "$1" >/dev/null', image);
  const snapshot = await domains.snapshotVolume(work, 'private', 'files');
  const disposable = await domains.startDisposable(work, { kind: 'snapshot', snapshot });
  const call = await disposable.call('test.Mounts');
  expect(await readAll(call)).toMatch(/ \/mnt\/volume ext4 ro,\S*errors=remount-ro/);
  await disposable.destroy();
  await snapshot.release();
});

needing('R50: a snapshot of a run that died is removed', async () => {
  const { domains, volatile } = setUp('ext4', 'auto');
  await domains.snapshotVolume(work, 'private', 'files');
  expect(await domains.cleanUp()).toEqual([expect.stringMatching(/^removed snapshot-/)]);
  expect(readdirSync(volatile)).toEqual([]);
});

describe('the copy of an image', () => {
  /** Copies an image that occupies 48 MiB, on the file system mounted on "$1". */
  const copy = `mkdir "$1/vm" "$1/copy"; cp "$3" "$1/vm/private.img"; sync
    "$4" "$5" "$1/vm/private.img" "$1/copy/volume.img"; cmp "$1/vm/private.img" "$1/copy/volume.img" || true`;
  const script = join(import.meta.dirname, 'services', 'copy-image.ts');

  function copyOn(kind: FileSystem): { took?: number; code?: string; message?: string } {
    const folder = tempFolder();
    const disk = join(folder, 'disk.img');
    makeImage(disk, kind, '', 384 * MiB);
    const source = join(folder, 'source.img');
    shell('head -c 50331648 /dev/urandom >"$1"; truncate --size 100M "$1"', source);
    const options = kind === 'xfs' ? 'nouuid' : 'rw';
    return JSON.parse(withMounted(disk, options, copy, '-', source, process.execPath, script)) as object;
  }

  for (const kind of ['xfs', 'btrfs'] as const) {
    testNeeding(mountable(kind))(`shares its blocks on ${kind}`, () => {
      expect(copyOn(kind).took).toBeLessThan(MiB);
    });
  }

  needing('is sparse where blocks cannot be shared', () => {
    const { took = 0 } = copyOn('ext4');
    expect(took).toBeGreaterThan(47 * MiB);
    expect(took).toBeLessThan(52 * MiB);
  });

  needing('is refused before it fills the disk', () => {
    const folder = tempFolder();
    const disk = join(folder, 'disk.img');
    makeImage(disk, 'ext4', '', 48 * MiB);
    const source = join(folder, 'source.img');
    shell('head -c 50331648 /dev/urandom >"$1"', source);
    const answer = withMounted(
      disk,
      'rw',
      'mkdir "$1/copy"; "$4" "$5" "$3" "$1/copy/volume.img"; ls "$1/copy"',
      '-',
      source,
      process.execPath,
      script,
    );
    const refused = JSON.parse(answer) as { code?: string; message?: string };
    expect(refused.code).toBe('store-full');
    expect(refused.message).toMatch(
      /^VM work: .* make room there, or move the home to a file system with reflinks/,
    );
  });
});

needing('the given image is only read', async () => {
  const { domains, image } = setUp('ext4', 'auto');
  const { mtimeNs, ctimeNs } = statSync(image, { bigint: true });
  const before = readFileSync(image);
  const snapshot = await domains.snapshotVolume(work, 'private', 'files');
  await runVolume(domains, { kind: 'snapshot', snapshot });
  await snapshot.release();
  const after = statSync(image, { bigint: true });
  expect([after.mtimeNs, after.ctimeNs]).toEqual([mtimeNs, ctimeNs]);
  expect(readFileSync(image).equals(before)).toBe(true);
});
