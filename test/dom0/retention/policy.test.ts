/** R53: which snapshots the rules keep, as restic's manual says it, by the clock of a time zone. */

import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { duration } from '../../../dom0/retention/duration.ts';
import { decide, keepRules } from '../../../dom0/retention/policy.ts';
import type { Candidate, KeepRules } from '../../../dom0/retention/policy.ts';

const zone = process.env['TZ'];
process.env['TZ'] = 'Europe/Berlin'; // Before the first time below is read.
afterAll(() => {
  if (zone === undefined) delete process.env['TZ'];
  else process.env['TZ'] = zone;
});

const OWN = { partial: false, requested: false, tags: [] };

/** Snapshots of these local times, numbered from 1 on, given from the oldest to the newest. */
function taken(...times: string[]): Candidate[] {
  return times.map((time, index) => ({
    number: index + 1,
    takenAt: new Date(time).getTime(),
    ...OWN,
  }));
}

function kept(snapshots: readonly Candidate[], rules: KeepRules): number[] {
  return decide(snapshots, rules)
    .filter(({ reasons }) => reasons.length > 0)
    .map(({ snapshot }) => snapshot.number);
}

const within = (text: string): KeepRules => ({ within: duration.parse(text) });

/** One an hour, with these tags. */
function marked(...tags: string[]): Candidate[] {
  return tags.map((text, hour) => ({
    ...OWN,
    number: hour + 1,
    takenAt: Date.UTC(2026, 0, 5, hour),
    tags: text === '' ? [] : text.split(' '),
  }));
}

/** One an hour; of 1 a VM asked for it. */
function asked(...requested: (0 | 1)[]): Candidate[] {
  return marked(...requested.map(() => '')).map((each, i) => ({ ...each, requested: requested[i] === 1 }));
}

/** Two a day for ten days, at 8 and at 20 o'clock. */
const TEN_DAYS = taken(
  ...Array.from({ length: 10 }, (_, day) =>
    [8, 20].map((hour) => new Date(2026, 0, day + 5, hour).toISOString()),
  ).flat(),
);

