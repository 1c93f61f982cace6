/**
 * R50 R55: a run of several VMs on a terminal: how far each is and all are, and Ctrl-C, once and twice. What makes the runs long is a limit of
 * the bandwidth.
 */

import { randomBytes } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { afterAll, beforeAll, expect } from 'vitest';
import { runCommand } from '../fidelity/command-line.ts';
import { Home } from '../support/home.ts';
import { testNeeding } from '../support/needs.ts';
import { isAlive, waitFor } from '../support/processes.ts';
import { makeTemp, removeTree } from '../support/temp.ts';
import { NO_TMUX, TmuxTerminal } from '../support/tmux.ts';

const onTmux = testNeeding(NO_TMUX);

const MiB = 1024 * 1024;
const VMS = ['vault', 'work'];
/** More than the readers of two VMs send and read ahead of what is stored: they are not at the end when a checkpoint is due. */
const [FILES, FILE_SIZE] = [40, 2 * MiB];
const TOTAL = (FILES * FILE_SIZE) / MiB;

/** Two VMs with a snapshot, since which all has changed. */
let template: Home;
beforeAll(() => {
  template = new Home({ folder: makeTemp() });
  template.configure('[backup]', 'checkpoint_seconds = 1', 'spot_check_mib = 0');
  for (const vm of VMS)
    for (let i = 0; i < FILES; i++) template.write(vm, `file-${i}`, new Uint8Array(FILE_SIZE));
  for (const [i, vm] of VMS.entries()) template.identify(vm, i);
  runCommand(template, '--key-file', template.keyFile, 'init');
  runCommand(template, 'backup', '--all');
  for (const vm of VMS)
    for (let i = 0; i < FILES; i++) template.write(vm, `file-${i}`, randomBytes(FILE_SIZE));
});
afterAll(() => removeTree(template.folder));

/** `backup --all` of both VMs at once, on a terminal, at so many KiB a second for both. */
function start(home: Home, limit: number): Promise<TmuxTerminal> {
  const rate = ['--limit-upload', String(limit)];
  const args = ['--key-file', home.keyFile, ...rate, 'backup', '--all', '--jobs', '2'];
  return TmuxTerminal.run(home, args, { columns: 120 });
}

/** The line of `title` on a screen, without its bar. */
function lineOf(screen: string, title: string): string {
  return (
    new RegExp(`^${title}\\b.*ETA.*$`, 'm')
      .exec(screen)?.[0]
      .replace(/[█░]+ +/, '')
      .trimEnd() ?? ''
  );
}

/** Files that `vm`'s line says are read. */
function filesOf(screen: string, vm: string): number {
  return Number(/(\d+)\/\d+ files/.exec(lineOf(screen, vm))?.[1] ?? 0);
}

/** MiB that `vm`'s line says are read and stored. */
function mibOf(screen: string, vm: string): number {
  return Number(/([\d.]+) MiB of/.exec(lineOf(screen, vm))?.[1] ?? 0);
}

/** MiB of each VM that are stored when a checkpoint is due, and that a reader may hold of what its line counts (dvm/pack-writer.ts). */
const [STORED, HELD] = [6, 26];

/**
 * Starts a run and waits until a VM has a checkpoint that is being committed. One is due after a second, between two files: once so
 * much of both is stored, at 6 MiB a second, and a further file of one is read, that one's was sent; what it had sent ahead by then, 16 MiB,
 * takes longer.
 */
async function startAndCommit(home: Home): Promise<TmuxTerminal> {
  const terminal = await start(home, 6 * 1024);
  const screen = await terminal.when(
    (text) => VMS.every((vm) => mibOf(text, vm) >= STORED + HELD),
    `${STORED} MiB of both VMs in the store`,
  );
  await terminal.when((text) => VMS.some((vm) => filesOf(text, vm) > filesOf(screen, vm)), 'a further file');
  return terminal;
}

/** The next run uses what was committed of at least one VM, `reused` MiB, and all is whole and the same then. */
async function expectResumed(home: Home, reused: number): Promise<void> {
  const { events } = await home.expectRun(0, 'backup', '--all');
  const taken = events.filter(({ event }) => event === 'backup');
  expect(taken.map(({ vm, files }) => [vm, files]).sort()).toEqual(VMS.map((vm) => [vm, FILES]));
  const stored = Math.min(...taken.map(({ storedBytes }) => Number(storedBytes)));
  expect(stored).toBeLessThan(1.1 * (TOTAL - reused) * MiB);
  await home.expectRun(0, 'check', '--read-data', '100');
  for (const vm of VMS) await home.expectRun(0, 'verify', vm);
}

onTmux(
  'a terminal shows each VM that is backed up and all of them together, and keeps nothing of it',
  async () => {
    const home = new Home({ template });
    const terminal = await start(home, 12 * 1024);
    const screen = await terminal.when(
      (text) => VMS.every((vm) => mibOf(text, vm) >= 2) && mibOf(text, 'work') < TOTAL,
      'progress of both VMs',
    );
    for (const vm of VMS) {
      expect(lineOf(screen, vm)).toMatch(
        /^\w+ \(reading private\) +\d+% {2}[\d.]+ MiB of 80\.0 MiB +\d[\d.]* [KM]iB\/s +ETA \d+ s +\d+\/41 files$/,
      );
      const percent = Number(/(\d+)%/.exec(lineOf(screen, vm))?.[1]);
      expect(Math.abs(percent - (100 * mibOf(screen, vm)) / TOTAL)).toBeLessThan(2);
    }
    expect(lineOf(screen, 'total')).toMatch(
      /^total +\d+% {2}[\d.]+ MiB +\d[\d.]* [KM]iB\/s +ETA \d+ s +0 of 2 done$/,
    );
    expect(screen.match(/ETA/g)).toHaveLength(3);
    expect(screen).toMatch(/^work.* █+░* .*ETA/m);
    expect(await terminal.ended()).toBe(0);
    const all = await terminal.screen(true);
    for (const vm of VMS) expect(all).toContain(`${vm}: snapshot 2: 40 files, 80.0 MiB`);
    expect(all).not.toContain('ETA');
  },
);

onTmux('Ctrl-C has a checkpoint committed that has begun; the next run goes on from them', async () => {
  const home = new Home({ template });
  const terminal = await startAndCommit(home);
  await terminal.press('C-c');
  await terminal.see('error: stopped by SIGINT: a checkpoint that has begun is finished first');
  expect(await terminal.ended()).toBe(1);
  const all = await terminal.screen(true);
  for (const vm of VMS)
    expect(all).toContain(`error: ${vm}: not backed up: the run was stopped; the next one`);
  expect(all).toContain('Not backed up: see the errors above, then run "qubes-backup backup vault work".');
  expect(all).not.toContain('ETA');
  await expectResumed(home, 12);
});

onTmux('Ctrl-C a second time ends a run at once, with all it started; the next run completes', async () => {
  const home = new Home({ template });
  const terminal = await startAndCommit(home);
  await terminal.press('C-c');
  await terminal.see('a second time ends it at once');
  const before = performance.now();
  await terminal.press('C-c');
  expect(await terminal.ended()).toBe(130);
  expect(performance.now() - before, 'it waited for a checkpoint').toBeLessThan(5_000);
  await waitFor(() => processesOn(home).length === 0, 'the end of all that ran');
  await expectResumed(home, 0);
});

/** Ids of processes that name `home`. */
function processesOn(home: Home): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter(
      (pid) => isAlive(pid) && !commandLine(pid).startsWith('tmux') && commandLine(pid).includes(home.folder),
    );
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return ''; // It is gone.
  }
}
