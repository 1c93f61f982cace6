/** `qubes-backup-storage`, as the owner of a storage VM runs it. */

import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { sweepStore } from '../../storagevm/owner.ts';
import type { Owner } from '../../storagevm/owner.ts';
import { program, testNeeding } from '../support/needs.ts';
import { PROJECT, outcome, start } from '../support/processes.ts';
import { AgeingStore } from './ageing-store.ts';
import { object, objects } from './fixtures.ts';

const COMMAND = join(PROJECT, 'bin', 'qubes-backup-storage');

/** Runs the command on `store`, with `answer` on its standard input. */
async function owner(store: AgeingStore, args: readonly string[], answer = '') {
  const home = join(store.folder, '..');
  const config = `folder = ${JSON.stringify(store.folder)}\n`;
  writeFileSync(join(home, 'storage.toml'), config);
  const child = start(COMMAND, args, {
    cwd: home,
    env: { PATH: '/usr/bin:/bin', HOME: home, QUBES_BACKUP_STORAGE_CONFIG: home },
  });
  const result = outcome(child);
  child.stdin.end(answer);
  const { code, stdout, stderr } = await result;
  return { code, stdout: stdout.toString('utf8'), stderr };
}

async function robbed() {
  const [kept, lost] = [objects(6), objects(6)];
  const store = new AgeingStore();
  store.now = Date.now() - 60 * 24 * 3600_000; // The command has the machine's own clock.
  await store.put(...kept, ...lost);
  await store.publish();
  await store.live(8);
  await store.publishList(kept);
  await store.live(2);
  return { store, kept, lost };
}

describe('qubes-backup-storage', () => {
  test('shows what is there, what is dead and when it goes', async () => {
    const store = new AgeingStore();
    store.now = Date.now() - 40 * 24 * 3600_000;
    const [kept, dead] = [objects(8), object()];
    await store.put(...kept, dead);
    await store.publish();
    await store.live(8);
    await store.publishList(kept);
    await store.live(5);
    const { code, stdout } = await owner(store, ['status']);
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^objects +11, 44.4 KiB$/m) as string]);
    expect(stdout).toMatch(/^newest root +2 \(counter 2, signed /m);
    expect(stdout).toMatch(/^trash +1 objects, 4.04 KiB, kept for 30 days$/m);
    const trash = (await owner(store, ['trash'])).stdout;
    expect(trash).toMatch(/^5 days +1 +4.04 KiB +in 25 days$/m);
    const roots = (await owner(store, ['roots'])).stdout.split('\n');
    expect(roots[1]).toMatch(/^ +1 +1 .* until 6\.\d days ago +[0-9a-f]{16}$/);
    expect(roots[2]).toMatch(/^ +2 +2 .* yes +now +[0-9a-f]{16}$/);
  });

  test('says that a list waits, and applies it once accepted', async () => {
    const { store, lost } = await robbed();
    expect((await owner(store, ['status'])).stdout).toContain(
      'ATTENTION: the live list of root 2 leaves out',
    );
    expect(await owner(store, ['accept'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--yes') as string,
    });
    expect((await store.open().ledger.readState()).waiting).not.toBeNull();
    expect((await owner(store, ['--yes', 'accept'])).code).toBe(0);
    await store.live(31);
    for (const one of lost) expect(await store.has(one)).toBe(false);
  });

  test('makes an older root current, and what died since lives', async () => {
    const { store, lost } = await robbed();
    await owner(store, ['--yes', 'accept']);
    await store.live(2);
    expect((await owner(store, ['--yes', 'restore-root', '1'])).code).toBe(0);
    await store.live(60);
    for (const one of lost) expect(await store.has(one)).toBe(true);
    expect(await owner(store, ['restore-root', '9'])).toMatchObject({ code: 2 });
    expect(await owner(store, ['restore-root', 'one'])).toMatchObject({ code: 2 });
  });

  test('empties the trash at once, if its owner says so', async () => {
    const { store, kept, lost } = await robbed();
    await owner(store, ['--yes', 'accept']);
    await store.live(1);
    const { code, stdout } = await owner(store, ['--yes', 'purge']);
    expect([code, stdout]).toEqual([0, expect.stringContaining('Removed 6 objects') as string]);
    for (const one of lost) expect(await store.has(one)).toBe(false);
    for (const one of kept) expect(await store.has(one)).toBe(true);
    expect((await owner(store, ['trash'])).stdout).toContain('empty');
  });

  testNeeding(program('script'))(
    'shows on a terminal how far it is, and lets others at the store meanwhile',
    async () => {
      const { store } = await robbed();
      await owner(store, ['--yes', 'accept']);
      const home = join(store.folder, '..');
      const child = start('script', ['-q', '-e', '-f', '-c', `'${COMMAND}' sweep`, '/dev/null'], {
        cwd: home,
        env: {
          PATH: '/usr/bin:/bin',
          HOME: home,
          QUBES_BACKUP_STORAGE_CONFIG: home,
          TERM: 'xterm',
          SHELL: '/bin/sh',
        },
      });
      const { code, stdout } = await outcome(child);
      expect(code).toBe(0);
      expect(stdout.toString('utf8')).toMatch(/marking it .*100%.*\n?.*Removed 0 objects/s);
    },
  );

  test('sweeps to the end in as many turns as it takes', async () => {
    const { store, lost } = await robbed();
    await store.open().acceptList();
    const lines: string[] = [];
    const seen: number[] = [];
    const someone: Owner = {
      line: (text) => void lines.push(text),
      confirm: () => Promise.resolve(),
      progress: (_, done) => void seen.push(done),
    };
    await sweepStore(store.open(), someone, true, 100);
    expect(lines).toEqual([expect.stringMatching(`^Removed ${lost.length} objects`)]);
    expect(seen.filter((done) => done === 256)).toHaveLength(3); // Weighed, marked, removed.
  });

  test('sweeps, and has nothing to do twice', async () => {
    const { store } = await robbed();
    for (let i = 0; i < 2; i++)
      expect(await owner(store, ['sweep'])).toMatchObject({
        code: 0,
        stdout: 'Removed 0 objects (0 B) and 0 roots.\n',
      });
  });

  test.each([['status'], ['roots'], ['trash'], ['sweep'], ['--yes', 'purge']])(
    'has no store to show to %s',
    async (...args) => {
      const store = new AgeingStore();
      expect(await owner(store, args)).toMatchObject({
        code: 2,
        stderr: 'error: there is no store here yet\n',
      });
    },
  );

  test('of a folder, nothing can be taken over', async () => {
    const { store } = await robbed();
    expect(await owner(store, ['--yes', 'take-over'])).toMatchObject({
      code: 2,
      stderr: 'error: the store is a folder of this VM: nobody else owns it\n',
    });
  });

  test('has a help, and names a wrong setting', async () => {
    expect(execFileSync(COMMAND, ['--help'], { encoding: 'utf8' })).toContain('restore-root');
    const store = new AgeingStore();
    const home = join(store.folder, '..');
    writeFileSync(join(home, 'storage.toml'), 'grace_days = 0\nfoldr = "/x"\n');
    const child = start(COMMAND, ['status'], {
      cwd: home,
      env: { PATH: '/usr/bin:/bin', HOME: home, QUBES_BACKUP_STORAGE_CONFIG: home },
    });
    child.stdin.end();
    const { code, stderr } = await outcome(child);
    expect(code).toBe(2);
    expect(stderr).toMatch(/storage\.toml in the storage VM is wrong: .*grace_days.*foldr/);
  });
});
