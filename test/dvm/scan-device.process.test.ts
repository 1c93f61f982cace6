/** R22 R26: a device through the real services for scanning and verifying. */

import { spawnSync } from 'node:child_process';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { root, testNeeding } from '../support/needs.ts';
import type { Missing } from '../support/needs.ts';
import { Random } from '../support/random.ts';
import { tempFolder } from '../support/temp.ts';
import { ScanDom0 } from './scan-dom0.ts';

const MiB = 1024 * 1024;

/** Why no loop device can be attached here. */
function loops(): Missing {
  if (root !== undefined) return root;
  return spawnSync('losetup', ['-f'], { stdio: 'ignore' }).status === 0 ? undefined : 'no loop devices here';
}

testNeeding(loops())(
  'a block device with a bad end is stored as far as it can be read, and doubtful',
  async () => {
    const path = join(tempFolder(), 'image');
    const content = new Random(4).bytes(4 * MiB);
    writeFileSync(path, content);
    const attached = spawnSync('losetup', ['-f', '--show', path], { encoding: 'utf8' });
    expect(attached.status, attached.stderr).toBe(0);
    const device = attached.stdout.trim();
    onTestFinished(() => void spawnSync('losetup', ['-d', device]));
    truncateSync(path, 3 * MiB); // The device keeps its size: what lies beyond cannot be read.
    const dom0 = new ScanDom0();
    const { notes, done } = await dom0.scan('', { volume: { kind: 'blocks', path: device } });
    expect(done.counts).toMatchObject({ entries: 2, files: 1, bytes: 4 * MiB });
    expect(notes.length).toBeGreaterThan(0);
    for (const note of notes) expect(note).toMatchObject({ code: 'unreadable', path: 'volume' });
    expect(notes[0]?.detail).toMatch(/could not be read \(EIO\): zeros are stored/);
    const stored = (await dom0.files()).get('volume');
    expect(stored?.entry.doubtful).toBe(true);
    expect(stored?.content.subarray(0, 3 * MiB).equals(content.subarray(0, 3 * MiB))).toBe(true);
    expect(stored?.content.subarray(3 * MiB).equals(Buffer.alloc(MiB))).toBe(true);
  },
);
