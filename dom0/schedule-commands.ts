/** The commands `schedule …` of the command line. */

import type { Command } from 'commander';
import { InvalidArgumentError, Option } from 'commander';
import { requireUsage } from './app.ts';
import { backup } from './commands/backup.ts';
import { check } from './commands/check.ts';
import { drill } from './commands/drill.ts';
import { forget } from './commands/forget.ts';
import { disableSchedule, enableSchedule, showSchedule } from './commands/schedule.ts';
import type { Config } from './config.ts';
import { BackupError } from '../shared/errors.ts';
import { parseVmName } from '../shared/ids.ts';
import { STATUS } from './exit-status.ts';
import type { GlobalOptions, Work } from './run.ts';
import { removeFile } from './state/files.ts';
import { parseTime, parseWeekly } from './schedule/calendar.ts';
import type { Calendar } from './schedule/calendar.ts';
import { notifyDesktops } from './schedule/desktop.ts';
import { holdOffSleep } from './schedule/inhibit.ts';
import { dueFile, readSchedule } from './schedule/schedule.ts';
import type { Schedule } from './schedule/schedule.ts';
import { Output } from './output.ts';
import { parseCount } from './drill-commands.ts';
import { parsePercent } from './percent.ts';
import { runSteps } from './steps.ts';

const HELP = `
  Writes a timer and a service of systemd: of the machine for root, else of this user. A run that was missed because the
  machine was off, or with --on-ac on battery, is made up for; it holds off sleep and shutdown while it lasts, and tries
  again after a quarter of an hour if it finds another run under way (exit status 5).

  qubes-backup schedule enable --daily 02:00 --forget --check 5%
  qubes-backup schedule enable --weekly sun,03:30 work vault`;

interface EnableOptions {
  readonly daily?: Calendar;
  readonly weekly?: Calendar;
  readonly hourly?: true;
  readonly onAc: boolean;
  readonly all: boolean;
  readonly forget: boolean;
  readonly check?: number;
  readonly drill?: number;
  readonly units?: string;
}

/** Adds them to `program`; `run` runs what one of them does. */
export function addScheduleCommands(
  program: Command,
  run: (work: Work) => Promise<void>,
  options: () => GlobalOptions,
): void {
  const schedule = program.command('schedule').description('runs that begin by themselves');
  const units = () =>
    new Option('--units <folder>', 'the units are in this folder, and nothing is told to systemd');
  schedule
    .command('enable [vm...]')
    .description('back up these VMs, or all that are included in backups, at set times')
    .option('--daily <hh:mm>', 'each day', parseDaily)
    .option('--weekly <day,hh:mm>', 'each week: mon,02:00', parseDay)
    .option('--hourly', 'each hour')
    .option('--on-ac', 'hold back a run while the machine is on battery, until it has mains power', false)
    .option('--all', 'every VM that is included in backups; this is what no name means, too', false)
    .option('--forget', 'then forget what no rule of the configuration keeps', false)
    .option('--check <percent>', 'then check the stores, and read this share of the data', parsePercent)
    .option(
      '--drill <n>',
      'then drill so many VMs, those first that were not drilled for longest',
      parseCount,
    )
    .addOption(units())
    .addHelpText('after', HELP)
    .action((vms: string[], given: EnableOptions) =>
      run((app, global) => enableSchedule(app, global, scheduleOf(vms, given), given.units)),
    );
  schedule
    .command('disable')
    .description('end that')
    .addHelpText('after', '\n  qubes-backup schedule disable')
    .addOption(units())
    .action(({ units: folder }: { units?: string }) => run((app) => disableSchedule(app, folder)));
  schedule
    .command('show')
    .description('what is scheduled, and when it runs next')
    .addHelpText('after', '\n  qubes-backup schedule show')
    .action(() =>
      run((app) => {
        showSchedule(app);
        return Promise.resolve();
      }),
    );
  schedule
    .command('run')
    .description('what the timer starts: a scheduled run, now')
    .addHelpText('after', '\n  qubes-backup schedule run')
    .action(() => runScheduled(options()));
}

async function runScheduled(options: GlobalOptions): Promise<void> {
  const output = new Output(options.json);
  const release = holdOffSleep((text) => output.note(text));
  try {
    let of: Config | undefined;
    const status = await runSteps(options, 'scheduled', (config) => {
      of = config;
      return stepsOf(config);
    });
    // One that found another run is still due.
    if (of !== undefined && status !== STATUS.busy) removeFile(dueFile(of.stateFolder));
    await notifyDesktops(of?.notify ?? 'problems', status);
  } finally {
    release();
  }
}

function stepsOf({ stateFolder }: Config): readonly Work[] {
  const found = readSchedule(stateFolder);
  if (found === undefined)
    throw new BackupError('usage', 'nothing is scheduled: "qubes-backup schedule enable" says what runs');
  const { vms, forget: forgets, check: share, drill: drills } = found;
  return [
    (app) => (vms === null ? backup(app, [], { all: true }) : backup(app, vms)),
    ...(forgets ? [(app: Parameters<Work>[0]) => forget(app, [], { rules: undefined, yes: true })] : []),
    ...(share === null ? [] : [(app: Parameters<Work>[0]) => check(app, share)]),
    ...(drills === 0 ? [] : [(app: Parameters<Work>[0]) => drill(app, [], { random: drills })]),
  ];
}

function scheduleOf(vms: readonly string[], given: EnableOptions): Schedule {
  const { daily, weekly, hourly, onAc, all, forget: forgets, check: share = null, drill: drills = 0 } = given;
  const times: Calendar[] = [
    daily,
    weekly,
    hourly === undefined ? undefined : ({ every: 'hour' } as const),
  ].filter((one) => one !== undefined);
  const [when, ...others] = times;
  requireUsage(when !== undefined && others.length === 0, 'give one of --daily, --weekly and --hourly');
  requireUsage(!(all && vms.length > 0), 'name VMs, or give --all, not both');
  const names = [...new Set(vms.map((name) => parseVmName(name)))];
  return { when, onAc, vms: names.length === 0 ? null : names, forget: forgets, check: share, drill: drills };
}

function parseDaily(text: string): Calendar {
  const time = parseTime(text);
  if (time === undefined) throw new InvalidArgumentError('give a time of day: 02:00');
  return { every: 'day', ...time };
}

function parseDay(text: string): Calendar {
  const when = parseWeekly(text);
  if (when === undefined) throw new InvalidArgumentError('give a day and a time: mon,02:00');
  return when;
}
