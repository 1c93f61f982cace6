/** `doctor` on the local driver: each thing that is not well is named, with what to do, and the exit status says so. */

import { chmodSync, renameSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { examineState } from '../../dom0/doctor/machine.ts';
import { spaceFinding } from '../../dom0/doctor/space.ts';
import { runCommand } from '../fidelity/command-line.ts';
import { Home, SANDBOX } from '../support/home.ts';
import { makeTemp, removeTree, tempFolder } from '../support/temp.ts';

let template: Home;
beforeAll(() => {
  template = new Home({ folder: makeTemp() });
  template.write('work', 'a', 'ours');
  runCommand(template, 'init');
});
afterAll(() => removeTree(template.folder));

/** Without a secret. What is not well, as `level about: text`; room on this machine's disks is none of the tests' business. */
async function examine(home: Home) {
  const { code, events } = await home.runWith(['--json'], 'doctor');
  const findings = events
    .filter(({ event }) => event === 'finding')
    .map(({ level, about, text }) => `${String(level)} ${String(about)}: ${String(text)}`)
    .filter((line) => !/ free(:|$)/.test(line));
  const { bavail, blocks } = statfsSync(home.folder);
  const isRoomy = bavail / blocks > 0.2;
  return {
    code: isRoomy ? code : undefined,
    all: findings,
    wrong: findings.filter((line) => !line.startsWith('ok')),
  };
}

const well: readonly unknown[] = SANDBOX === 'none' ? [expect.stringMatching(/^warn sandbox: none/)] : [];
const status = (found: number | null | undefined, expected: number) =>
  found === undefined ? undefined : SANDBOX === 'none' ? 3 : expected;

describe('doctor', () => {
  it('finds all well where it is, and asks for no secret', async () => {
    const { code, all, wrong } = await examine(new Home({ template }));
    expect(wrong).toEqual(well);
    expect(code).toBe(status(code, 0));
    const about = all.map((line) => line.replace(/^\w+ ([^:]*):.*$/, '$1'));
    expect(about).toEqual(expect.arrayContaining(['state', 'store main', 'clock', 'schedule', 'sandbox']));
  });

  it('names a store that is not there, and a schedule that nobody unlocks', async () => {
    const home = new Home({ template });
    const units = join(home.folder, 'units');
    await home.expectRun(0, 'schedule', 'enable', '--hourly', '--units', units);
    renameSync(join(home.folder, 'storage', 'main'), join(home.folder, 'away'));
    const { code, wrong } = await examine(home);
    expect(wrong).toEqual([
      expect.stringMatching(/^fail store main: is absent/),
      expect.stringMatching(/^warn schedule: .*qubes-backup unlock/),
      ...well,
    ]);
    expect(code).toBe(status(code, 3));
  });

  it('names a clock that is behind the backups, and a store that is not initialised', async () => {
    const home = new Home({ template });
    const pins = join(home.state, 'pins');
    expect((await examine(home)).all.find((line) => line.includes('clock'))).toMatch(/^ok/);
    renameSync(home.store, join(home.folder, 'away'));
    expect((await examine(home)).wrong).toEqual([
      expect.stringMatching(/^fail store main: .*(empty|emptied)/),
      ...well,
    ]);
    renameSync(pins, join(home.folder, 'pins-away'));
    expect((await examine(home)).wrong).toEqual([
      expect.stringMatching(/^(warn|fail) store main: .*empt/),
      ...well,
    ]);
  });
});

it('a state that others may read is named', async () => {
  const folder = tempFolder();
  expect((await examineState(folder))[0]).toMatchObject({ level: 'ok' });
  chmodSync(folder, 0o750);
  const [mode] = await examineState(folder);
  expect(mode).toMatchObject({ level: 'fail', text: expect.stringContaining('chmod 0700') as string });
});

it.each([
  [100, 50, 'ok'],
  [100, 16, 'ok'],
  [100, 14, 'warn'],
  [100, 3, 'warn'],
  [100, 2, 'fail'],
  [100, 0, 'fail'],
  [0, 0, 'fail'],
])('room: of %i there are %i: %s', (size, free, level) => {
  expect(spaceFinding('disk', size, free, 'make room')).toMatchObject({ level });
});
