/**
 * How often a VM may ask, remembered in dom0's state. Time is the machine's uptime, summed over its boots: the wall clock, which
 * dom0 of Qubes OS takes from a VM, can neither let anything through nor keep anything out. No VM starts the machine, so each start
 * counts as some hours more, for the time that it was off.
 *
 * Each pair of a VM and a kind is one number: the age at which its whole allowance is back (the generic cell rate algorithm).
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { BackupError, messageOf } from '../../shared/errors.ts';
import type { VmName } from '../../shared/ids.ts';
import { MAX_VMS } from '../../shared/limits.ts';
import { readChecked, writeChecked } from '../state/checked-file.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
/** What a start of the machine counts as, in milliseconds. */
const OFF = 6 * HOUR;

/** So many at once, and then one each `every` milliseconds. */
export const ALLOWANCES = {
  /** A snapshot of the VM that asks. */
  backup: { burst: 4, every: 6 * HOUR },
  /** A list of its snapshots, or some of its files. */
  read: { burst: 12, every: 10 * MINUTE },
  /** Backups of others, by a VM that the policy lets start them. */
  start: { burst: 12, every: 2 * HOUR },
} as const;
export type RateKind = keyof typeof ALLOWANCES;

/** Time that nobody sets. */
export interface Uptime {
  /** Another one after each start of the machine. */
  readonly boot: string;
  /** Milliseconds since then; time asleep counts. */
  readonly milliseconds: number;
}

const state = z.strictObject({
  /** Milliseconds of uptime in all. */
  age: z.number().min(0),
  /** When that was noted. */
  boot: z.string().max(64),
  uptime: z.number().min(0),
  /** By `KIND VM`: the age at which it is all back. */
  full: z.record(z.string().max(64), z.number().min(0)),
});

export class Rates {
  readonly #file: string;
  readonly #uptime: () => Uptime;

  /** `folder` is there; one process at a time uses it. */
  constructor(folder: string, uptime: () => Uptime = machineUptime) {
    this.#file = join(folder, 'rates.json');
    this.#uptime = uptime;
  }

  /** Throws `limit` if `vm` has asked too often. */
  check(vm: VmName, kind: RateKind): void {
    this.#next(vm, kind);
  }

  /** Counts one more request, durably. Throws `limit` like {@link check}. */
  charge(vm: VmName, kind: RateKind): void {
    writeChecked(this.#file, this.#next(vm, kind));
  }

  /** The state after one more. */
  #next(vm: VmName, kind: RateKind): z.output<typeof state> {
    const { age, boot, uptime, full } = this.#now();
    const { burst, every } = ALLOWANCES[kind];
    const waiting = Object.entries(full).filter(([, at]) => at > age);
    const back = Math.max(age, full[`${kind} ${vm}`] ?? 0) + every;
    if (back - age > burst * every || waiting.length >= MAX_VMS)
      throw new BackupError('limit', `VM ${vm} has asked too often (${kind})`);
    return { age, boot, uptime, full: { ...Object.fromEntries(waiting), [`${kind} ${vm}`]: back } };
  }

  #now(): z.output<typeof state> {
    const { boot, milliseconds: uptime } = this.#uptime();
    const last = this.#read() ?? { age: 0, boot, uptime, full: {} };
    const passed = last.boot === boot ? Math.max(uptime - last.uptime, 0) : OFF + uptime;
    return { ...last, age: last.age + passed, boot, uptime };
  }

  #read(): z.output<typeof state> | undefined {
    return readChecked(this.#file, state, 'remove it; until then no request is answered');
  }
}

function machineUptime(): Uptime {
  try {
    const [seconds] = readFileSync('/proc/uptime', 'latin1').split(' ');
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    return { boot, milliseconds: Math.floor(Number(seconds) * 1000) };
  } catch (cause) {
    throw new BackupError('io', `the uptime of this machine is unknown: ${messageOf(cause)}`, { cause });
  }
}
