/** R37: a drill restores, proves and judges what is stored, remembers how that ended, and leaves nothing. */

import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import type { App } from '../../dom0/app.ts';
import { backup } from '../../dom0/commands/backup.ts';
import { drill } from '../../dom0/commands/drill.ts';
import { init } from '../../dom0/commands/init.ts';
import { addDrillCommands } from '../../dom0/drill-commands.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { service } from '../attack/peer/storage-services.ts';
import { drill as protocol, restore } from '../../shared/protocol/disposable.ts';
import { control } from '../../shared/wire/frame.ts';
import { rejection } from '../support/failure.ts';
import { Home } from '../support/home.ts';
import { InProcessDomains } from '../support/in-process-domains.ts';
import { runOver } from '../support/in-process.ts';

const DAY = 86_400_000;
const VMS = ['personal', 'vault', 'work'] as const;

/** A home with a backup of three VMs. */
async function backedUp() {
  const home = new Home();
  for (const [index, name] of VMS.entries()) {
    home.write(name, 'notes', `of ${name}`);
    home.identify(name, index);
  }
  createKeyFile(home.keyFile);
  const domains = () => new InProcessDomains(home.folder, () => Date.now() + 60_000);
  const run = (command: (app: App) => Promise<void>, over = domains()) => runOver(over, home, command);
  await run((app) => init(app, () => app.secrets()));
  await run((app) => backup(app, [], { all: true }));
  return { home, domains, run };
}

/** What the diary says of drills, by VM name. */
function drills(
  home: Home,
): Record<string, { at: number; snapshot: number; result: string; detail: string }> {
  const file = join(home.state, 'diary/drill.json');
  if (!existsSync(file)) return {};
  const pin = JSON.parse(readFileSync(join(home.state, 'pins/pin.json'), 'utf8')) as {
    vms: { id: string; name: string }[];
  };
  const entries = JSON.parse(readFileSync(file, 'utf8')) as ReturnType<typeof drills>;
  const nameOf = (id: string) => pin.vms.find((vm) => vm.id === id)?.name ?? id;
  const ofVms = Object.entries(entries).filter(([id]) => id !== 'sum');
  return Object.fromEntries(ofVms.map(([id, entry]) => [nameOf(id), entry]));
}

function expectNothingLeft(home: Home): void {
  expect(readdirSync(join(home.folder, 'vms')).sort()).toEqual(VMS);
  for (const own of ['volatile', 'journal'])
    expect(readdirSync(join(home.state, 'local', own)), own).toEqual([]);
}

