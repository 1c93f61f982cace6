/** dom0's own files: what is damaged, missing or in the way. */

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ObjectCache } from '../../dom0/state/cache.ts';
import { makePrivateFolder, readFileIfAny, removeAbandoned, replaceFile } from '../../dom0/state/files.ts';
import { lockFolder } from '../../dom0/state/lock.ts';
import { PinFile } from '../../dom0/state/pin.ts';
import { utf8 } from '../../shared/bytes.ts';
import { newRepositoryId, newVmId, objectIdOf } from '../../shared/ids.ts';
import { TestRepository } from '../storagevm/fixtures.ts';
import { failure, rejection } from '../support/failure.ts';
import { tempFolder } from '../support/temp.ts';

describe('files', () => {
  it('are replaced whole, whatever a dead run left, and are their owner’s alone', () => {
    const folder = join(tempFolder(), 'a', 'b');
    makePrivateFolder(folder);
    const file = join(folder, 'file');
    writeFileSync(`${file}.${process.pid}.tmp`, 'left', { mode: 0o666 });
    chmodSync(`${file}.${process.pid}.tmp`, 0o666);
    replaceFile(file, utf8('one'));
    replaceFile(file, utf8('two'), { durably: false });
    expect(Buffer.from(readFileIfAny(file) ?? []).toString()).toBe('two');
    expect(readdirSync(folder)).toEqual(['file']);
    expect([statSync(file).mode & 0o777, statSync(folder).mode & 0o777]).toEqual([0o600, 0o700]);
  });

  it('R41: that a dead process left half written are removed, those of a living one are not', () => {
    const folder = tempFolder();
    makePrivateFolder(join(folder, 'cache/ab'));
    const { pid: dead } = spawnSync('true');
    const paths = (pid: number) => [
      join(folder, `pin.json.${pid}.tmp`),
      join(folder, `cache/ab/object.${pid}.tmp`),
    ];
    // Process 1 is there, and not this user's unless this is root.
    const kept = [...paths(process.pid), ...paths(1), join(folder, 'pin.json'), join(folder, 'notes.tmp')];
    for (const path of [...paths(dead), ...kept]) writeFileSync(path, '');
    mkdirSync(join(folder, `folder.${dead}.tmp`));
    removeAbandoned(folder);
    for (const path of paths(dead)) expect(existsSync(path)).toBe(false);
    for (const path of [...kept, join(folder, `folder.${dead}.tmp`)]) expect(existsSync(path)).toBe(true);
  });

  it('that cannot be are named', () => {
    const folder = tempFolder();
    writeFileSync(join(folder, 'file'), '');
    expect(failure(() => makePrivateFolder(join(folder, 'file/in'))).message).toContain('file/in');
    const refused = failure(() => makePrivateFolder('/proc/self/qib/deep')).message; // Nobody may make one there.
    expect(refused).toMatch(/deep: (you may not|nothing can be written there|create its folder first)/);
    expect(failure(() => replaceFile(join(folder, 'absent/file'), utf8('x'))).message).toContain(
      'absent/file',
    );
    const inFile = failure(() => replaceFile(join(folder, 'file/in'), utf8('x')));
    expect([inFile.code, inFile.message]).toEqual(['io', expect.stringContaining('name a file elsewhere')]);
    const long = join(folder, 'x'.repeat(300));
    for (const refused of [() => makePrivateFolder(long), () => replaceFile(long, utf8('x'))])
      expect(failure(refused).message).toContain('use a shorter one');
    symlinkSync('loop', join(folder, 'loop'));
    expect(failure(() => makePrivateFolder(join(folder, 'loop/in'))).message).toContain('try again (ELOOP');
    rmSync(join(folder, 'loop'));
    mkdirSync(join(folder, 'directory'));
    const folderItself = failure(() => replaceFile(join(folder, 'directory'), utf8('x')));
    expect(folderItself.message).toContain('a folder has that name');
    expect(readdirSync(folder).sort()).toEqual(['directory', 'file']);
    expect(failure(() => readFileIfAny(join(folder, 'directory'))).code).toBe('io');
    expect(readFileIfAny(join(folder, 'none'))).toBeUndefined();
  });
});

describe('the cache', () => {
  const ids = ['a', 'b', 'c'].map((text) => objectIdOf(utf8(text)));
  const pathOf = (folder: string, id: string) =>
    join(folder, 'cache', readdirSync(join(folder, 'cache'))[0] ?? '', id.slice(0, 2), id);

  it('keeps what was used last within its capacity, and does without what it cannot read', () => {
    const folder = tempFolder();
    const cache = new ObjectCache(folder, newRepositoryId(), 250);
    for (const [i, id] of ids.entries()) {
      cache.put(id, [new Uint8Array(60), new Uint8Array(40)]);
      utimesSync(pathOf(folder, id), i, i);
    }
    const [first, second, third] = ids as [
      (typeof ids)[0] & string,
      (typeof ids)[0] & string,
      (typeof ids)[0] & string,
    ];
    expect(cache.get(first)).toHaveLength(100); // And so it is the one used last.
    cache.trim();
    expect(ids.map((id) => cache.get(id)?.length)).toEqual([100, undefined, 100]);
    cache.remove(second);
    cache.remove(third);
    expect(existsSync(pathOf(folder, third))).toBe(false);
    mkdirSync(pathOf(folder, third));
    expect(cache.get(third)).toBeUndefined();
  });

  it('reads nothing that no object can be', () => {
    const folder = tempFolder();
    const cache = new ObjectCache(folder, newRepositoryId(), 250);
    const [id] = ids;
    if (id === undefined) throw new Error('there are three');
    cache.put(id, [new Uint8Array(17 * 2 ** 20)]);
    expect(cache.get(id)).toBeUndefined();
  });
});

describe('the pin', () => {
  it('of a root whose catalog is not known yet lists no VMs, and keeps those that it knew', () => {
    const root = new TestRepository().root();
    const pin = new PinFile(tempFolder());
    pin.write(root);
    expect(pin.read()).toMatchObject({ hash: root.hash, vms: [] });
    const vms = [{ id: newVmId(), name: 'work' }];
    pin.write(root, vms);
    pin.write(root);
    expect(pin.read()?.vms).toEqual(vms);
  });
});

describe('the lock', () => {
  it('is held by one at a time, and says so', async () => {
    const folder = tempFolder();
    const release = await lockFolder(folder);
    expect(await rejection(lockFolder(folder))).toMatchObject({
      code: 'locked',
      message: expect.stringContaining(folder) as string,
    });
    await release();
    await (
      await lockFolder(folder)
    )();
  });
});
