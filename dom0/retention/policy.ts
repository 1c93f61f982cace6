/**
 * Which snapshots are kept. Each rule looks at them alone, newest first, and a snapshot that any rule keeps is kept; the rules are
 * those of `restic forget` (restic's manual, "Removing snapshots according to a policy"), times those of the local calendar.
 */

import * as z from 'zod';
import { MAX_TAGS } from '../../shared/limits.ts';
import { tag } from '../repository/records.ts';
import { before, duration } from './duration.ts';
import { settleTimes } from './settled-times.ts';

/** Milliseconds that a clock may differ from another one that is right. */
const DAY = 86_400_000;

/** `a,b`: both tags. */
export const tagList = z
  .string()
  .transform((text) => text.split(','))
  .pipe(z.array(tag).min(1).max(MAX_TAGS));

const amount = (of: string) =>
  z
    .int()
    .min(1)
    .max(100_000)
    .optional()
    .meta({ description: `How many ${of}.`, examples: [7] });

/** `keep-last 3`: the three newest; `keep-daily 7`: of each of the last seven days that have any, the newest; and so on. */
export const keepRules = z.strictObject({
  last: amount('of the newest snapshots are kept'),
  hourly: amount('hours that have snapshots keep their newest'),
  daily: amount('days that have snapshots keep their newest'),
  weekly: amount('weeks, from Monday, that have snapshots keep their newest'),
  monthly: amount('months that have snapshots keep their newest'),
  yearly: amount('years that have snapshots keep their newest'),
  within: duration.optional().meta({
    description: 'All are kept that are no older than the newest by this: years, months, days, hours.',
    examples: ['30d', '1y6m'],
  }),
  tags: z
    .array(tagList)
    .min(1)
    .max(100)
    .optional()
    .meta({
      description: 'All are kept that have one of these tags; of "a,b" both.',
      examples: [['before-upgrade', 'yearly,important']],
    }),
});
export type KeepRules = z.output<typeof keepRules>;

/** What a rule is told of a snapshot. */
export interface Candidate {
  readonly number: number;
  /** Milliseconds since 1970. */
  readonly takenAt: number;
  /** Of an interrupted run: the next one takes its place. */
  readonly partial: boolean;
  /** A VM asked for it. */
  readonly requested: boolean;
  readonly tags: readonly string[];
}

export interface Decision<C extends Candidate = Candidate> {
  readonly snapshot: C;
  /** Why it is kept; empty if it is not. */
  readonly reasons: readonly string[];
}

/** Which period a snapshot is of: two of the same period have the same text. */
type Period = (time: Date, candidate: Candidate) => string;

const PERIODS: Readonly<Record<Exclude<keyof KeepRules, 'within' | 'tags'>, Period>> = {
  last: (_, { number }) => String(number),
  hourly: (time) => `${dayOf(time)} ${time.getHours()}`,
  daily: dayOf,
  weekly: weekOf,
  monthly: (time) => `${time.getFullYear()}-${time.getMonth()}`,
  yearly: (time) => String(time.getFullYear()),
};

/**
 * What becomes of each snapshot of one VM; the answer is in the order of `snapshots`, which is from the oldest to the newest, by their
 * numbers: a clock may have been wrong. The newest complete one is kept whatever the rules say, and so is a partial one, which no rule
 * counts. Those that a VM asked for are counted apart from the owner's, so that none of his goes because a VM asks often. `now`:
 * milliseconds since 1970.
 */
export function decide<C extends Candidate>(
  snapshots: readonly C[],
  rules: KeepRules,
  now = Infinity,
): Decision<C>[] {
  const complete = snapshots.filter(({ partial }) => !partial).sort((a, b) => b.number - a.number);
  const times = settleTimes([...complete].reverse(), now + DAY);
  const reasons = new Map<C, string[]>(snapshots.map((snapshot) => [snapshot, []]));
  const keep = (snapshot: C | undefined, why: string) => snapshot && reasons.get(snapshot)?.push(why);
  for (const partial of snapshots.filter((snapshot) => snapshot.partial)) keep(partial, 'unfinished');
  for (const asked of [false, true])
    applyRules(
      complete.filter(({ requested }) => requested === asked),
      rules,
      (snapshot) => times.get(snapshot) ?? snapshot.takenAt,
      (snapshot, why) => keep(snapshot, asked ? `requested, ${why}` : why),
    );
  const [newest] = complete;
  if (newest !== undefined && reasons.get(newest)?.length === 0) keep(newest, 'newest');
  return snapshots.map((snapshot) => ({ snapshot, reasons: reasons.get(snapshot) ?? [] }));
}

function applyRules<C extends Candidate>(
  newestFirst: readonly C[],
  rules: KeepRules,
  timeOf: (snapshot: C) => number,
  keep: (snapshot: C, why: string) => void,
): void {
  for (const rule of Object.keys(PERIODS) as (keyof typeof PERIODS)[])
    keepByPeriod(newestFirst, rule, rules[rule] ?? 0, keep);
  const [newest] = newestFirst;
  if (newest !== undefined && rules.within !== undefined) {
    const limit = before(timeOf(newest), rules.within);
    for (const snapshot of newestFirst) if (timeOf(snapshot) >= limit) keep(snapshot, 'within');
  }
  for (const snapshot of newestFirst) {
    const list = rules.tags?.find((tags) => tags.every((text) => snapshot.tags.includes(text)));
    if (list !== undefined) keep(snapshot, `tag ${list.join(',')}`);
  }
}

/** While there are fewer periods than are to be kept, the oldest snapshot of all stays, so that history grows to its length. */
function keepByPeriod<C extends Candidate>(
  newestFirst: readonly C[],
  rule: keyof typeof PERIODS,
  wanted: number,
  keep: (snapshot: C, why: string) => void,
): void {
  const seen = new Set<string>();
  let left = wanted;
  for (const [at, snapshot] of newestFirst.entries()) {
    if (left === 0) return;
    const period = PERIODS[rule](new Date(snapshot.takenAt), snapshot);
    const isOldest = at === newestFirst.length - 1;
    if (seen.has(period) && !isOldest) continue;
    keep(snapshot, seen.has(period) ? `oldest, ${rule}` : rule);
    seen.add(period);
    left -= 1;
  }
}

function dayOf(time: Date): string {
  return `${time.getFullYear()}-${time.getMonth()}-${time.getDate()}`;
}

/** The week of ISO 8601: it begins on Monday and belongs to the year of its Thursday. */
function weekOf(time: Date): string {
  const thursday = new Date(
    time.getFullYear(),
    time.getMonth(),
    time.getDate() + 4 - (time.getDay() || 7),
    12,
  );
  const newYear = new Date(thursday.getFullYear(), 0, 1, 12);
  const week = 1 + Math.floor(Math.round((thursday.getTime() - newYear.getTime()) / 86_400_000) / 7);
  return `${thursday.getFullYear()}-W${week}`;
}
