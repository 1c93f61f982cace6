/** R03 R11: VMs ask dom0, through the policy, for what is theirs; hostile ones ask for all else. */

import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import * as z from 'zod';
import type { App } from '../../dom0/app.ts';
import { perform } from '../../dom0/request/perform.ts';
import type { Answer } from '../../dom0/request/perform.ts';
import { Rates } from '../../dom0/request/rates.ts';
import { readChecked, writeChecked } from '../../dom0/state/checked-file.ts';
import { lockFolder } from '../../dom0/state/lock.ts';
import { byteString, utf8 } from '../../shared/bytes.ts';
import { parseVmName } from '../../shared/ids.ts';
import { Dom0, ended, formOf } from '../support/call-dom0.ts';
import type { Ended } from '../support/call-dom0.ts';
import { rejection } from '../support/failure.ts';
import { Home } from '../support/home.ts';
import { runOver } from '../support/in-process.ts';
import { InProcessDomains } from '../support/in-process-domains.ts';
import { PROJECT, outcome, run } from '../support/processes.ts';
import { Random } from '../support/random.ts';
import { makeTemp, removeTree, tempFolder } from '../support/temp.ts';

const ENABLED = (home: Home) => ['[requests]', `key_file = "${home.keyFile}"`];
const ALLOWED = ['backup', 'list', 'restore'].map(
  (one) => `qubes.BackupRequest +${one} @anyvm @adminvm allow`,
);
const busy = { code: 1, lines: ['busy: another run is under way; try again later'] };
const none = { code: 1, lines: ['refused: no such request'] };

let folder: string;
/** A home with `work` and `vault`, each backed up once. */
let template: Home | undefined;
let home: Home;
let dom0: Dom0;

beforeAll(() => {
  folder = makeTemp();
});
afterAll(() => removeTree(folder));

async function makeTemplate(): Promise<Home> {
  const made = new Home({ folder });
  mkdirSync(join(made.volume('work'), 'home/user'), { recursive: true });
  made.write('work', 'home/user/notes', 'first notes');
  made.write('work', 'home/user/na\nme\xff', 'odd');
  made.write('vault', 'secret', 'of the vault');
  made.identify('work', 1);
  made.identify('vault', 2);
  await made.expectRun(0, 'init');
  await made.expectRun(0, 'backup', '--all');
  return made;
}

beforeEach(async () => {
  home = new Home({ template: (template ??= await makeTemplate()) });
  home.configure(...ENABLED(home));
  dom0 = new Dom0(home.folder, ...ALLOWED);
});

const restore = (vm: string, ...form: Parameters<typeof formOf>) =>
  dom0.call(vm, 'qubes.BackupRequest+restore', formOf(...form));
const incoming = (vm: string, path: string) =>
  join(home.folder, 'vms', vm, 'private/home/user/QubesIncoming/dom0', path);
/** What dom0 answers, or fails with, without a process for anything. */
async function askHere(ask: (app: App, rates: Rates) => Promise<Answer>): Promise<Answer> {
  const folder = join(home.state, 'requests');
  mkdirSync(folder, { recursive: true });
  const answers: Answer[] = [];
  await runOver(new InProcessDomains(home.folder), home, async (app) => {
    answers.push(await ask(app, new Rates(folder)));
  });
  return answers[0]!;
}
const log = () => readFileSync(join(home.state, 'requests/log'), 'latin1');
/** All of what other VMs have: their volumes, and dom0's files of them. */
const volumeOf = (vm: string) => readdirSync(home.volume(vm), { recursive: true });

