/** What goes wrong in a run, and where. Travels between processes, as files of the program's folder (program.ts). */

/** The process dies: right before the step, with half of its bytes written, or right after it. */
export type Death = 'before' | 'halfway' | 'after';
/** The step fails, this once: nothing is done, but for half of a short write, which is no error. */
export type Failure = 'ENOSPC' | 'EIO' | 'EROFS' | 'short';
/** Something happens around the process when it comes to the step (around.ts). */
export type Event = (typeof EVENTS)[number];
/** Something is wrong around all processes, from the beginning of the run (around.ts). */
export type Condition = (typeof CONDITIONS)[number];
export type How = Death | Failure | Event | Condition;

export const EVENTS = [
  'clock-back', // by a year, for all processes
  'clock-forward', // by ten years
  'same-state', // another run of dom0, on the same state folder
  'second-machine', // another dom0, with a state folder of its own and the same keys, backs up the same VM
  'another-vm', // or another VM
  'stopped', // the process says nothing any more, as in a VM that is paused
  'stuck', // it lives, but what it does is never done
  'restarted', // all processes of the storage VM end
  'gone', // and no new ones begin
  'sent-twice',
  'sent-never',
] as const;

export const CONDITIONS = [
  'clock-back-before',
  'clock-forward-before',
  'slow-storage',
  '64-descriptors',
  '300-MiB',
  'full-state',
  'read-only-state',
  'full-storage',
  'read-only-storage',
] as const;

/** A process of a run: `dom0`, `owner` or a service, and which of its kind, from 1 on. */
export type ProcessName = `${string}#${number}`;

export interface Fault {
  /** For a {@link Condition} `run#1`. */
  readonly process: ProcessName;
  /** The number of the step, from 1 on; 0 for a {@link Condition}. */
  readonly step: number;
  readonly how: How;
}

const FULL: readonly Failure[] = ['ENOSPC'];
const READ_ONLY: readonly Failure[] = ['EROFS'];
const BROKEN: readonly Failure[] = ['EIO'];

/** How a step on files can fail, by its kind; all other kinds can only be died at. */
export const FAILURES: Readonly<Record<string, readonly Failure[]>> = {
  ...{ write: ['ENOSPC', 'EIO', 'short'], writev: ['ENOSPC', 'EIO', 'short'] },
  ...{ writeFile: ['ENOSPC', 'EIO'], appendFile: ['ENOSPC', 'EIO'] },
  ...{ open: FULL, mkdir: FULL, mkdtemp: FULL, link: FULL, symlink: FULL, copyFile: FULL, cp: FULL },
  ...{ rename: READ_ONLY, unlink: READ_ONLY, rm: READ_ONLY, rmdir: READ_ONLY, truncate: READ_ONLY },
  ...{ fsync: BROKEN, fdatasync: BROKEN, sync: BROKEN, datasync: BROKEN },
};

export const isDeath = (how: How): how is Death => how === 'before' || how === 'halfway' || how === 'after';
export const isEvent = (how: How): how is Event => EVENTS.some((one) => one === how);
export const isCondition = (how: How): how is Condition => CONDITIONS.some((one) => one === how);

/** In the program's folder: the {@link Fault} of the run, if there is to be one. */
export const FAULT_FILE = 'fault.json';
/** In the program's folder: for each process of the run a file of its steps, one a line. */
export const STEPS_FOLDER = 'steps';
/** Ends the line of a step that can be done by half. */
export const DIVISIBLE = ' *';
/** In the program's folder: the {@link Surroundings} of the run. */
export const SURROUNDINGS_FILE = 'surroundings.json';
/** In the program's folder: milliseconds by which the clock is wrong now; not there if it is right. */
export const CLOCK_FILE = 'clock';
/** In the program's folder: how what ran meanwhile ended, a {@link Meanwhile}. */
export const MEANWHILE_FILE = 'meanwhile.json';
/** In the program's folder: there while no process of the storage VM can begin. */
export const GONE_FILE = 'gone';
/** In the program's folder: for each process of the run a file with its number. */
export const NUMBERS_FOLDER = 'numbers';

/** Another text in the product. */
export interface Edit {
  /** Below the project's folder. */
  readonly file: string;
  /** It has to be there once. */
  readonly from: string;
  readonly to: string;
}

/** What is around all processes of a run. Travels as a file of the program's folder. */
export interface Surroundings {
  readonly edits: readonly Edit[];
  /** Bytes a second that each session of the storage VM carries, each way. */
  readonly rate?: number;
  /** A file that takes the numbers of processes: services leave dom0's limit of memory by it. */
  readonly outside?: string;
  /** What runs from its beginning to its end when an event says so. */
  readonly meanwhile?: readonly string[];
}

export interface Meanwhile {
  readonly code: number | null;
  readonly stderr: string;
}
