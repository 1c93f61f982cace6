/** R54, R55: what `status` tells, what it calls for, and how VMs that are gone are continued. */

import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import type { App } from '../../dom0/app.ts';
import { adopt } from '../../dom0/commands/adopt.ts';
import { backup } from '../../dom0/commands/backup.ts';
import { check } from '../../dom0/commands/check.ts';
import { init } from '../../dom0/commands/init.ts';
import { list } from '../../dom0/commands/list.ts';
import { prometheusText } from '../../dom0/commands/prometheus.ts';
import { status } from '../../dom0/commands/status.ts';
import { removeSchedule, writeSchedule } from '../../dom0/schedule/schedule.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { CheckShare } from '../../dom0/state/check-position.ts';
import { parseVmName } from '../../shared/ids.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { rejection } from '../support/failure.ts';
import { Home } from '../support/home.ts';
import { InProcessDomains } from '../support/in-process-domains.ts';
import { runOver } from '../support/in-process.ts';
import { tempFolder } from '../support/temp.ts';

const DAY = 86_400_000;

function run(home: Home, command: (app: App) => Promise<void>) {
  return runOver(new InProcessDomains(home.folder, () => Date.now()), home, command);
}

/** A home with the VMs `vault`, which has a snapshot, and `work`, which has none. */
async function twoVms(): Promise<Home> {
  const home = new Home();
  createKeyFile(home.keyFile);
  for (const [index, vm] of ['vault', 'work'].entries()) {
    home.write(vm, 'file', 'content');
    home.identify(vm, index);
  }
  await run(home, (app) => init(app, () => app.secrets()));
  await run(home, (app) => backup(app, ['vault']));
  return home;
}

async function statusOf(home: Home, prometheus?: string) {
  const { app, output } = await run(home, (app) => status(app, prometheus));
  const vms = output.events.filter(({ event }) => event === 'vm-status');
  const warnings = output.events.filter(({ event }) => event === 'warning').map(({ text }) => text as string);
  const all = output.events.find(({ event }) => event === 'status');
  return { vms, warnings, all, lines: output.lines, count: app.warnings };
}