describe('a VM', () => {
  test('has itself backed up, sees its snapshots, and gets files of any of them', async () => {
    home.write('work', 'home/user/notes', 'second notes');
    expect(await dom0.call('work', 'qubes.BackupRequest+backup')).toEqual({
      code: 0,
      lines: ['ok: backed up'],
    });
    const { code, lines } = await dom0.call('work', 'qubes.BackupRequest+list');
    expect([code, lines[0]]).toEqual([0, 'ok: 2 of 2 snapshots']);
    expect(
      lines.slice(1).map((line) => line.replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/, 'TIME')),
    ).toEqual([...['1 TIME', '2 TIME']]);
    const odd = 'home/user/na\nme\xc3\xbf'; // As the name is in UTF-8 on the disk.
    const first = await restore('work', '1', '/home/user/notes', odd);
    expect(first).toEqual({ code: 0, lines: ['ok: copied into QubesIncoming/dom0/work-1'] });
    expect(readFileSync(incoming('work', 'work-1/home/user/notes'), 'utf8')).toBe('first notes');
    expect(readFileSync(incoming('work', 'work-1/home/user/na\nme\xff'), 'utf8')).toBe('odd');
    expect((await restore('work', 'latest', 'home/user/notes')).code).toBe(0);
    expect(readFileSync(incoming('work', 'work-2/home/user/notes'), 'utf8')).toBe('second notes');
    expect(log()).toMatch(/ work: work: snapshot 2: /);
    expect(log()).not.toContain('first notes');
  });

  test('learns nothing of another VM, by no name and no path', async () => {
    const before = volumeOf('vault');
    for (const [call, input] of [
      ['backup+vault', ''],
      ['vault', ''],
      ['restore', formOf('vault@1', 'secret')],
      ['restore', formOf('1', 'secret').subarray(0, -1)],
    ] as const) {
      const result = await dom0.call('work', `qubes.BackupRequest+${call}`, input);
      expect([126, 1]).toContain(result.code);
      expect(result.lines.join('')).not.toContain('vault');
    }
    const elsewhere = ['secret', '../vault/secret', '/../../vault/private/secret', '..'];
    expect(await restore('work', '1', ...elsewhere)).toEqual({
      code: 1,
      lines: ['failed: not everything that was asked for is in that snapshot; the rest was copied'],
    });
    expect(existsSync(incoming('work', 'work-1'))).toBe(false);
    expect(volumeOf('vault')).toEqual(before);
  });

  test('R11: that took the name of an earlier one gets nothing of that', async () => {
    renameSync(join(home.folder, 'vms/vault'), join(home.folder, 'vms/old-vault'));
    home.identify('vault', 3);
    const listed = (lines: string) => ({ ok: true, lines: expect.arrayContaining([lines]) as string[] });
    const list = (vm: string) =>
      askHere((app, rates) => perform(app, rates, parseVmName(vm), { action: 'list' }));
    expect(await list('vault')).toEqual(listed('ok: 0 of 0 snapshots'));
    expect(await list('old-vault')).toEqual(listed('ok: 1 of 1 snapshots'));
    for (const snapshot of ['1', 'latest']) {
      const form = { snapshot, paths: [byteString(utf8('/'))] };
      const asking = askHere((app, rates) =>
        perform(app, rates, parseVmName('vault'), { action: 'restore', form }),
      );
      expect((await rejection(asking)).code).toBe('unknown-snapshot');
    }
  });

  test('that its owner leaves out of backups has none taken', async () => {
    writeFileSync(join(home.folder, 'vms/work/vm.json'), JSON.stringify({ include_in_backups: false }));
    const backup = askHere((app, rates) => perform(app, rates, parseVmName('work'), { action: 'backup' }));
    expect((await rejection(backup)).code).toBe('unknown-vm');
  });

  test('that asks too often is refused, whatever happens between, and keeps nobody else out', async () => {
    const list = () => dom0.call('work', 'qubes.BackupRequest+list');
    const rates = join(home.state, 'requests/rates.json');
    await list();
    const form = z.looseObject({ age: z.number(), full: z.record(z.string(), z.number()) });
    const state = readChecked(rates, form, 'none')!;
    state.full['read work'] = state.age + 24 * 3600_000;
    writeChecked(rates, state);
    const refused = { code: 1, lines: ['refused: asked too often; try again later'] };
    expect(await list()).toEqual(refused);
    const unlock = await lockFolder(home.state);
    expect(await list()).toEqual(refused); // It does not even look whether a run is under way.
    await unlock();
    expect((await dom0.call('vault', 'qubes.BackupRequest+list')).code).toBe(0);
    const before = log();
    await list();
    expect(log()).toBe(before);
  });
});

