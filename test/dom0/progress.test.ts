/** R55: what is told of how far the jobs of a run are. */

import { describe, expect, it } from 'vitest';
import { ProgressDisplay } from '../../dom0/progress-display.ts';
import { lineOf } from '../../dom0/progress-line.ts';
import { ProgressTotal } from '../../dom0/progress-total.ts';
import { formatDuration } from '../../shared/format.ts';

function display(mode: 'lines' | 'events') {
  const clock = { now: 0 };
  const lines: string[] = [];
  const events: Readonly<Record<string, unknown>>[] = [];
  const shown = new ProgressDisplay({
    mode,
    now: () => clock.now,
    line: (text) => void lines.push(text),
    event: (fields) => void events.push(fields),
  });
  return { shown, clock, lines, events };
}

const MiB = 1024 * 1024;
const work = { title: 'work', stage: 'reading private', started: 0 };
const half = { files: 10, bytes: 50 * MiB, totalFiles: 20, totalBytes: 100 * MiB };

describe('progress without a terminal', () => {
  it('is a line for each job once a minute, with all that is known', () => {
    const { shown, clock, lines } = display('lines');
    shown.overall({ done: 1, of: 3 });
    for (clock.now = 0; clock.now < 180_000; clock.now += 500) {
      shown.show(work, half);
      if (clock.now >= 100_000) shown.show({ ...work, title: 'vault', started: 100_000 }, half);
    }
    expect(lines).toEqual([
      'work (reading private): 50%, 50.0 MiB of 100 MiB, 10/20 files, 853 KiB/s, ETA 60 s; 1 of 3 done',
      'work (reading private): 50%, 50.0 MiB of 100 MiB, 10/20 files, 427 KiB/s, ETA 2 min; 1 of 3 done',
      'vault (reading private): 50%, 50.0 MiB of 100 MiB, 10/20 files, 853 KiB/s, ETA 60 s; 1 of 3 done',
    ]);
  });

  it('guesses by the snapshot before, and does not guess without one', () => {
    const { shown, clock, lines } = display('lines');
    clock.now = 60_000;
    const unknown = { ...half, totalFiles: 0, totalBytes: 0 };
    shown.show({ ...work, title: 'store' }, { ...half, bytes: 0, totalBytes: 0 });
    shown.show({ ...work, expected: { files: 12, bytes: 25 * MiB } }, unknown);
    shown.show({ ...work, title: 'new' }, unknown);
    expect(lines).toEqual([
      'store (reading private): 50%, 0 B, 10/20 files, 0 B/s, ETA 60 s',
      'work (reading private): 100%, 50.0 MiB of 25.0 MiB, 10/12 files, 853 KiB/s, ETA 0 s',
      'new (reading private):  -%, 50.0 MiB, 10 files, 853 KiB/s, ETA -',
    ]);
  });
});

describe('progress for programs', () => {
  it('is an event for each job once a second, in numbers', () => {
    const { shown, clock, events } = display('events');
    for (clock.now = 0; clock.now <= 2_000; clock.now += 100) shown.show(work, half);
    shown.finish('work');
    clock.now = 2_100;
    shown.show({ ...work, started: 2_000 }, half);
    expect(events).toHaveLength(2);
    expect(events[1]).toEqual({
      ...{ title: 'work', stage: 'reading private', share: 0.5, jobsDone: 0, jobs: 1 },
      ...half,
      bytesPerSecond: 25 * MiB,
      secondsLeft: 2,
    });
  });
});

describe('a line of a terminal', () => {
  const parts = {
    ...{ title: 'work (reading private)', share: 0.25, percent: '25%' },
    ...{ size: '12.0 MiB of 48.0 MiB', rate: '2.05 MiB/s', left: '18 s', files: '3/12 files' },
  };

  it('leaves out what does not fit, and its last columns free', () => {
    for (let columns = 1; columns <= 200; columns++) {
      expect(lineOf(parts, columns).length).toBeLessThanOrEqual(Math.max(columns - 5, 1));
      if (columns >= 80)
        expect(lineOf(parts, columns)).toContain('25%  12.0 MiB of 48.0 MiB  2.05 MiB/s  ETA 18 s');
    }
    expect(lineOf(parts, 200)).toMatch(/^work \(reading private\) {2}█{8}░{22} {3}25% .* 3\/12 files$/);
    expect(lineOf(parts, 90)).not.toContain('█');
    expect(lineOf(parts, 90)).toContain('3/12 files');
    expect(lineOf(parts, 80)).not.toContain('files');
  });
});

describe('all jobs together', () => {
  const job = (title: string, stage = 'reading private') => ({ title, stage, started: 1_000 });

  it('take what has not begun, or is of unknown size, for the mean of the others', () => {
    const total = new ProgressTotal();
    expect(total.share({ done: 0, of: 4 })).toBe(0);
    total.show(job('a'), { bytes: 10 }, undefined, 0);
    expect(total.share({ done: 0, of: 4 })).toBe(0);
    total.show(job('a'), { bytes: 50 }, 0.5, 100);
    total.show(job('b'), { bytes: 150 }, 0.5, 300);
    expect(total.share({ done: 0, of: 2 })).toBe(0.5);
    expect(total.share({ done: 0, of: 4 })).toBe(0.25);
    total.finish('b');
    expect(total.share({ done: 1, of: 2 })).toBe(350 / 400);
    expect(total.share({ done: 2, of: 3 })).toBe((350 + 200) / 600);
    total.finish('a');
    total.finish('never begun');
    expect([total.bytes, total.share({ done: 2, of: 2 }), total.seconds(3_500)]).toEqual([200, 1, 2.5]);
  });

  it('add up the stages of a job, and go back with none', () => {
    const total = new ProgressTotal();
    total.show(job('a'), { bytes: 100 }, 1, 100);
    total.show(job('a', 'reading root'), { bytes: 1 }, 0.1, 10);
    expect([total.bytes, total.share({ done: 0, of: 2 })]).toEqual([101, 0.5]);
  });
});

it.each([
  [0, '0 s'],
  [99, '99 s'],
  [99.5, '2 min'],
  [3599, '1 h 00 min'],
  [11_100, '3 h 05 min'],
])('%d seconds are %s', (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text);
});
