/** R51: when scheduled runs begin. */

import { spawnSync } from 'node:child_process';
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { WEEKDAYS, nextTime, onCalendar, parseTime, parseWeekly } from '../../dom0/schedule/calendar.ts';
import type { Calendar } from '../../dom0/schedule/calendar.ts';
import { nextRun, readSchedule, removeSchedule, writeSchedule } from '../../dom0/schedule/schedule.ts';
import { units } from '../../dom0/schedule/units.ts';
import { program, testNeeding } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';

const daily: Calendar = { every: 'day', hour: 2, minute: 30 };
const at = (text: string) => new Date(text).getTime();

const calendars = fc.oneof(
  fc.constant<Calendar>({ every: 'hour' }),
  fc.record({ every: fc.constant('day' as const), hour: fc.nat(23), minute: fc.nat(59) }),
  fc.record({
    every: fc.constant('week' as const),
    day: fc.constantFrom(...WEEKDAYS),
    hour: fc.nat(23),
    minute: fc.nat(59),
  }),
);

describe('times', () => {
  it.each<readonly [string, unknown]>([
    ['02:00', { hour: 2, minute: 0 }],
    ['7:05', { hour: 7, minute: 5 }],
    ['23:59', { hour: 23, minute: 59 }],
    ...['24:00', '2', '02:60', '02:0', '', '-1:00', '02:00:00'].map((text) => [text, undefined] as const),
  ])('of a day: %s', (text, expected) => expect(parseTime(text)).toEqual(expected));

  it.each<readonly [string, unknown]>([
    ['mon,02:00', { every: 'week', day: 'mon', hour: 2, minute: 0 }],
    ['Sunday,23:15', { every: 'week', day: 'sun', hour: 23, minute: 15 }],
    ...['02:00', 'mon', 'mo,02:00', 'mon,25:00', 'mon,02:00,03:00', ''].map(
      (text) => [text, undefined] as const,
    ),
  ])('of a week: %s', (text, expected) => expect(parseWeekly(text)).toEqual(expected));

  it('that come next', () => {
    expect(nextTime(daily, at('2026-11-03T02:29:59'))).toBe(at('2026-11-03T02:30:00'));
    expect(nextTime(daily, at('2026-11-03T02:30:00'))).toBe(at('2026-11-04T02:30:00'));
    expect(nextTime(daily, at('2026-12-31T03:00:00'))).toBe(at('2027-01-01T02:30:00'));
    expect(nextTime({ every: 'hour' }, at('2026-11-03T02:00:00'))).toBe(at('2026-11-03T03:00:00'));
    const weekly = { every: 'week', day: 'mon', hour: 2, minute: 0 } as const; // The 2nd of November 2026 is a Monday.
    expect(nextTime(weekly, at('2026-11-02T01:00:00'))).toBe(at('2026-11-02T02:00:00'));
    expect(nextTime(weekly, at('2026-11-02T02:00:00'))).toBe(at('2026-11-09T02:00:00'));
  });

  it('are after now, at the minute that was asked for, and no other is before them', () => {
    fc.assert(
      fc.property(calendars, fc.integer({ min: at('2000-01-01'), max: at('2090-01-01') }), (when, now) => {
        const next = nextTime(when, now);
        expect(next).toBeGreaterThan(now);
        expect(nextTime(when, next - 1)).toBe(next);
        const longest = when.every === 'week' ? 7 : 1;
        expect(next - now).toBeLessThanOrEqual(longest * 24 * 3_600_000 + 3_600_000);
      }),
    );
  });

  testNeeding(program('systemd-analyze'))('are those that systemd reads', () => {
    const cases: Calendar[] = [daily, { every: 'hour' }];
    for (const day of WEEKDAYS) cases.push({ every: 'week', day, hour: 5, minute: 9 });
    const now = at('2026-11-03T02:30:00Z');
    const base = `--base-time=${new Date(now).toISOString().replace(/[TZ]/g, ' ').slice(0, 19)} UTC`;
    const args = ['calendar', base, ...cases.map(onCalendar)];
    const { stdout, status } = spawnSync('systemd-analyze', args, {
      encoding: 'utf8',
      env: { ...process.env, TZ: process.env['TZ'] ?? 'UTC', LC_ALL: 'C' },
    });
    expect(status).toBe(0);
    const next = [...stdout.matchAll(/Next elapse: \w+ (\S+) (\S+) \S+/g)].map(([, date = '', time = '']) =>
      at(`${date}T${time}`),
    );
    expect(next).toEqual(cases.map((when) => nextTime(when, now)));
  });
});

