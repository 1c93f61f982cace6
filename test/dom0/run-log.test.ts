/** R56: what runs leave in dom0's log. */

import { appendFileSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { lastRun, RunLog } from '../../dom0/state/run-log.ts';
import { MAX_RUN_LOG } from '../../shared/limits.ts';
import { tempFolder } from '../support/temp.ts';

const fileIn = (state: string) => join(state, 'log/runs.jsonl');

describe('the log of runs', () => {
  it('holds what each run said, a JSON object a line, for its owner alone; the last run is read back', () => {
    const state = tempFolder();
    const silent = new RunLog(state, 'list');
    const first = new RunLog(state, 'backup --all');
    first.add('warning', 'one');
    first.close();
    const second = new RunLog(state, 'check');
    second.add('error', 'two');
    second.add('service', 'three', { vm: 'work', service: 'qubes.BackupScan' });
    second.close();
    silent.close();
    expect(lastRun(state)).toMatchObject([
      { level: 'run', text: 'check' },
      { level: 'error', text: 'two' },
      { level: 'service', text: 'three', vm: 'work', service: 'qubes.BackupScan' },
    ]);
    const lines = readFileSync(fileIn(state), 'utf8').trim().split('\n');
    expect(lines).toHaveLength(5);
    for (const line of lines) expect(JSON.parse(line)).toHaveProperty('run');
    expect(statSync(fileIn(state)).mode & 0o777).toBe(0o600);
  });

  it('takes nothing that a terminal should not see, and only so much of one run', () => {
    const state = tempFolder();
    const log = new RunLog(state, 'backup');
    log.add('warning', '\u001b[2J\n');
    for (let i = 0; i < 2000; i++) log.add('service', 'x'.repeat(8192), { vm: 'work', service: 's' });
    log.close();
    expect(lastRun(state)[1]?.text).toBe('?[2J?');
    expect(statSync(fileIn(state)).size).toBeLessThanOrEqual(MAX_RUN_LOG);
  });

  it('hides no mistake of the program', () => {
    const log = new RunLog(tempFolder(), 'backup');
    expect(() => log.add('note', undefined as never)).toThrow(TypeError);
    log.close();
  });

  it('is set aside when it has grown, and goes on', () => {
    const state = tempFolder();
    const log = new RunLog(state, 'first');
    log.add('note', 'a');
    log.close();
    appendFileSync(fileIn(state), 'x'.repeat(MAX_RUN_LOG));
    const next = new RunLog(state, 'second');
    next.add('note', 'b');
    next.close();
    expect(readdirSync(join(state, 'log')).sort()).toEqual(['runs.jsonl', 'runs.jsonl.1']);
    expect(statSync(fileIn(state)).size).toBeLessThan(1000);
    expect(lastRun(state).map(({ text }) => text)).toEqual(['second', 'b']);
  });

  it('that is damaged, or cannot be written, fails nothing', () => {
    const state = tempFolder();
    expect(lastRun(state)).toEqual([]);
    const log = new RunLog(state, 'check');
    log.add('note', 'a');
    log.close();
    appendFileSync(fileIn(state), '{"at":\n[]\n{"level":"note"}\n');
    expect(lastRun(state)).toHaveLength(2);
    const blocked = tempFolder();
    writeFileSync(join(blocked, 'log'), 'in the way');
    new RunLog(blocked, 'check').add('error', 'b');
    new RunLog(join(blocked, 'log'), 'check').add('error', 'nor where its folder cannot be made');
    expect(readFileSync(join(blocked, 'log'), 'utf8')).toBe('in the way');
    const folder = tempFolder();
    mkdirSync(fileIn(folder), { recursive: true });
    new RunLog(folder, 'check').add('error', 'nor where a folder has its name');
  });
});