describe('dom0', () => {
  test('asks its user first, and lets no disposable and no other service through', async () => {
    const asking = new Dom0(home.folder);
    const refused: Ended = { code: 126, lines: [] };
    for (const call of ['backup', 'list', 'restore'])
      expect(await asking.call('work', `qubes.BackupRequest+${call}`)).toEqual(refused);
    for (const call of [
      'qubes.BackupRequest',
      'qubes.BackupStart',
      'qubes.BackupStart+work',
      'qubes.BackupScan',
    ])
      expect(await dom0.call('work', call)).toEqual(refused);
    expect(await asking.call('disp12', 'qubes.BackupRequest+list')).toEqual(refused);
  });

  test('answers nothing unless requests are configured, and the repository is known to this machine', async () => {
    home.configure('cache_mib = 64');
    expect((await dom0.call('work', 'qubes.BackupRequest+list')).lines).toEqual([
      'refused: requests are not enabled on this machine',
    ]);
    home.configure('[requests]', 'key_file = "/nonexistent"');
    expect((await dom0.call('work', 'qubes.BackupRequest+list')).lines).toEqual([
      'failed: the owner of this machine finds the reason in dom0',
    ]);
    home.configure(...ENABLED(home));
    removeTree(join(home.state, 'pins'));
    expect((await dom0.call('work', 'qubes.BackupRequest+list')).code).toBe(1);
    expect(log()).toContain('run a command by hand');
    expect(log()).toContain('/nonexistent');
  });

  test('is busy while another run or another request is under way, and counts nothing then', async () => {
    for (const locked of [home.state, join(home.state, 'requests')]) {
      mkdirSync(locked, { recursive: true });
      const unlock = await lockFolder(locked);
      expect(await dom0.call('work', 'qubes.BackupRequest+list')).toEqual(busy);
      expect(await dom0.call('work', 'qubes.BackupRequest+backup')).toEqual(busy);
      await unlock();
    }
    expect(existsSync(join(home.state, 'requests/rates.json'))).toBe(false);
  });

  test('takes one of many requests that come at once, and the others end', async () => {
    const calls = Array.from({ length: 6 }, (_, index) =>
      dom0.call(index % 2 === 0 ? 'work' : 'vault', 'qubes.BackupRequest+list'),
    );
    const ends = await Promise.all(calls);
    const answered = ends.filter(({ code }) => code === 0);
    expect(answered.length).toBeGreaterThan(0);
    for (const end of ends) if (end.code !== 0) expect(end).toEqual(busy);
    expect((await dom0.call('work', 'qubes.BackupRequest+list')).code).toBe(0);
  });

  test('takes no longer over a form that drips, or never ends, than a bound; and holds no lock meanwhile', async () => {
    const child = (await dom0.start('work', 'qubes.BackupRequest+restore'))!;
    child.stdin.write('latest\0');
    const began = performance.now();
    const dripping = setInterval(() => child.stdin.write('a'), 200);
    expect((await dom0.call('vault', 'qubes.BackupRequest+list')).code).toBe(0);
    const { lines } = await ended(child);
    clearInterval(dripping);
    expect(lines).toEqual(['failed: something took too long']);
    expect(performance.now() - began).toBeLessThan(15_000);
    expect(existsSync(incoming('work', ''))).toBe(false);
  });

  test('finishes what it has begun when the VM hangs up, and ends when one does before', async () => {
    const early = (await dom0.start('work', 'qubes.BackupRequest+restore'))!;
    early.stdin.end('latest\0home');
    expect(await ended(early)).toEqual(none);
    const child = (await dom0.start('work', 'qubes.BackupRequest+backup'))!;
    child.stdin.destroy();
    child.stdout.destroy();
    child.stderr.destroy();
    expect((await outcome(child)).signal).toBeNull();
    const { events } = await home.expectRun(0, 'list', 'work');
    expect(events.filter(({ event }) => event === 'snapshot')).toHaveLength(2);
  });

  test('refuses random forms, and dies of none', async () => {
    for (const size of [1, 5_000, 70_000]) {
      const input = Buffer.concat([
        Buffer.from('latest\0'),
        new Random(size).bytes(size),
        Buffer.from([0, 0]),
      ]);
      const result = await dom0.call('work', 'qubes.BackupRequest+restore', input);
      expect([result.code, result.lines.length]).toEqual([1, 1]);
      expect(result.lines[0]).toMatch(/^(?:refused: no such request|failed: not everything)/);
    }
  });
});