describe('R55: status', () => {
  it('calls for a person while a VM has no recent backup, and not otherwise', async () => {
    const home = await twoVms();
    const before = await statusOf(home);
    expect(before.count).toBe(1);
    expect(before.warnings).toEqual(['work: it was never backed up: run "qubes-backup backup work"']);
    await run(home, (app) => backup(app, ['work']));
    const well = await statusOf(home);
    expect(well.count).toBe(0);
    expect(well.vms).toMatchObject([
      { vm: 'vault', included: true, orphaned: false, snapshots: 1, lastCheck: null, lastDrill: null },
      { vm: 'work', lastBackup: { number: 1, files: 1, bytes: 7, warnings: 0 } },
    ]);
    expect(well.all).toMatchObject({ root: 3, nextRun: null, problems: [], stores: [{ inStep: true }] });
    expect(well.lines.at(-1)).toBe('All is well.');
    writeFileSync(join(home.folder, 'config.toml'), '[vm.work]\nstale_days = 20\n');
    vi.useFakeTimers({ now: Date.now() - 365 * DAY, toFake: ['Date'] });
    try {
      const [warning, ...others] = (await statusOf(home)).warnings;
      expect(warning).toMatch(/^vault: its newest backup is of 20.*, which is yet to come: set the clock/);
      expect(others).toHaveLength(1); // Of the other VM.
    } finally {
      vi.useRealTimers();
    }
    vi.useFakeTimers({ now: Date.now() + 9 * DAY, toFake: ['Date'] });
    try {
      const old = ['vault: its newest backup is 9 days old: run "qubes-backup backup vault"'];
      expect((await statusOf(home)).warnings).toEqual(old);
      const { app, output } = await run(home, (app) => check(app, 0)); // A finding of check as well.
      expect([app.warnings, output.events.filter(({ event }) => event === 'stale')]).toMatchObject([
        1,
        [{ vm: 'vault' }],
      ]);
    } finally {
      vi.useRealTimers();
    }
  });

  it('check: a VM without a backup is a finding where the configuration or the schedule names it', async () => {
    const home = await twoVms();
    const warningsOf = async () => {
      const { app, output } = await run(home, (each) => check(each, 0));
      const stale = output.events.filter(({ event }) => event === 'stale');
      expect(stale).toEqual([
        { event: 'stale', vm: 'work', text: 'it was never backed up: run "qubes-backup backup work"' },
      ]);
      return app.warnings;
    };
    expect(await warningsOf()).toBe(0);
    const schedule = { when: { every: 'hour' }, onAc: false, forget: false, check: null, drill: 0 } as const;
    writeSchedule(home.state, { ...schedule, vms: [parseVmName('vault')] });
    expect(await warningsOf()).toBe(0);
    writeSchedule(home.state, { ...schedule, vms: ['vault', 'work'].map(parseVmName) });
    expect(await warningsOf()).toBe(1);
    removeSchedule(home.state);
    writeFileSync(join(home.folder, 'config.toml'), '[vm.work]\nstale_days = 20\n');
    expect(await warningsOf()).toBe(1);
  });

  it('tells what checks and drills found', async () => {
    const home = await twoVms();
    await run(home, (app) => backup(app, ['work']));
    await run(home, async (app) => {
      const repository = await app.open();
      const [vault, work] = ['vault', 'work'].map(
        (name) => repository.vms.find((vm) => vm.name === name)!.id,
      );
      const failed = { at: 1_000_000, snapshot: 1, result: 'failed', detail: 'the test said no' } as const;
      app.diary.record('check', [[vault!, { at: 2_000_000, share: 5, faults: 2 }]]);
      app.diary.record('drill', [[work!, failed]]);
      await app.closeStorage();
    });
    const { warnings, vms } = await statusOf(home);
    expect(warnings).toEqual([
      'vault: the last check found 2 faults: run "qubes-backup check --repair"',
      'work: the drill of snapshot 1 failed: the test said no',
    ]);
    expect(vms[1]).toMatchObject({ lastDrill: { at: '1970-01-01T00:16:40.000Z', result: 'failed' } });
  });

  it('writes metrics that Prometheus reads, in place of the ones before, for all to read', async () => {
    const home = await twoVms();
    const file = join(home.folder, 'qubes-backup.prom');
    writeFileSync(file, 'old');
    await statusOf(home, file);
    expect(statSync(file).mode & 0o777).toBe(0o644);
    const text = readFileSync(file, 'utf8');
    expectMetrics(text);
    expect(text).toMatch(
      /^qubes_backup_vm_last_backup_timestamp_seconds\{vm="vault",id="[0-9a-f]{8}"\} \d+/m,
    );
    expect(text).toMatch(/^qubes_backup_vm_stale\{vm="work",id=""\} 1$/m);
    expect(text).toMatch(/^qubes_backup_problems 1$/m);
    const name = parseVmName('work');
    const stores = [{ name: 'a "b"\\\n', objects: 1, bytes: null, inStep: true, state: '' }];
    const rest = { now: 0, counter: 1, fingerprint: '', next: 1500, problems: [] };
    const vm = { name, id: undefined, included: true, orphaned: false, snapshots: 0, newest: undefined };
    const odd = prometheusText({
      ...rest,
      stores,
      vms: [{ ...vm, diary: {}, stale: undefined, alarms: [] }],
    });
    expectMetrics(odd);
    expect(odd).toContain('qubes_backup_store_objects{store="a \\"b\\"\\\\\\n"} 1\n');
    expect(odd).toContain('qubes_backup_next_run_timestamp_seconds 1.5\n');
    expect(odd).not.toContain('store_bytes');
  });
});

/** The text format: of each metric its help and type once, then all its samples, each with other labels. */
function expectMetrics(text: string): void {
  const seen = new Set<string>();
  let current = '';
  const lines = text.split('\n');
  expect(lines.pop()).toBe('');
  for (const [at, line] of lines.entries()) {
    const [, help] = /^# HELP ([a-z_]+) \S.*$/.exec(line) ?? [];
    if (help !== undefined) {
      expect(seen.has(help)).toBe(false);
      seen.add((current = help));
      expect(lines[at + 1]).toBe(`# TYPE ${help} gauge`);
    } else if (!line.startsWith('# TYPE ')) {
      const sample =
        /^([a-z_]+(?:\{[a-z]+="(?:[^"\\\n]|\\["\\n])*"(?:,[a-z]+="(?:[^"\\\n]|\\["\\n])*")*\})?) -?\d+(?:\.\d+)?$/;
      const [, name = ''] = sample.exec(line) ?? [];
      expect(name.startsWith(current), line).toBe(true);
      expect(seen.has(line), line).toBe(false);
      seen.add(line);
    }
  }
}

