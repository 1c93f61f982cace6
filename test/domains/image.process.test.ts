/** Volumes as ext4 images: mounted by root only, in a namespace of their own. */

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import type { Attachment } from '../../dom0/domains/domains.ts';
import type { LocalDomains } from '../../dom0/domains/local/local.ts';
import { parseVmName } from '../../shared/ids.ts';
import { namespaces, program as installed, root, testNeeding } from '../support/needs.ts';
import type { Missing } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';
import { makeHome, makeProgram, readAll } from './program.ts';

const work = parseVmName('work');
const SIZE = 16 * 1024 * 1024;

/** Loop devices need more than root in some containers. */
function loopDevices(): Missing {
  return spawnSync('losetup', ['-f'], { stdio: 'ignore' }).status === 0 ? undefined : 'no loop devices here';
}

const missing = root ?? namespaces() ?? installed('mkfs.ext4') ?? loopDevices();
if (missing !== undefined) console.warn(`NOT TESTED: volumes as images: ${missing}`);
const needing = testNeeding(missing);

function shell(script: string, ...args: readonly string[]): string {
  const ended = spawnSync('/bin/sh', ['-euc', script, 'sh', ...args], { encoding: 'utf8' });
  if (ended.status !== 0) throw new Error(`${script}: ${ended.stderr}`);
  return ended.stdout;
}

/** A volume as it is after the power failed: a file was fsynced, and is in the journal only. */
function makeCrashedImage(path: string): void {
  const mount = `${path}.mount`;
  mkdirSync(mount);
  shell(
    `truncate --size ${SIZE} "$1.live"; mkfs.ext4 -qF "$1.live"
    unshare --mount sh -euc 'mount -o loop,commit=300 "$1.live" "$2"; echo fsynced >"$2/file"; sync "$2/file"; cp "$1.live" "$1"; umount "$2"' sh "$1" "$2"
    rm "$1.live"; rmdir "$2"`,
    path,
    mount,
  );
  expect(shell('dumpe2fs -h "$1" 2>/dev/null', path)).toContain('needs_recovery');
}

function hashOf(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
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

describe.each(['bubblewrap', 'unshare'] as const)('a volume as an image, sandbox by %s', (sandbox) => {
  const usable = sandbox === 'bubblewrap' ? testNeeding(missing ?? installed('bwrap')) : needing;

  function setUp() {
    const folder = tempFolder();
    const made = makeHome(folder, { program: makeProgram(folder, { 'test.Volume': 'volume.ts' }), sandbox });
    const image = join(made.home, 'vms', 'work', 'private.img');
    rmSync(join(made.home, 'vms', 'work', 'private'), { recursive: true });
    makeCrashedImage(image);
    return { ...made, image, volatile: join(made.home, 'state', 'local', 'volatile') };
  }

  usable('R24: its journal is replayed in a copy, and the image is not written', async () => {
    const { domains, image, volatile } = setUp();
    const before = hashOf(image);
    const snapshot = await domains.snapshotVolume(work);
    expect(snapshot.capacity).toBe(SIZE);
    for (let reader = 0; reader < 2; reader++) {
      expect(await runVolume(domains, { kind: 'snapshot', snapshot })).toEqual({
        written: 'EROFS',
        files: { file: 'fsynced\n' },
      });
    }
    await snapshot.release();
    await snapshot.release();
    expect(hashOf(image)).toBe(before);
    expect(readdirSync(volatile)).toEqual([]);
  });

  usable('R31: what one disposable wrote into a new volume, a second one reads', async () => {
    const { home, domains } = setUp();
    const temporary = await domains.createTemporary(parseVmName('restored'), await domains.readConfig(work));
    const image = join(home, 'vms', temporary, 'private.img');
    expect(statSync(image).size).toBe(SIZE);
    const files = { written: 'by a service' };
    expect(await runVolume(domains, { kind: 'volume', vm: temporary, writable: true })).toEqual({
      written: 'ok',
      files,
    });
    expect(await runVolume(domains, { kind: 'volume', vm: temporary, writable: false })).toEqual({
      written: 'EROFS',
      files,
    });
    expect(shell('e2fsck -fn "$1" 2>&1', image)).toMatch(/files/);
    expect(shell('mount')).not.toContain(home);
    expect(shell('losetup -a')).not.toContain(image);
  });

  usable('a damaged image fails the call, and says why', async () => {
    const { home, domains, image } = setUp();
    shell('dd if=/dev/zero of="$1" bs=64k count=1 conv=notrunc 2>/dev/null', image);
    const snapshot = await domains.snapshotVolume(work);
    const disposable = await domains.startDisposable(work, { kind: 'snapshot', snapshot });
    const call = await disposable.call('test.Volume');
    expect(await readAll(call)).toBe('');
    expect((await call.exited).code).not.toBe(0);
    expect(call.stderr()).toMatch(/mount/);
    await disposable.destroy();
    await snapshot.release();
    expect(readdirSync(join(home, 'state', 'local', 'volatile'))).toEqual([]);
  });

  usable('R50: a snapshot of a run that died is removed', async () => {
    const { home, domains } = setUp();
    await domains.snapshotVolume(work);
    expect(await domains.cleanUp()).toEqual([expect.stringMatching(/^removed snapshot-/)]);
    expect(readdirSync(join(home, 'state', 'local', 'volatile'))).toEqual([]);
  });
});