describe('another VM', () => {
  const sysGui = () =>
    new Dom0(
      home.folder,
      'qubes.BackupStart + sys-gui @adminvm allow',
      'qubes.BackupStart +work sys-gui @adminvm allow',
    );
  test('starts the backups that the policy names, and no others', async () => {
    dom0 = sysGui();
    const done = { code: 0, lines: ['ok: backed up'] };
    expect(await dom0.call('sys-gui', 'qubes.BackupStart+work')).toEqual(done);
    expect((await dom0.call('sys-gui', 'qubes.BackupStart+vault')).code).toBe(126);
    expect((await dom0.call('work', 'qubes.BackupStart')).code).toBe(126);
    expect(await dom0.call('sys-gui', 'qubes.BackupStart')).toEqual(done);
    const { events } = await home.expectRun(0, 'list');
    const vms = events.filter(({ event }) => event === 'snapshot').map(({ vm }) => vm);
    expect(vms).toEqual(['vault', 'vault', 'work', 'work', 'work']);
  });

  test('gets no names, and no VM that is none', async () => {
    dom0 = new Dom0(home.folder, 'qubes.BackupStart * sys-gui @adminvm allow');
    expect(await dom0.call('sys-gui', 'qubes.BackupStart+VAULT')).toEqual({
      code: 1,
      lines: ['refused: there is no VM to do this for'],
    });
    expect(await dom0.call('sys-gui', 'qubes.BackupStart+dom0')).toEqual(none);
  });
});

describe('the client in a VM', () => {
  const CLIENT = join(PROJECT, 'bin/qubes-backup-request');

  /** A VM in which qrexec-client-vm does `script`. */
  function vm(script: string) {
    const bin = tempFolder();
    writeFileSync(join(bin, 'qrexec-client-vm'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return { cwd: '/home', env: { PATH: `${bin}:/usr/bin:/bin`, OUT: bin } };
  }

  test('asks for what its user names, by paths of the volume, whatever bytes they have', async () => {
    const inside = vm('echo "$*" >>"$OUT/calls"; cat >>"$OUT/stdin"');
    const said = (name: string) => readFileSync(join(inside.env.OUT, name), 'latin1');
    for (const args of [['backup'], ['list']])
      expect(await run(CLIENT, args, inside)).toMatchObject({ code: 0, stderr: '' });
    const paths = ['/rw/config', 'user/notes\n', '/home/../home/user//-x', '/usr/local/bin', '/rw'];
    const { code, stderr } = await run(CLIENT, ['restore', '--snapshot', '7', ...paths], inside);
    expect([code, stderr]).toEqual([0, '']);
    expect(said('calls').split('\n')).toEqual([
      'dom0 qubes.BackupRequest+backup',
      'dom0 qubes.BackupRequest+list',
      'dom0 qubes.BackupRequest+restore',
      '',
    ]);
    const sent = ['/config', '/home/user/notes\n', '/home/user/-x', '/usrlocal/bin', '/'];
    expect(said('stdin')).toBe(formOf('7', ...sent).toString('latin1'));
  });

  test.each([
    [[]],
    [['nonsense']],
    [['backup', 'vault']],
    [['restore']],
    [['restore', '--snapshot']],
    [['restore', '/etc/passwd']],
    [['restore', '/rw/../etc']],
    [['restore', '/home/user/a', '/rwx']],
  ])('refuses %j before it calls anybody', async (args) => {
    const inside = vm('echo called >"$OUT/calls"');
    const { code, stderr } = await run(CLIENT, args, inside);
    expect([code, existsSync(join(inside.env.OUT, 'calls'))]).toEqual([2, false]);
    expect(stderr).not.toBe('');
  });

  test('and dom0 understand one another', async () => {
    const service = join(PROJECT, 'test/support/request-service.ts');
    const inside = vm(
      `[ "$1" = dom0 ] || exit 9
       exec env QREXEC_REMOTE_DOMAIN=work "QREXEC_SERVICE_ARGUMENT=\${2#*+}" '${process.execPath}' --no-warnings '${service}' "\${2%%+*}" '${home.folder}'`,
    );
    const asked = await run(CLIENT, ['restore', '--', '/home/user/notes'], inside);
    expect([asked.code, asked.stdout.toString()]).toEqual([0, 'ok: copied into QubesIncoming/dom0/work-1\n']);
    expect(readFileSync(incoming('work', 'work-1/home/user/notes'), 'utf8')).toBe('first notes');
    expect((await run(CLIENT, ['list'], inside)).stdout.toString()).toMatch(
      /^ok: 1 of 1 snapshots\n1 \S+\n$/,
    );
  });
});
