/** The units of systemd that start a scheduled run: systemd.service(5), systemd.timer(5). */

import { STATUS } from '../exit-status.ts';
import { onCalendar } from './calendar.ts';
import type { Schedule } from './schedule.ts';

export const SERVICE = 'qubes-backup.service';
export const TIMER = 'qubes-backup.timer';

export interface UnitOptions {
  /** The program and its arguments. */
  readonly command: readonly string[];
  /** `system`: of dom0 of Qubes OS, or of root. */
  readonly manager: 'system' | 'user';
  readonly driver: 'qubes' | 'local';
}

/**
 * Name and text of each. The run itself holds off sleep and shutdown, as it knows when it ends. A run that finds another one is started again
 * after a quarter of an hour, until that one is over; that is why its type is not oneshot, which has no such restart.
 */
export function units(
  { when, onAc }: Pick<Schedule, 'when' | 'onAc'>,
  { command, manager, driver }: UnitOptions,
): ReadonlyMap<string, string> {
  const service = [
    ...HEADER,
    '[Unit]',
    'Description=Backup of VMs (qubes-backup)',
    'Documentation=man:qubes-backup(1)',
    ...(onAc ? ['ConditionACPower=true'] : []),
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
    `OnCalendar=${onCalendar(when)}`,
    'Persistent=true',
    `RandomizedDelaySec=${when.every === 'hour' ? '5min' : '15min'}`,
    '',
    '[Install]',
    'WantedBy=timers.target',
  ];
  return new Map([
    [SERVICE, `${service.join('\n')}\n`],
    [TIMER, `${timer.join('\n')}\n`],
  ]);
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
