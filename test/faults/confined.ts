/** Less than a process of dom0 is used to: memory, descriptors, room. What it is started by, and what a machine needs for that. */

import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { spawnSync } from 'node:child_process';
import { isInstalled } from '../support/needs.ts';
import type { Missing } from '../support/needs.ts';
import type { Condition, How } from './plan.ts';

export interface Confinement {
  /** What the command of the process comes after. */
  readonly prefix: readonly string[];
  /** A file that takes the numbers of processes that are not to be confined. */
  readonly outside?: string;
  /** To be called once the process is gone. */
  readonly end?: () => void;
}

const FREE: Confinement = { prefix: [] };

/** Bytes. */
const MEMORY = 300 * 2 ** 20;

/** Which folder of a home is another one for the time of a run, and how. */
const PLACES: Partial<Record<How, readonly [folder: string, how: 'full' | 'read-only']>> = {
  'full-state': ['state', 'full'],
  'read-only-state': ['state', 'read-only'],
  'full-storage': ['storage/main', 'full'],
  'read-only-storage': ['storage/main', 'read-only'],
};

export function confine(how: How, home: string): Confinement {
  const place = PLACES[how];
  if (place !== undefined)
    return { prefix: [...NAMESPACE(), 'sh', '-c', PLACED, 'sh', join(home, place[0]), place[1]] };
  if (how === '64-descriptors') return { prefix: ['bash', '-c', FEW, 'bash'] };
  return how === '300-MiB' ? confineMemory() : FREE;
}

/** Why the machine, or this user, cannot have processes confined so. */
export function cannot(how: Condition): Missing {
  if (how === '64-descriptors') return isInstalled('bash') ? undefined : 'bash is not installed';
  if (how === '300-MiB')
    return memoryGroup() === undefined ? 'no memory cgroup that this user may use' : undefined;
  if (PLACES[how] === undefined) return undefined;
  const [command, ...args] = NAMESPACE();
  return spawnSync(command, [...args, 'true'], { stdio: 'ignore' }).status === 0
    ? undefined
    : 'no mount namespaces';
}

/** Of mounts, which only those in it see. */
const NAMESPACE = (): readonly [string, ...string[]] => [
  'unshare',
  ...['--mount', '--propagation', 'private'],
  ...(process.getuid?.() === 0 ? [] : ['--map-root-user']),
];

/** `PLACE full|read-only COMMAND...`: runs the command while the folder is so, and keeps what came of it. */
const PLACED = `
place=$1 how=$2; shift 2
mkdir -p "$place" || exit 99
if [ "$how" = read-only ]; then
  mount --bind "$place" "$place" && mount -o remount,bind,ro "$place" || exit 99
  exec "$@"
fi
other="$place.other"
mkdir "$other" && mount -t tmpfs -o size=256m none "$other" && cp -a "$place/." "$other" || exit 99
dd if=/dev/zero of="$other/filler" bs=65536 2>/dev/null
dd if=/dev/zero of="$other/filler" bs=1 count=65536 oflag=append conv=notrunc 2>/dev/null
cd /
mount --bind "$other" "$place" || exit 99
"$@"
status=$?
rm "$place/filler"
umount "$place" && find "$place" -mindepth 1 -delete && cp -a "$other/." "$place" || exit 99
umount "$other" && rmdir "$other" || exit 99
exit $status
`;

/** `COMMAND...`: without what the machine that runs the tests left open, which may be beyond the limit. */
const FEW =
  'for n in $(ls /proc/self/fd); do [ "$n" -lt 3 ] || eval "exec $n>&-"; done; ulimit -n 64; exec "$@"';

function confineMemory(): Confinement {
  const parent = memoryGroup();
  if (parent === undefined) throw new Error('no memory cgroup');
  const { folder, limits } = parent;
  const group = join(folder, `qib-faults-${process.pid}`);
  mkdirSync(group);
  for (const limit of limits) writeFileSync(join(group, limit), String(MEMORY));
  return {
    prefix: ['sh', '-c', 'echo $$ >"$0" && exec "$@"', join(group, 'cgroup.procs')],
    outside: join(folder, 'cgroup.procs'),
    end: () => rmdirSync(group),
  };
}

/** The group of this process, in which it may make others, and how their memory is limited; in either form that Linux has. */
function memoryGroup(): { readonly folder: string; readonly limits: readonly string[] } | undefined {
  const own = readFileSync('/proc/self/cgroup', 'utf8');
  const [, first] = /^\d+:memory:(.*)$/m.exec(own) ?? [];
  const [, second] = /^0::(.*)$/m.exec(own) ?? [];
  const found =
    first === undefined
      ? { folder: join('/sys/fs/cgroup', second ?? '/'), limits: ['memory.max'] }
      : { folder: join('/sys/fs/cgroup/memory', first), limits: ['memory.limit_in_bytes'] };
  const probe = join(found.folder, `qib-probe-${process.pid}`);
  try {
    mkdirSync(probe);
    try {
      for (const limit of found.limits) writeFileSync(join(probe, limit), String(MEMORY));
    } finally {
      rmdirSync(probe);
    }
    return found;
  } catch {
    return undefined;
  }
}