/** What is asked, of which snapshots, and the numbers of those that stay. */
const CASES: readonly (readonly [string, readonly Candidate[], KeepRules, readonly number[]])[] = [
  ['nothing: the newest stays', TEN_DAYS, {}, [20]],
  ['the newest three', TEN_DAYS, { last: 3 }, [18, 19, 20]],
  ['more than there are', TEN_DAYS, { last: 100 }, TEN_DAYS.map(({ number }) => number)],
  ['the newest of each of three days', TEN_DAYS, { daily: 3 }, [16, 18, 20]],
  ['the newest of each of two weeks, of which the second is not over', TEN_DAYS, { weekly: 2 }, [14, 20]],
  ['weeks that are fewer than asked for: the oldest stays as well', TEN_DAYS, { weekly: 3 }, [1, 14, 20]],
  ['a month: the oldest stays while two are asked for', TEN_DAYS, { monthly: 2 }, [1, 20]],
  ['what any rule keeps', TEN_DAYS, { last: 2, daily: 3, weekly: 2 }, [14, 16, 18, 19, 20]],
  [
    'days without a snapshot do not count',
    taken('2026-01-01T10:00', '2026-03-01T10:00', '2026-03-01T11:00', '2026-06-01T10:00'),
    { daily: 2 },
    [3, 4],
  ],
  [
    'the year of a week is that of its Thursday',
    taken('2026-12-27T12:00', '2026-12-28T12:00', '2026-12-31T12:00', '2027-01-03T12:00', '2027-01-04T12:00'),
    { weekly: 2 },
    [4, 5],
  ],
  [
    'years',
    taken('2023-05-01T00:00', '2024-12-31T23:59:59', '2025-01-01T00:00', '2026-01-01T00:00'),
    { yearly: 3 },
    [2, 3, 4],
  ],
  [
    'the hour that a clock repeats in autumn is one',
    taken('2026-10-25T00:30:00Z', '2026-10-25T01:30:00Z', '2026-10-25T02:30:00Z', '2026-10-25T03:30:00Z'),
    { hourly: 2 },
    [3, 4],
  ],
  [
    'a day of summer time has 23 hours',
    taken('2026-03-28T23:30:00Z', '2026-03-29T21:30:00Z', '2026-03-29T22:30:00Z'),
    { daily: 2 },
    [2, 3],
  ],
  [
    'of two of the same second the later number is the newer',
    taken('2026-01-01T10:00', '2026-01-01T10:00', '2026-01-01T10:00'),
    { last: 1, hourly: 1 },
    [3],
  ],
  [
    'a clock that was set back: what was taken last is the newest',
    taken('2026-01-03T10:00', '2026-01-01T10:00', '2026-01-02T10:00'),
    { last: 1 },
    [3],
  ],
  [
    'one by a clock ten years ahead drops no other',
    taken('2026-01-01T10:00', '2036-01-02T10:00', '2026-01-03T10:00', '2026-01-04T10:00'),
    within('10d'),
    [1, 2, 3, 4],
  ],
  [
    'nor does it stay for ten years',
    taken('2026-01-01T10:00', '2036-01-02T10:00', '2026-01-03T10:00', '2026-01-20T10:00'),
    within('10d'),
    [4],
  ],
  [
    'one by a clock a year behind counts as taken with the one before it',
    taken('2026-01-01T10:00', '2026-01-02T10:00', '2025-01-03T10:00', '2026-01-04T10:00'),
    within('2d'),
    [2, 3, 4],
  ],
  [
    'a day with one of a wrong clock between its others is one day',
    taken('2026-01-01T08:00', '2036-01-01T09:00', '2026-01-01T10:00', '2026-01-02T10:00'),
    { daily: 3 },
    [2, 3, 4],
  ],
  [
    'ten days before the newest, to the second',
    taken('2026-01-01T09:59:59', '2026-01-01T10:00', '2026-01-11T10:00'),
    within('10d'),
    [2, 3],
  ],
  [
    'a month is one of the calendar',
    taken('2026-02-28T10:00', '2026-03-01T10:00', '2026-03-31T10:00'),
    within('1m'),
    [3],
  ],
  [
    'hours are of 60 minutes, in spring as well',
    taken('2026-03-29T00:59:00Z', '2026-03-29T01:00:00Z', '2026-03-29T03:00:00Z'),
    within('2h'),
    [2, 3],
  ],
  ['a tag', marked('a', '', 'b a', ''), { tags: [['a']] }, [1, 3, 4]],
  ['both tags', marked('a', 'b', 'b a', ''), { tags: [['a', 'b']] }, [3, 4]],
  ['either tag', marked('a', 'b', '', ''), { tags: [['a'], ['b']] }, [1, 2, 4]],
  ['no such tag: the newest stays', marked('a', 'b'), { tags: [['c']] }, [2]],
  [
    'a tag beside a rule, which counts what has the tag as well',
    marked('a', '', 'a', ''),
    { last: 2, tags: [['a']] },
    [1, 3, 4],
  ],
  ['what VMs asked for is counted apart', asked(1, 0, 0, 1, 1, 1), { last: 2 }, [2, 3, 5, 6]],
  ['also where it alone is new', asked(0, 1, 1, 1), { daily: 1 }, [1, 4]],
  ['and has a newest of its own for a time', asked(0, 0, 1, 1), within('1h'), [1, 2, 3, 4]],
  ['a time beside a rule', TEN_DAYS, { last: 1, ...within('24h') }, [18, 19, 20]],
];

const NEW_YORK = 'America/New_York';

