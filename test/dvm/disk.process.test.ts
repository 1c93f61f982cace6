/** R24 R31: volumes as block devices, which the service mounts itself, as in a real disposable VM. Needs root and loop devices. */

import { createHash } from 'node:crypto';
import { openSync, closeSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { restore } from '../../shared/protocol/disposable.ts';
import {
  KINDS,
  hashOf,
  makeCrashedImage,
  makeImage,
  mountable,
  shell,
  withMounted,
} from '../support/images.ts';
import { testNeeding } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';
import { verifyVolume } from './scan-dom0.ts';
import { MemoryStore, callService, directory } from './tree-kit.ts';

const MiB = 1024 * 1024;

/** What the service mounts, no other process sees, and nothing stays mounted. */
const OWN_MOUNTS = ['unshare', '--mount', '--'];

/** A block device over a file: what a disposable is given. */
function deviceOf(image: string): string {
  const device = shell('losetup --find --show -- "$1"', image).trim();
  onTestFinished(() => void shell('losetup --detach "$1"', device));
  return device;
}

/** Verifies a folder of a mount that only the service sees. */
function verifyMounted(image: string, options: string) {
  const folder = tempFolder();
  const script = 'mount -o "$1" -- "$2" "$3"; shift 3; exec "$@"';
  const wrapper = [...OWN_MOUNTS, 'sh', '-euc', script, 'sh', `loop,${options}`, image, folder];
  return verifyVolume({ kind: 'folder', path: folder }, true, wrapper);
}

describe.each(['ext4', 'xfs', 'btrfs'] as const)('a device with %s', (kind) => {
  const testMounting = testNeeding(mountable(kind));

  testMounting('of a VM whose power failed is read with all that was fsynced', async () => {
    const image = join(tempFolder(), 'image');
    makeCrashedImage(image, kind, 'echo synced >"$1/file"; mkdir "$1/folder"; sync "$1/file"; sync -f "$1"');
    const read = await verifyVolume({ kind: 'disk', path: deviceOf(image) }, true, OWN_MOUNTS);
    expect(read.notes).toEqual([]);
    expect(withMounted(image, 'ro', 'cat "$1/file"')).toBe('synced\n');
    expect(read.done).toEqual((await verifyMounted(image, 'ro')).done);
  });
});

describe('a device', () => {
  const testMounting = testNeeding(mountable('ext4'));

  function emptyImage(): string {
    const image = join(tempFolder(), 'image');
    writeFileSync(image, '');
    truncateSync(image, 64 * MiB);
    return image;
  }

  async function restoreInto(image: string) {
    const store = new MemoryStore();
    const top = await store.tree([
      directory(''),
      directory('home'),
      store.file('home/file', ['one ', 'two']),
    ]);
    const path = deviceOf(image);
    return callService(restore, { volume: { kind: 'disk', path }, top }, store, { wrapper: OWN_MOUNTS });
  }

  testMounting(
    'that is empty gets a file system and the snapshot, and a second reader finds it',
    async () => {
      const image = emptyImage();
      expect(await restoreInto(image)).toMatchObject({ failure: undefined, code: 0, stderr: '' });
      shell(`${KINDS.ext4.check} "$1" >/dev/null 2>&1`, image); // Unmounted and clean.
      expect(withMounted(image, 'ro', 'ls -A "$1"; cat "$1/home/file"')).toBe('home\none two');
      const { done, notes } = await verifyVolume({ kind: 'disk', path: deviceOf(image) }, true, OWN_MOUNTS);
      expect(notes).toEqual([]);
      expect(done).toMatchObject({ files: 1, bytes: 7 });
    },
  );

  testMounting('with anything on it is left alone', async () => {
    const image = join(tempFolder(), 'image');
    makeImage(image, 'ext4');
    const before = hashOf(image);
    expect((await restoreInto(image)).failure).toContain('not empty');
    expect(hashOf(image)).toBe(before);
  });

  testMounting(
    'that is empty, as of a VM that was never started, is read as an empty volume by each',
    async () => {
      const read = async () => verifyVolume({ kind: 'disk', path: deviceOf(emptyImage()) }, true, OWN_MOUNTS);
      const [first, second] = [await read(), await read()];
      expect(first.notes).toEqual([]);
      expect(first.done).toMatchObject({ entries: 1, files: 0, bytes: 0 });
      expect(second.done).toEqual(first.done);
      const { done } = await verifyMounted(makeEmptyFileSystem(), 'ro');
      expect(done).toEqual(first.done);
    },
  );

  /** What a VM makes of such a device, but for the time. */
  function makeEmptyFileSystem(): string {
    const image = emptyImage();
    makeImage(image, 'ext4');
    withMounted(image, 'rw', 'rmdir "$1/lost+found"; touch -d @0 "$1"');
    return image;
  }

  testMounting('without a file system is refused with what to do', async () => {
    const image = emptyImage();
    writeFileSync(image, createHash('sha512').digest(), { flag: 'r+' });
    const reading = verifyVolume({ kind: 'disk', path: deviceOf(image) }, true, OWN_MOUNTS);
    await expect(reading).rejects.toThrow('"blocks"');
  });

  testMounting('that is damaged is repaired and read, and that is said', async () => {
    const image = join(tempFolder(), 'image');
    makeImage(image, 'ext4', '-b 1024', 64 * MiB);
    withMounted(image, 'rw', 'echo kept >"$1/file"');
    const file = openSync(image, 'r+');
    writeSync(file, Buffer.alloc(1024, 0xff), 0, 1024, 2048); // The group descriptors.
    closeSync(file);
    const { done, notes } = await verifyVolume({ kind: 'disk', path: deviceOf(image) }, true, OWN_MOUNTS);
    expect(notes).toMatchObject([{ code: 'repaired' }]);
    expect(done.bytes).toBeGreaterThanOrEqual(5);
  });

  test('that is not there is an error', async () => {
    await expect(verifyVolume({ kind: 'disk', path: '/nowhere/device' }, true)).rejects.toThrow(
      'no file system',
    );
  });
});
