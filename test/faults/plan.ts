/** What goes wrong in a run, and where. Travels between processes, as files of the program's folder (program.ts). */

/** The process dies: right before the step, with half of its bytes written, or right after it. */
export type Death = 'before' | 'halfway' | 'after';
/** The step fails, this once: nothing is done, but for half of a short write, which is no error. */
export type Failure = 'ENOSPC' | 'EIO' | 'EROFS' | 'short';

/** A process of a run: `dom0`, `owner` or a service, and which of its kind, from 1 on. */
export type ProcessName = `${string}#${number}`;

export interface Fault {
  readonly process: ProcessName;
  /** The number of the step, from 1 on. */
  readonly step: number;
  readonly how: Death | Failure;
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

export const isDeath = (how: Death | Failure): how is Death =>
  how === 'before' || how === 'halfway' || how === 'after';

/** In the program's folder: the {@link Fault} of the run, if there is to be one. */
export const FAULT_FILE = 'fault.json';
/** In the program's folder: for each process of the run a file of its steps, one a line. */
export const STEPS_FOLDER = 'steps';
/** Ends the line of a step that can be done by half. */
export const DIVISIBLE = ' *';
