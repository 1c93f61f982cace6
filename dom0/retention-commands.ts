/** The command `forget` of the command line. */

import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { forget } from './commands/forget.ts';
import { keepRules } from './retention/policy.ts';
import type { KeepRules } from './retention/policy.ts';
import type { Work } from './run.ts';

interface KeepOptions {
  readonly keepLast?: number;
  readonly keepHourly?: number;
  readonly keepDaily?: number;
  readonly keepWeekly?: number;
  readonly keepMonthly?: number;
  readonly keepYearly?: number;
  readonly keepWithin?: KeepRules['within'];
  readonly keepTag?: KeepRules['tags'];
  readonly dryRun: boolean;
}

const HELP = `
  A snapshot that any rule keeps is kept. With --keep-daily 7, of each of the last 7 days that have snapshots the newest is
  kept; the other periods likewise, by the clock of this machine. The newest complete snapshot of a VM always stays.
  Without any --keep-… the rules of the configuration hold, [backup.keep], or those of a template or VM.

  qubes-backup forget --dry-run                       what the configuration would keep, and why
  qubes-backup forget work --keep-last 3 --keep-within 30d`;

/** Adds it to `program`; `run` runs what it does. */
export function addRetentionCommands(program: Command, run: (work: Work) => Promise<void>): void {
  const command = program
    .command('forget [vm...]')
    .description('drop snapshots that no rule keeps, of the named VMs or of all');
  for (const period of ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const) {
    const what = period === 'last' ? 'the newest N' : `the newest of each of the last N ${UNITS[period]}`;
    command.option(`--keep-${period} <n>`, `keep ${what}`, parseRule(period));
  }
  command
    .option(
      '--keep-within <time>',
      'keep all that are no older than the newest by 30d, 1y6m, 12h',
      parseRule('within'),
    )
    .option(
      '--keep-tag <tags>',
      'keep all with this tag, of "a,b" with both; may be given several times',
      (text: string, earlier?: KeepRules['tags']) => [...(earlier ?? []), ...parseRule('tags')(text)],
    )
    .option('--dry-run', 'only say what would be forgotten', false)
    .addHelpText('after', HELP)
    .action((vms: string[], { dryRun, ...keep }: KeepOptions) =>
      run((app, { yes }) => forget(app, vms, { rules: rulesOf(keep), dryRun, yes })),
    );
}

const UNITS = {
  hourly: 'hours',
  daily: 'days',
  weekly: 'weeks',
  monthly: 'months',
  yearly: 'years',
} as const;

const WANTED: Readonly<Partial<Record<keyof KeepRules, string>>> = {
  within: 'give a time such as 30d, 1y6m, 12h',
  tags: 'give a tag, or several with commas between',
};

function parseRule<R extends keyof KeepRules>(rule: R) {
  return (text: string): NonNullable<KeepRules[R]> => {
    const value =
      rule === 'within'
        ? text
        : rule === 'tags'
          ? [text]
          : /^\d{1,6}$/.test(text)
            ? Number(text)
            : Number.NaN;
    const parsed = keepRules.shape[rule].safeParse(value);
    if (parsed.success && parsed.data !== undefined) return parsed.data as NonNullable<KeepRules[R]>;
    throw new InvalidArgumentError(WANTED[rule] ?? 'give a number from 1 on');
  };
}

/** Undefined if no option says what to keep. */
function rulesOf(keep: Omit<KeepOptions, 'dryRun'>): KeepRules | undefined {
  const rules = {
    last: keep.keepLast,
    hourly: keep.keepHourly,
    daily: keep.keepDaily,
    weekly: keep.keepWeekly,
    monthly: keep.keepMonthly,
    yearly: keep.keepYearly,
    within: keep.keepWithin,
    tags: keep.keepTag,
  };
  return Object.values(rules).some((rule) => rule !== undefined) ? rules : undefined;
}
