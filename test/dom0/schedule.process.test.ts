/** R51: scheduled runs by the command line: enabled, run, hooks around them, never two at a time. */

import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { holdOffSleep } from '../../dom0/schedule/inhibit.ts';
import { lockFolder } from '../../dom0/state/lock.ts';
import { runCommand } from '../fidelity/command-line.ts';
import { COMMAND, Home, SANDBOX } from '../support/home.ts';
import { childrenOf, isAlive, outcome, start, waitFor } from '../support/processes.ts';
import { makeTemp, removeTree, tempFolder } from '../support/temp.ts';

let template: Home;
beforeAll(() => {
  template = new Home({ folder: makeTemp() });
  template.write('work', 'a', 'ours');
  template.identify('work', 1);
  runCommand(template, 'init');
});
afterAll(() => removeTree(template.folder));

/** A home whose runs nobody has to unlock, with these hooks. */
function unattended(hooks: Readonly<Record<string, readonly string[]>> = {}): Home {
  const home = new Home({ template });
  const lines = Object.entries(hooks).map(([name, command]) => `${name} = ${JSON.stringify(command)}`);
  home.configure(`key_file = "${home.keyFile}"`, '[hooks]', ...lines);
  return home;
}

const enable = (home: Home, ...args: readonly string[]) =>
  home.runWith(['--json'], 'schedule', 'enable', '--units', join(home.folder, 'units'), ...args);
const run = (home: Home) => home.runWith(['--json'], 'schedule', 'run');

/** A hook that writes down its arguments and what of its environment is ours. */
function recorder(home: Home, name: string, last = 'exit 0'): readonly string[] {
  const script = join(home.folder, `${name}.sh`);
  writeFileSync(script, `echo "$*" >>"$1"; env | grep ^QUBES_BACKUP | sort >>"$1"; env >"$1.env"; ${last}\n`);
  return ['sh', script, join(home.folder, name)];
}
const recorded = (home: Home, name: string) =>
  readFileSync(join(home.folder, name), 'utf8').split('\n').slice(1, -1);

describe('schedule', () => {
  it('R51: is enabled, shown, run with all its steps, and disabled', async () => {
    const home = unattended();
    const enabled = await enable(
      home,
      '--daily',
      '02:00',
      '--forget',
      '--check',
      '5%',
      '--drill',
      '1',
      '--on-ac',
    );
    expect(enabled.code).toBe(0);
    const service = readFileSync(join(home.folder, 'units/qubes-backup.service'), 'utf8');
    expect(service).toContain(`"${COMMAND}" "--local" "${home.folder}" "--sandbox"`);
    expect(service).toContain('"schedule" "run"\n');
    home.configure(`key_file = "${home.keyFile}"`, '[backup.keep]', 'last = 1');
    // What the timer does: a run is due until it ended.
    const due = join(home.state, 'schedule-due');
    expect(readFileSync(join(home.folder, 'units/qubes-backup-due.service'), 'utf8')).toContain(`"${due}"`);
    writeFileSync(due, '');
    expect((await home.runWith(['--json'], 'schedule', 'show')).event('schedule')['due']).toBe(true);
    const release = await lockFolder(home.state);
    expect((await run(home)).code).toBe(5);
    await release();
    expect(existsSync(due)).toBe(true);
    for (let times = 0; times < 2; times++) expect((await run(home)).code).toBe(0);
    expect(existsSync(due)).toBe(false);
    const { events } = await run(home);
    expect(events.map(({ event }) => event)).toEqual(
      expect.arrayContaining(['backup', 'retention', 'checked', 'drill']),
    );
    expect((await home.run('list', 'work')).events.filter(({ event }) => event === 'snapshot')).toHaveLength(
      1,
    );
    const shown = await home.runWith(['--json'], 'schedule', 'show');
    expect(shown.event('schedule')).toMatchObject({
      enabled: true,
      forget: true,
      check: 5,
      onAc: true,
      vms: null,
    });
    await home.runWith(['--json'], 'schedule', 'disable', '--units', join(home.folder, 'units'));
    expect(readdirSync(join(home.folder, 'units'))).toEqual([]);
    expect((await run(home)).event('error')).toMatchObject({ code: 'usage' });
  });

  it('refuses what is no time, no VM, or two of a kind, and leaves nothing', async () => {
    const home = unattended();
    for (const args of [
      [],
      ['--daily', '25:00'],
      ['--daily', '02:00', '--hourly'],
      ['--hourly', 'nobody'],
      ['--hourly', '--all', 'work'],
    ])
      expect((await enable(home, ...args)).code, args.join(' ')).toBe(2);
    expect(existsSync(join(home.folder, 'units'))).toBe(false);
  });

  it('R51: tells a run that finds another one by its exit status, and that one runs no hook', async () => {
    const home = unattended();
    const before = recorder(home, 'before');
    home.configure(`key_file = "${home.keyFile}"`, '[hooks]', `before = ${JSON.stringify(before)}`);
    await enable(home, '--hourly', 'work');
    const release = await lockFolder(home.state);
    const refused = await run(home);
    await release();
    expect([refused.code, refused.event('error')['code']]).toEqual([5, 'locked']);
    expect(existsSync(join(home.folder, 'before'))).toBe(false);
  });
});