describe('drill', () => {
  it('passes what comes back whole, says so, and changes no VM', async () => {
    const { home, run } = await backedUp();
    home.write('work', 'notes', 'another text');
    const { app, output } = await run((app) => drill(app, ['work', 'vault@1'], {}));
    expect(app.warnings).toBe(0);
    const told = output.events.filter(({ event }) => event === 'drill');
    expect(told).toMatchObject([
      { vm: 'work', snapshot: 1, result: 'passed' },
      { vm: 'vault', snapshot: 1, result: 'passed' },
    ]);
    expect(output.lines.join('\n')).toContain('work: the drill of snapshot 1');
    const remembered = drills(home);
    expect(Object.keys(remembered).sort()).toEqual(['vault', 'work']);
    expect(remembered['work']).toMatchObject({ snapshot: 1, result: 'passed' });
    expect(remembered['work']?.detail).toContain('1 files');
    expect(home.read('work', 'notes')).toBe('another text');
    expectNothingLeft(home);
  });

  it('has the command of the VM, of no other, judge the snapshot that was asked for', async () => {
    const { home, run } = await backedUp();
    home.write('work', 'notes', 'later');
    await run((app) => backup(app, ['work']));
    home.configure('[vm.work]\ndrill_command = ["sh", "-c", "grep -q later notes && ! test -e /absent"]');
    expect((await run((app) => drill(app, ['work'], {}))).output.lines.join('\n')).toContain(
      'found them good',
    );
    await run((app) => drill(app, ['vault'], {}));
    const failure = await rejection(run((app) => drill(app, ['work'], { snapshot: '1' })));
    expect([failure.code, failure.message]).toEqual(['verify-failed', '1 of 1 drills failed']);
    const remembered = drills(home);
    expect(remembered['work']).toMatchObject({ snapshot: 1, result: 'failed' });
    expect(remembered['work']?.detail).toContain('drill_command ended with status 1');
    expect(remembered['vault']).toMatchObject({ result: 'passed' });
    expect(remembered['vault']?.detail).not.toContain('command');
    expectNothingLeft(home);
  });

  it('fails one that is written wrong, drills the others, and leaves nothing', async () => {
    const { home, domains, run } = await backedUp();
    const lying = domains();
    // The first disposable says that it wrote all, and writes nothing.
    const [name, liar] = service(restore, async (session) => {
      await session.receive();
      lying.instead.clear();
      await session.send('done', { entries: 2, files: 1, bytes: 8 });
    });
    lying.instead.set(name, liar);
    const failure = await rejection(run((app) => drill(app, ['vault', 'work'], {}), lying));
    expect([failure.code, failure.message]).toEqual(['verify-failed', '1 of 2 drills failed']);
    expect(drills(home)['vault']?.detail).toContain('is not that of snapshot 1 of vault');
    expect(drills(home)['work']).toMatchObject({ result: 'passed' });
    expectNothingLeft(home);
  });

  it('takes what a disposable says of the command for a text of bounded, printable bytes, or not at all', async () => {
    const { home, domains, run } = await backedUp();
    home.configure('[backup]\ndrill_command = ["true"]');
    for (const [answer, detail] of [
      [{ status: 7, output: 'no accounts' }, 'status 7; it said: no accounts'],
      [{ status: 9, output: '' }, 'status 9; it said nothing'],
      [{ status: 0, output: '\u001b[2J' }, 'qubes.BackupDrill'],
      [{ status: -1, output: '' }, 'qubes.BackupDrill'],
      [{ status: 0, output: '', more: true }, 'qubes.BackupDrill'],
    ] as const) {
      const over = domains();
      const lenient = { ...protocol, toCaller: { ...protocol.toCaller, done: control(0x14, z.unknown()) } };
      const [name, hostile] = service(lenient, async (session) => {
        await session.receive();
        await session.send('done', answer);
      });
      over.instead.set(name, hostile);
      await rejection(run((app) => drill(app, ['work'], {}), over));
      expect(drills(home)['work']).toMatchObject({ result: 'failed' });
      expect(drills(home)['work']?.detail).toContain(detail);
      expectNothingLeft(home);
    }
  });

  it('--random takes those that were not drilled for longest, each once', async () => {
    const { home, run } = await backedUp();
    await run((app) => drill(app, ['vault'], {}));
    await run((app) => drill(app, [], { random: 2 }));
    expect(Object.keys(drills(home)).sort()).toEqual(VMS);
    const { output } = await run((app) => drill(app, [], { random: 1 }));
    expect(output.events.filter(({ event }) => event === 'drill').map(({ vm }) => vm)).toEqual(['vault']);
    const all = await run((app) => drill(app, [], { random: 99 }));
    expect(all.output.events.filter(({ event }) => event === 'drill')).toHaveLength(3);
  });

  it('--random does not wait for a time to come that a wrong clock noted', async () => {
    const { home, run } = await backedUp();
    await run(async (app) => {
      const { vms } = await app.open();
      const passed = { snapshot: 1, result: 'passed', detail: '' } as const;
      const at = (name: string) => (name === 'work' ? 10 * 365 * DAY : -DAY) + Date.now();
      app.diary.record(
        'drill',
        vms.map(({ id, name }) => [id, { at: at(name), ...passed }]),
      );
      app.defer(() => app.storage.abort());
    });
    await run((app) => drill(app, [], { random: 1 }));
    expect(drills(home)['work']?.at).toBeLessThanOrEqual(Date.now());
  });

  it('is refused where it is not said of what, and does not remember what a person ended', async () => {
    const { home, run } = await backedUp();
    for (const [targets, options] of [
      [[], {}],
      [['work'], { random: 1 }],
      [['work', 'vault'], { snapshot: '1' }],
      [['work@1'], { snapshot: '1' }],
    ] as const)
      expect((await rejection(run((app) => drill(app, targets, options)))).code).toBe('usage');
    expect((await rejection(run((app) => drill(app, ['work@7'], {})))).code).toBe('unknown-snapshot');
    await rejection(
      run(async (app) => {
        await app.lock();
        await app.interrupt();
        await drill(app, ['work'], {});
      }),
    );
    expect(drills(home)).toEqual({});
    const seen: unknown[] = [];
    const program = new Command().exitOverride().configureOutput({ writeErr: () => undefined });
    addDrillCommands(program, (work) => Promise.resolve(void seen.push(work)));
    for (const words of ['drill --random 0', 'drill --random x'])
      await expect(program.parseAsync(words.split(' '), { from: 'user' })).rejects.toThrow('from 1 on');
    await program.parseAsync(['drill', 'work', '--snapshot', '2'], { from: 'user' });
    expect(seen).toHaveLength(1);
  });
});