describe('the state', () => {
  const schedule = { when: daily, onAc: false, vms: null, forget: true, check: 5, drill: 0 };

  it('says what runs next, and nothing where nothing is scheduled', () => {
    const folder = tempFolder();
    expect(nextRun(folder, 0)).toBeUndefined();
    writeSchedule(folder, schedule);
    expect(statSync(join(folder, 'schedule.json')).mode & 0o777).toBe(0o600);
    expect(readSchedule(folder)).toEqual(schedule);
    expect(nextRun(folder, at('2026-11-03T00:00:00'))).toBe(at('2026-11-03T02:30:00'));
    removeSchedule(folder);
    expect(nextRun(folder, 0)).toBeUndefined();
  });

  it.each([
    '',
    '{',
    '[]',
    JSON.stringify({ ...schedule, extra: 1 }),
    JSON.stringify({ ...schedule, vms: ['--all'] }),
    JSON.stringify({ ...schedule, vms: [] }),
    JSON.stringify({ ...schedule, when: { every: 'day', hour: 24, minute: 0 } }),
  ])('that is damaged is named: %j', (text) => {
    const folder = tempFolder();
    writeFileSync(join(folder, 'schedule.json'), text);
    expect(() => nextRun(folder, 0)).toThrow(expect.objectContaining({ code: 'io' }) as Error);
  });
});

describe('the units', () => {
  const hostile = [
    '/opt/a b/qubes-backup',
    '--config',
    '/etc/%h $HOME "quoted" back\\slash;#\'.toml',
    'schedule',
  ];

  it('pass arguments on to the letter', () => {
    const all = units(
      { when: daily, onAc: false },
      { command: hostile, manager: 'system', driver: 'local', dueFile: '/d' },
    );
    expect(all.get('qubes-backup.service')).toContain(
      `ExecStart="/opt/a b/qubes-backup" "--config" "/etc/%%h $$HOME \\"quoted\\" back\\\\slash;#'.toml" "schedule"\n`,
    );
  });

  it('make up for what was missed, never wake together, and heed the battery if asked', () => {
    const textOf = (onAc: boolean) =>
      units(
        { when: daily, onAc },
        { command: ['/bin/true'], manager: 'system', driver: 'qubes', dueFile: '/var/a %b' },
      );
    expect(textOf(false).get('qubes-backup.timer')).toMatch(
      /^OnCalendar=\*-\*-\* 02:30:00\nPersistent=true\nRandomizedDelaySec=15min$/m,
    );
    expect(textOf(false).get('qubes-backup.service')).not.toContain('ConditionACPower');
    expect(textOf(true).get('qubes-backup.service')).toContain('\nConditionACPower=true\n');
    expect(textOf(false).get('qubes-backup.service')).toContain('\nRestartForceExitStatus=5\n');
  });

  it('hold a run back on battery, and make up for it', () => {
    const textOf = (onAc: boolean) =>
      units(
        { when: daily, onAc },
        { command: ['/bin/true'], manager: 'system', driver: 'qubes', dueFile: '/var/a %b' },
      );
    expect([...textOf(false).keys()]).toEqual(['qubes-backup.service', 'qubes-backup.timer']);
    expect(textOf(false).get('qubes-backup.timer')).not.toContain('Unit=');
    const all = textOf(true);
    // The timer notes that a run is due, whatever the power, and has it tried; the other timer tries again.
    expect(all.get('qubes-backup.timer')).toContain('\nUnit=qubes-backup-due.service\n');
    const due = all.get('qubes-backup-due.service');
    expect(due).toMatch(/^Wants=qubes-backup.service\nBefore=qubes-backup.service$/m);
    expect(due).toContain('\nType=oneshot\nExecStart=/usr/bin/touch "/var/a %%b"\n');
    expect(due).not.toContain('Condition');
    expect(all.get('qubes-backup-retry.timer')).toContain('\nUnit=qubes-backup.service\nOnCalendar=*:0/15\n');
    expect(all.get('qubes-backup.service')).toMatch(
      /^ConditionACPower=true\nConditionPathExists=\/var\/a %%b$/m,
    );
  });

  const managers = [
    ['system', 'qubes'],
    ['system', 'local'],
    ['user', 'local'],
  ] as const;
  for (const [manager, driver] of managers)
    testNeeding(program('systemd-analyze'))(
      `are accepted by systemd-analyze verify: ${manager}, ${driver}`,
      () => {
        for (const when of [
          daily,
          { every: 'hour' },
          { every: 'week', day: 'sat', hour: 0, minute: 0 },
        ] as const) {
          const folder = join(tempFolder(), 'units');
          mkdirSync(folder);
          const all = units(
            { when, onAc: true },
            { command: ['/bin/true', '--config', '/a %b'], manager, driver, dueFile: '/var/a %b/due' },
          );
          for (const [name, text] of all) writeFileSync(join(folder, name), text);
          const files = [...all.keys()].map((name) => join(folder, name));
          const { stderr, status } = spawnSync(
            'systemd-analyze',
            ['verify', `--${manager}`, '--man=no', ...files],
            {
              encoding: 'utf8',
              env: { ...process.env, XDG_RUNTIME_DIR: folder, SYSTEMD_UNIT_PATH: `${folder}:` },
            },
          );
          // What it says of other units of this machine is not ours.
          expect(stderr.split('\n').filter((line) => line.includes('qubes-backup'))).toEqual([]);
          expect(status).toBe(0);
        }
      },
    );
});