/** The same by the clocks of other zones: what a rule calls an hour, a day or a week is the owner's. */
const ZONES: readonly (readonly [string, string, readonly string[], KeepRules, readonly number[]])[] = [
  [
    NEW_YORK,
    'the hour that is repeated in autumn is one, an hour of UTC apart',
    ['2026-11-01T04:30Z', '2026-11-01T05:30Z', '2026-11-01T06:30Z', '2026-11-01T07:30Z'],
    { hourly: 3 },
    [1, 3, 4],
  ],
  [
    NEW_YORK,
    'the hour that is left out in spring is none',
    ['2026-03-08T05:30Z', '2026-03-08T06:30Z', '2026-03-08T07:30Z', '2026-03-08T08:30Z'],
    { hourly: 3 },
    [2, 3, 4],
  ],
  [
    NEW_YORK,
    'a day before, over the spring, is 23 hours',
    ['2026-03-07T15:59:59Z', '2026-03-07T16:00Z', '2026-03-08T15:00Z'],
    within('1d'),
    [2, 3],
  ],
  [
    'Asia/Kathmandu',
    'a day begins where it begins, a quarter of an hour off',
    ['2026-05-01T18:14:59Z', '2026-05-01T18:15:00Z', '2026-05-02T18:14:59Z', '2026-05-02T18:15:00Z'],
    { daily: 3 },
    [1, 3, 4],
  ],
  [
    'Australia/Lord_Howe',
    'a clock that is set back by half an hour repeats half of one',
    ['2026-04-04T14:45Z', '2026-04-04T15:15Z', '2026-04-04T15:45Z'],
    { hourly: 2 },
    [2, 3],
  ],
  [
    'Pacific/Apia',
    'a day that a country left out is none',
    ['2011-12-30T09:00Z', '2011-12-30T10:00Z', '2011-12-31T11:00Z'],
    { daily: 3 },
    [1, 2, 3],
  ],
  [
    'Pacific/Kiritimati',
    'a week begins on Monday there, on Sunday elsewhere',
    ['2026-01-04T09:59Z', '2026-01-04T10:00Z', '2026-01-11T09:59Z', '2026-01-11T10:00Z'],
    { weekly: 3 },
    [1, 3, 4],
  ],
  [
    'Pacific/Pago_Pago',
    'a year ends there when it has begun elsewhere',
    ['2026-01-01T10:59Z', '2026-01-01T11:00Z', '2027-01-01T10:59Z'],
    { yearly: 2 },
    [1, 3],
  ],
  [
    'UTC',
    'snapshots of one second: each is one of the newest, and all are of one hour, day, week, month and year',
    ['2026-06-01T00:00Z', '2026-06-01T00:00Z', '2026-06-01T00:00Z', '2026-06-01T00:00Z'],
    { last: 2, hourly: 1, daily: 1, weekly: 1, monthly: 1, yearly: 1 },
    [3, 4],
  ],
  [
    'UTC',
    'of one second, while more days are asked for than there are: the newest and the oldest',
    ['2026-06-01T00:00Z', '2026-06-01T00:00Z', '2026-06-01T00:00Z'],
    { daily: 2 },
    [1, 3],
  ],
  [
    'UTC',
    'of one second, and as old as may be',
    ['2026-06-01T00:00Z', '2026-06-01T00:00Z', '2026-06-02T00:00Z'],
    within('1d'),
    [1, 2, 3],
  ],
];

describe('R53: by the clock of', () => {
  it.each(ZONES)('%s: %s', (place, _, times, rules, expected) => {
    process.env['TZ'] = place;
    try {
      expect(kept(taken(...times), rules)).toEqual(expected);
    } finally {
      process.env['TZ'] = 'Europe/Berlin';
    }
  });
});

