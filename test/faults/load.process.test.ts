/**
 * R42 R50: many VMs in one run, and many sessions at one store. Small numbers in the suite; `npm run load` takes 100 VMs of 10,000 files and 50
 * sessions, and prints what was seen.
 */

import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { COMMAND_PART, runMeasured } from '../../bench/support/process-tree.ts';
import { formatTable } from '../../shared/format.ts';
import { objectIdOf } from '../../shared/ids.ts';
import { walkDifferences } from '../support/checker.ts';
import { COMMAND, Home, SANDBOX } from '../support/home.ts';
import type { Event } from '../support/home.ts';
import { diskFolder, makeTemp, removeTree } from '../support/temp.ts';
import { getAll, listAll, publishRoot, putAll } from '../storagevm/caller.ts';
import { TestRepository, objects } from '../storagevm/fixtures.ts';

const FULL = process.env['QIB_LOAD'] === 'full';
const [VMS, FILES, SESSIONS] = FULL ? [100, 10_000, 50] : [8, 100, 8];
const JOBS = '4';
const TIMEOUT = FULL ? 3_600_000 : 120_000;
/** MiB that a process may hold at its peak: dom0's, and each service. */
const PEAK = 300;

/** Small files in folders of a hundred; every tenth is sparse. */
function fill(volume: string): void {
  for (let at = 0; at < FILES; at++) {
    const folder = join(volume, `folder-${Math.floor(at / 100)}`);
    if (at % 100 === 0) mkdirSync(folder);
    const file = join(folder, `file-${at}`);
    writeFileSync(file, `${at}\n`);
    if (at % 10 === 0) truncateSync(file, 1 << 20);
  }
}

test(
  `R50: ${VMS} VMs of ${FILES} files in one run`,
  async () => {
    const folder = makeTemp(undefined, tmpdir());
    onTestFinished(() => removeTree(folder), TIMEOUT); // A million files take minutes.
    const home = new Home({ folder, existing: true });
    const name = (number: number) => `vm-${number}`;
    fill(home.volume(name(1)));
    for (let number = 2; number <= VMS; number++)
      execFileSync(
        'cp',
        ['-a', home.volume(name(1)), home.volume(name(number))].map((path, at) =>
          at === 1 ? `${path}/.` : path,
        ),
      );
    for (let number = 1; number <= VMS; number++)
      writeFileSync(join(home.volume(name(number)), 'own'), name(number));
    home.configure('[backup]', 'spot_check_mib = 0', 'recheck_mib = 0');
    await home.expectRun(0, 'init');
    const rows = [['run', 'seconds', 'dom0, MiB', 'largest service, MiB', 'bytes read', 'bytes stored']];
    const backUp = async (what: string): Promise<readonly Event[]> => {
      const options = ['--local', home.folder, '--sandbox', SANDBOX, '--json', '--key-file', home.keyFile];
      const args = [...options, 'backup', '--all', '--jobs', JOBS];
      const { code, stdout, stderr, seconds, parts } = await runMeasured(COMMAND, args, { cwd: home.folder });
      expect(code, stderr).toBe(0);
      const events = stdout.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as Event]));
      const done = events.filter(({ event }) => event === 'backup');
      expect(new Set(done.map(({ vm }) => vm)).size).toBe(VMS);
      for (const { files } of done) expect(files).toBe(FILES + 1);
      const peaks = [...parts].map(([part, { peak }]) => ({ part, peak }));
      for (const { part, peak } of peaks) expect(peak, part).toBeLessThan(PEAK);
      const of = (isDom0: boolean) =>
        Math.max(...peaks.filter(({ part }) => (part === COMMAND_PART) === isDom0).map(({ peak }) => peak));
      const sum = (field: string) => String(done.reduce((all, event) => all + Number(event[field]), 0));
      rows.push([
        what,
        seconds.toFixed(0),
        of(true).toFixed(0),
        of(false).toFixed(0),
        sum('readBytes'),
        sum('storedBytes'),
      ]);
      return done;
    };
    await backUp('first');
    const again = await backUp('again');
    for (const { changedFiles } of again) expect(changedFiles).toBe(0);
    const checked = await home.expectRun(0, 'check');
    expect(checked.event('checked')).toMatchObject({ faults: 0 });
    for (const number of [1, Math.ceil(VMS / 2), VMS]) {
      await home.expectRun(0, 'restore', name(number), '--as', 'copy');
      expect(walkDifferences(home.volume(name(number)), home.volume('copy'))).toEqual([]);
      execFileSync('rm', ['-rf', join(home.volume('copy'), '..')]);
    }
    expect(readdirSync(join(home.store, 'tmp'))).toEqual([]);
    if (FULL) process.stdout.write(`${formatTable(rows, [1, 2, 3, 4, 5]).join('\n')}\n`);
  },
  TIMEOUT,
);

test(
  `R42: ${SESSIONS} sessions at one store at the same time`,
  async () => {
    const vm = diskFolder();
    const repository = new TestRepository();
    const first = repository.root();
    const common = objects(20);
    await publishRoot(vm, first);
    const own = Array.from({ length: SESSIONS }, () => objects(FULL ? 100 : 30, 4_136 + 4_096 * 8));
    const rivals = Array.from({ length: 5 }, () => repository.root(first));
    const started = performance.now();
    const [stored, answers, lists] = await Promise.all([
      Promise.all(own.map((some) => putAll(vm, [...common, ...some]))),
      Promise.all(rivals.map((root) => publishRoot(vm, root))),
      Promise.all(Array.from({ length: 3 }, () => listAll(vm))),
    ]);
    const seconds = (performance.now() - started) / 1000;
    expect(stored.flat().length).toBe(SESSIONS * common.length + own.flat().length);
    expect(answers.filter((answer) => answer === 'done')).toHaveLength(1);
    expect(lists).toHaveLength(3);
    const all = [...common, ...own.flat()];
    const { rows } = await listAll(vm);
    expect(rows.map(({ id }) => id)).toEqual(all.map(({ id }) => id).sort());
    const asked = all.filter((_, at) => at % 17 === 0).slice(0, 200);
    const bytes = await getAll(
      vm,
      asked.map(({ id }) => id),
    );
    expect(bytes.map((found) => found && objectIdOf(found))).toEqual(asked.map(({ id }) => id));
    const store = join(vm, 'qubes-backup');
    expect(readdirSync(join(store, 'tmp'))).toEqual([]);
    expect(readdirSync(join(store, 'roots'))).toHaveLength(2);
    expect(statSync(join(store, 'ledger/root-ages')).size).toBeGreaterThan(0);
    if (FULL)
      process.stdout.write(`${SESSIONS} sessions put ${all.length} objects in ${seconds.toFixed(1)} s\n`);
  },
  FULL ? 600_000 : 120_000,
);