describe('hooks', () => {
  it('are told how a run went, and no secret', async () => {
    const home = unattended();
    const [before, after] = [recorder(home, 'before'), recorder(home, 'after')];
    const lines = [
      `before = ${JSON.stringify([...before, 'a b; $HOME'])}`,
      `after = ${JSON.stringify(after)}`,
    ];
    home.configure(`key_file = "${home.keyFile}"`, '[hooks]', ...lines);
    expect((await home.runWith(['--json', '--key-file', home.keyFile], 'backup', 'work')).code).toBe(0);
    expect(readFileSync(join(home.folder, 'before'), 'utf8')).toContain(' a b; $HOME\n');
    expect(recorded(home, 'before')).toEqual(['QUBES_BACKUP_HOOK=before', 'QUBES_BACKUP_RUN=backup']);
    const ended = (outcome: string, status: number) => [
      'QUBES_BACKUP_HOOK=after',
      `QUBES_BACKUP_OUTCOME=${outcome}`,
      'QUBES_BACKUP_RUN=backup',
      `QUBES_BACKUP_STATUS=${status}`,
    ];
    expect(recorded(home, 'after')).toEqual(ended('complete', 0));
    const secret = readFileSync(home.keyFile, 'latin1').trim().slice(-64);
    expect(readFileSync(join(home.folder, 'after.env'), 'latin1')).not.toContain(secret);
    expect(readFileSync(join(home.folder, 'after.env'), 'latin1')).not.toContain(home.keyFile);
    writeFileSync(join(home.folder, 'after'), '');
    expect((await home.run('backup', 'nobody')).code).toBe(1);
    expect(recorded(home, 'after')).toEqual(ended('failed', 1));
  });

  it('before a run that fail keep it from beginning; the one after it is run all the same', async () => {
    const home = unattended();
    const before = recorder(home, 'before', 'echo the disk is not there; exit 7');
    const lines = [
      `before = ${JSON.stringify(before)}`,
      `after = ${JSON.stringify(recorder(home, 'after'))}`,
    ];
    home.configure(`key_file = "${home.keyFile}"`, '[hooks]', ...lines);
    const refused = await home.run('backup', 'work');
    expect([refused.code, refused.event('error')['code']]).toEqual([1, 'refused']);
    expect(refused.stderr).toContain('status 7: the disk is not there');
    expect(refused.events.some(({ event }) => event === 'backup')).toBe(false);
    expect(recorded(home, 'after')).toContain('QUBES_BACKUP_OUTCOME=failed');
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('are ended by %s with all they started', async (signal) => {
    const home = unattended();
    const pids = join(home.folder, 'pids');
    // It goes on by itself, and what it starts does not care about signals.
    const script = `trap '' INT; (trap '' TERM; echo $$ >"$0"; while :; do sleep 1; done) & wait`;
    const command = ['sh', '-c', script, pids];
    const lines = [
      `before = ${JSON.stringify(command)}`,
      `after = ${JSON.stringify(recorder(home, 'after'))}`,
    ];
    home.configure(`key_file = "${home.keyFile}"`, '[hooks]', ...lines);
    const args = ['--local', home.folder, '--sandbox', SANDBOX, 'backup', 'work'];
    const child = start(COMMAND, args, { cwd: home.folder });
    const ended = outcome(child);
    await waitFor(() => existsSync(pids) && readFileSync(pids, 'utf8').endsWith('\n'), 'the hook runs');
    const hook = childrenOf(child.pid!);
    expect(hook.length).toBeGreaterThan(1);
    child.kill(signal);
    const { code, stderr } = await ended;
    expect(code).toBe(1);
    expect(stderr).toContain(`stopped by ${signal}: ending the hook that runs`);
    expect(stderr).toContain('the hook "before", sh, was ended with this run');
    expect(recorded(home, 'after')).toContain('QUBES_BACKUP_OUTCOME=failed');
    await waitFor(() => !hook.some(isAlive), 'all of the hook is gone');
  });

  it('after a run that fail are a warning; a backup that was taken stays taken', async () => {
    const home = unattended({ after: ['/nonexistent'] });
    const result = await home.run('backup', 'work');
    expect(result.code).toBe(3);
    expect(result.event('backup')).toMatchObject({ vm: 'work' });
    expect(result.stderr).toContain('the hook "after", /nonexistent, ended with status 127');
  });
});

describe('sleep', () => {
  it('R51: is held off until the run ends, also if that dies: what holds it ends with its stdin', async () => {
    const file = join(tempFolder(), 'held');
    const notes: string[] = [];
    const release = holdOffSleep(
      (text) => notes.push(text),
      ['sh', '-c', 'echo held >"$0"; cat; echo over >"$0"', file],
    );
    await waitFor(() => existsSync(file) && readFileSync(file, 'utf8') === 'held\n', 'it holds');
    release();
    await waitFor(() => readFileSync(file, 'utf8') === 'over\n', 'it lets go');
    expect(notes).toEqual([]);
  });

  it('that cannot be held off is said', async () => {
    const notes: string[] = [];
    holdOffSleep((text) => notes.push(text), ['sh', '-c', 'echo access denied >&2; exit 1']);
    holdOffSleep((text) => notes.push(text), ['/nonexistent']);
    await waitFor(() => notes.length === 2, 'both notes');
    expect(notes.join()).toContain('not held off: access denied');
  });
});