describe('R11: a VM that is gone', () => {
  it('is shown as orphaned, and adopted by the VM that it is now, with its history', async () => {
    const home = await twoVms();
    await run(home, (app) => backup(app, ['work']));
    // As Qubes OS renames: another VM, with another UUID.
    renameSync(join(home.folder, 'vms', 'work'), join(home.folder, 'vms', 'job'));
    home.identify('job', 5);
    const orphaned = await statusOf(home);
    expect(orphaned.vms).toMatchObject([
      { vm: 'job', id: null, orphaned: false },
      { vm: 'vault', orphaned: false },
      { vm: 'work', orphaned: true, included: false, problems: [] },
    ]);
    await run(home, (app) => backup(app, ['job'])); // Nobody has said so yet: a history of its own.
    expect((await rejection(run(home, (app) => adopt(app, 'vault', 'job', undefined)))).message).toContain(
      'those of the VM vault',
    );
    expect((await rejection(run(home, (app) => adopt(app, 'worx', 'job', undefined)))).message).toContain(
      'work',
    );
    expect((await rejection(run(home, (app) => adopt(app, 'work', 'jib', undefined)))).message).toContain(
      'job',
    );
    await run(home, (app) => adopt(app, 'work', 'job', undefined));
    home.write('job', 'more', 'more');
    const { output } = await run(home, (app) => backup(app, ['job']));
    expect(output.events.find(({ event }) => event === 'backup')).toMatchObject({ snapshot: 2, newFiles: 1 });
    const { vms } = await statusOf(home);
    expect(vms.map(({ vm, orphaned, snapshots }) => [vm, orphaned, snapshots])).toEqual(
      expect.arrayContaining([
        ['job', false, 2],
        ['job', true, 1],
        ['vault', false, 1],
      ]),
    );
    const { output: listed } = await run(home, (app) => list(app, 'job'));
    expect(listed.events.filter(({ event }) => event === 'snapshot')).toHaveLength(3);
  });
});

describe('R54: the share of a store that a check reads', () => {
  const names = Array.from({ length: 4096 }, (_, i) =>
    (i * 2 ** 20).toString(16).padStart(8, '0').padEnd(64, '7'),
  );
  const ids = names as ObjectId[];

  it.each([
    [5, 20],
    [7, 15],
    [33, 4],
    [100, 1],
    [0.5, 200],
  ])('of %d percent is all after %d times', (percent, times) => {
    const folder = tempFolder();
    const read = new Set<ObjectId>();
    for (let i = 0; i < times; i++) {
      expect(read.size).toBeLessThan(ids.length);
      const part = new CheckShare(folder, 'main', percent);
      const now = ids.filter((id) => part.has(id));
      expect(Math.abs(now.length - (ids.length * percent) / 100)).toBeLessThanOrEqual(2);
      for (const id of now) read.add(id);
      part.done();
    }
    expect(read.size).toBe(ids.length);
  });

  it('is the same again if the check did not end, of each store by itself, and begins anew where the file is damaged', () => {
    const folder = tempFolder();
    const part = () => {
      const share = new CheckShare(folder, 'main', 10);
      return ids.filter((id) => share.has(id));
    };
    new CheckShare(folder, 'main', 10).done();
    const first = part();
    expect(part()).toEqual(first);
    new CheckShare(folder, 'usb', 10).done();
    expect(part()).toEqual(first);
    writeFileSync(join(folder, 'check', 'main'), 'garbage');
    expect(Math.abs(part().length - 410)).toBeLessThanOrEqual(2);
    rmSync(join(folder, 'check'), { recursive: true });
    mkdirSync(join(folder, 'check'));
    expect(new CheckShare(folder, 'main', 0).has(ids[0]!)).toBe(false);
  });
});
