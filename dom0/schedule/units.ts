/** The units of systemd that start a scheduled run: systemd.service(5), systemd.timer(5). */

import { STATUS } from '../exit-status.ts';
import { onCalendar } from './calendar.ts';
import type { Schedule } from './schedule.ts';

export const SERVICE = 'qubes-backup.service';
export const TIMER = 'qubes-backup.timer';
/** Only of a schedule that heeds the battery: what notes that a run is due, and what begins it once the machine has mains power. */
export const DUE_SERVICE = 'qubes-backup-due.service';
export const RETRY_TIMER = 'qubes-backup-retry.timer';
export const ALL_UNITS = [TIMER, RETRY_TIMER, SERVICE, DUE_SERVICE] as const;

export interface UnitOptions {
  /** The program and its arguments. */
  readonly command: readonly string[];
  /** `system`: of dom0 of Qubes OS, or of root. */
  readonly manager: 'system' | 'user';
  readonly driver: 'qubes' | 'local';
  /** The file that is there while a run is due. An absolute path. */
  readonly dueFile: string;
}

/**
 * Name and text of each. The run itself holds off sleep and shutdown, as it knows when it ends. A run that finds another one is started again
 * after a quarter of an hour, until that one is over; that is why its type is not oneshot, which has no such restart.
 *
 * Where the battery is heeded, the timer of the schedule only notes that a run is due, in a file that outlives a reboot. The service has
 * that file and mains power as its conditions; it is tried at once, and each quarter of an hour. The run removes the file when it ends.
 */
export function units(
  { when, onAc }: Pick<Schedule, 'when' | 'onAc'>,
  { command, manager, driver, dueFile }: UnitOptions,
): ReadonlyMap<string, string> {
  const service = [
    ...HEADER,
    '[Unit]',
    'Description=Backup of VMs (qubes-backup)',
    'Documentation=man:qubes-backup(1)',
    ...(onAc ? ['ConditionACPower=true', `ConditionPathExists=${dueFile.replaceAll('%', '%%')}`] : []),
    '',
    '[Service]',
    'Type=exec',
    `ExecStart=${command.map(quoted).join(' ')}`,
    `RestartForceExitStatus=${STATUS.busy}`,
    'RestartSec=15min',
    'KillMode=mixed',
    'TimeoutStopSec=5min',
    'Nice=10',
    'IOSchedulingPriority=7',
    'KeyringMode=shared',
    'LimitCORE=0',
    'UMask=0077',
    // As little as this, because a run mounts, makes devices and namespaces, sets owners, and starts what the owner put into hooks.
    ...(manager === 'system'
      ? ['LockPersonality=yes', 'RestrictRealtime=yes', 'SystemCallArchitectures=native']
      : []),
    ...(driver === 'qubes' ? ['RestrictAddressFamilies=AF_UNIX AF_NETLINK'] : []),
  ];
  const timer = [
    ...HEADER,
    '[Unit]',
    'Description=Times of backups of VMs (qubes-backup)',
    'Documentation=man:qubes-backup(1)',
    '',
    '[Timer]',
    ...(onAc ? [`Unit=${DUE_SERVICE}`] : []),
    `OnCalendar=${onCalendar(when)}`,
    'Persistent=true',
    `RandomizedDelaySec=${when.every === 'hour' ? '5min' : '15min'}`,
    '',
    '[Install]',
    'WantedBy=timers.target',
  ];
  const all: [string, readonly string[]][] = [
    [SERVICE, service],
    [TIMER, timer],
    ...(onAc ? catchingUp(dueFile) : []),
  ];
  return new Map(all.map(([name, lines]) => [name, `${lines.join('\n')}\n`]));
}

/** The units that make up for a run that was due while the machine was on battery. */
function catchingUp(dueFile: string): [string, readonly string[]][] {
  const due = [
    ...HEADER,
    '[Unit]',
    'Description=A backup of VMs is due (qubes-backup)',
    'Documentation=man:qubes-backup(1)',
    `Wants=${SERVICE}`,
    `Before=${SERVICE}`,
    '',
    '[Service]',
    'Type=oneshot',
    `ExecStart=/usr/bin/touch ${quoted(dueFile)}`,
    'UMask=0077',
  ];
  const retry = [
    ...HEADER,
    '[Unit]',
    'Description=Backups of VMs that wait for mains power (qubes-backup)',
    'Documentation=man:qubes-backup(1)',
    '',
    '[Timer]',
    `Unit=${SERVICE}`,
    'OnCalendar=*:0/15',
    '',
    '[Install]',
    'WantedBy=timers.target',
  ];
  return [
    [DUE_SERVICE, due],
    [RETRY_TIMER, retry],
  ];
}

const HEADER = ['# Written by "qubes-backup schedule enable"; "qubes-backup schedule disable" removes it.'];

/** One argument of ExecStart=, taken to the letter: systemd.service(5), "Command lines", and systemd.unit(5), "Specifiers". */
function quoted(argument: string): string {
  const escaped = argument
    .replace(/[\\"]/g, '\\$&')
    .replaceAll('\n', '\\n')
    .replaceAll('%', '%%')
    .replaceAll('$', '$$$$');
  return `"${escaped}"`;
}