describe('R53: rules of what is kept', () => {
  it.each(CASES)('%s', (_, snapshots, rules, expected) => {
    expect(kept(snapshots, rules)).toEqual(expected);
  });

  it('a partial snapshot stays, counts for no rule, and is not the newest good one', () => {
    const snapshots = [
      ...taken('2026-01-01T10:00', '2026-01-02T10:00'),
      { ...OWN, number: 3, takenAt: Date.parse('2026-01-03'), partial: true },
    ];
    expect(decide(snapshots, { last: 1 }).map(({ reasons }) => reasons)).toEqual([
      [],
      ['last'],
      ['unfinished'],
    ]);
    expect(decide(snapshots, {}).map(({ reasons }) => reasons)).toEqual([[], ['newest'], ['unfinished']]);
    expect(decide([], { last: 1 })).toEqual([]);
  });

  it('every reason is told', () => {
    const reasons = decide(taken('2026-01-01T10:00', '2026-01-02T10:00'), {
      last: 1,
      daily: 3,
      ...within('1h'),
    });
    expect(reasons.map((decision) => decision.reasons)).toEqual([['daily'], ['last', 'daily', 'within']]);
    const oldest = decide(taken('2026-01-01T10:00', '2026-01-01T11:00'), { daily: 2 });
    expect(oldest.map((decision) => decision.reasons)).toEqual([['oldest, daily'], ['daily']]);
  });

  it('keeping more never keeps less, and the newest stays whatever is asked', () => {
    const times = fc.array(fc.integer({ min: 1.6e9, max: 1.9e9 }), { minLength: 1, maxLength: 60 });
    const amounts = fc.record(
      Object.fromEntries(
        ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'].map((rule) => [
          rule,
          fc.integer({ min: 0, max: 12 }),
        ]),
      ),
    );
    const tagLists = fc.array(fc.subarray(['a', 'b', 'c'], { minLength: 1 }), { maxLength: 2 });
    const days = fc.integer({ min: 0, max: 3_000 });
    const daysOf = (count: number) => ({ years: 0, months: 0, days: count, hours: 1 });
    const rules = (from: Record<string, number>) =>
      Object.fromEntries(Object.entries(from).filter(([, n]) => n > 0)) as KeepRules;
    fc.assert(
      fc.property(times, amounts, amounts, tagLists, tagLists, days, days, (...given) => {
        const [seconds, less, more, tags, moreTags, some, further] = given;
        const fewRules = { ...rules(less), tags, within: daysOf(some) };
        const snapshots = seconds
          .sort((a, b) => a - b)
          .map((second, i) => ({
            ...{ number: i + 1, takenAt: second * 1000, partial: false },
            requested: second % 3 === 0,
            tags: ['a', 'b', 'c'].filter((_, bit) => (second >> bit) % 2 === 1),
          }));
        const few = kept(snapshots, fewRules);
        const sum = Object.entries(less).map(([rule, n]) => [rule, n + (more[rule] ?? 0)]);
        const many = kept(snapshots, {
          ...rules(Object.fromEntries(sum) as Record<string, number>),
          tags: [...tags, ...moreTags],
          within: daysOf(some + further),
        });
        // None of the owner's is dropped because of what VMs asked for, but for the newest of all.
        const own = snapshots.filter(({ requested }) => !requested);
        expect(few).toEqual(expect.arrayContaining(kept(own, fewRules).slice(0, -1)));
        expect(many).toEqual(expect.arrayContaining(few));
        expect(few).toContain(snapshots.length);
      }),
      { numRuns: 300 },
    );
  });

  it.each(['', '30', 'd', '3d2y', '1w', '-1d', '0d', '1d 2h', '99999y'])('%j is no time', (text) => {
    expect(duration.safeParse(text).success).toBe(false);
  });

  it.each([{ last: 0 }, { last: 1.5 }, { lasts: 1 }, { daily: '7' }, { within: '' }])(
    '%j is no rule',
    (rules) => {
      expect(keepRules.safeParse(rules).success).toBe(false);
    },
  );
});

describe('a clock that was wrong', () => {
  it('does not make the newest snapshot a time to come, beside which all others are old', () => {
    const snapshots = taken('2026-01-01T10:00', '2026-01-02T10:00', '2036-01-03T10:00');
    const keptAt = (now: string) =>
      decide(snapshots, within('10d'), new Date(now).getTime())
        .filter(({ reasons }) => reasons.length > 0)
        .map(({ snapshot }) => snapshot.number);
    expect(keptAt('2026-01-03T12:00')).toEqual([1, 2, 3]);
    expect(keptAt('2036-01-03T12:00')).toEqual([3]); // Nothing tells that from a machine that was off.
    expect(keptAt('2025-01-03T12:00')).toEqual([3]); // No time is right by this clock.
  });

  it('never drops the newest, whatever the times are', () => {
    const times = fc.array(fc.integer({ min: 0, max: 4e12 }), { minLength: 1, maxLength: 30 });
    const someRules = fc.record({
      last: fc.integer({ min: 1, max: 3 }),
      daily: fc.integer({ min: 1, max: 9 }),
    });
    fc.assert(
      fc.property(times, someRules, fc.integer({ min: 0, max: 4e12 }), (takenAt, rules, now) => {
        const snapshots = takenAt.map((at, index) => ({ ...OWN, number: index + 1, takenAt: at }));
        for (const own of [rules, { ...rules, ...within('30d') }])
          expect(decide(snapshots, own, now).at(-1)?.reasons).not.toEqual([]);
      }),
      { numRuns: 300 },
    );
  });
});
