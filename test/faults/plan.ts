/** Where and when a process dies. Travels between processes, as files of the program's folder (program.ts). */

/** Right before the step, with half of its bytes written, or right after it. */
export type When = 'before' | 'halfway' | 'after';

/** A process of a run: `dom0`, `owner` or a service, and which of its kind, from 1 on. */
export type ProcessName = `${string}#${number}`;

export interface Death {
  readonly process: ProcessName;
  /** The number of the step, from 1 on. */
  readonly step: number;
  readonly when: When;
}

/** In the program's folder: the {@link Death} of the run, if one is to die. */
export const DEATH_FILE = 'death.json';
/** In the program's folder: for each process of the run a file of its steps, one a line. */
export const STEPS_FOLDER = 'steps';
/** Ends the line of a step that can be done by half. */
export const DIVISIBLE = ' *';
