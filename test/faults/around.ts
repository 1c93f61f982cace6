/** What can be wrong around the processes of a run: how it is made so, and what a person is to be told of it. */

import type { Condition, Edit, Event, Surroundings } from './plan.ts';

interface Kind {
  /** In the table. */
  readonly title: string;
  /** Times of the product that a test cannot wait for, as shorter ones. */
  readonly edits?: readonly Edit[];
  /** The run has to end well all the same. */
  readonly endsWell?: boolean;
  /** It may end with a warning, if that says so much. */
  readonly warns?: RegExp;
  /** What a run that does not end well says of it; else anything clear. */
  readonly says?: RegExp;
  /** Others publish as well, so what was stored may have become of no use. */
  readonly others?: boolean;
}

const LIMITS = 'shared/limits.ts';
const edit = (from: string, to: string): Edit => ({ file: LIMITS, from, to });

/** Silence for which a peer counts as dead, and signs of life: 15 times as fast. */
const SILENCE = [
  edit('const IDLE_TIMEOUT = 60_000', 'const IDLE_TIMEOUT = 4_000'),
  edit('PING_INTERVAL = 10_000', 'PING_INTERVAL = 600'),
];
/** Time for an answer: 150 times as fast. */
const ANSWER = edit('const ANSWER_TIMEOUT = 10 * 60_000', 'const ANSWER_TIMEOUT = 4_000');

/** Says that the storage VM, or a service of it, is not there or does not answer, and what to look at. */
const NO_ANSWER = /said nothing for|did not answer for|killed by|ended in the middle|is that VM/;

/** What a check says of the age of the newest backup. */
const WRONG = /newest backup is (of .* yet to come|[\d,]+ days old)/;

export const AROUND: Readonly<Record<Event | Condition, Kind>> = {
  'clock-back': { title: 'the clock jumps back a year', endsWell: true, warns: WRONG },
  'clock-forward': { title: 'the clock jumps ahead ten years', endsWell: true, warns: WRONG },
  'same-state': { title: 'another run on the same state', others: true },
  'second-machine': { title: 'another machine backs up the same VM', others: true },
  'another-vm': { title: 'another machine backs up another VM', others: true },
  stopped: { title: 'says nothing any more', edits: SILENCE, says: NO_ANSWER },
  stuck: { title: 'never comes to the end of a step', edits: [...SILENCE, ANSWER], says: NO_ANSWER },
  restarted: { title: 'ends with all of the storage VM' },
  gone: { title: 'ends with all of the storage VM, for the rest of the run' },
  'sent-twice': { title: 'sends twice' },
  'sent-never': { title: 'sends what does not come', edits: [...SILENCE, ANSWER] },
  'clock-back-before': { title: 'a clock that is a year behind', endsWell: true, warns: WRONG },
  'clock-forward-before': { title: 'a clock that is ten years ahead', endsWell: true, warns: WRONG },
  'slow-storage': {
    title: 'storage at a KiB a second, all 50 times as fast',
    // An answer has a 120th of its time, and the slowest that counts as going on is 50 times as fast.
    edits: [
      edit('const ANSWER_TIMEOUT = 10 * 60_000', 'const ANSWER_TIMEOUT = 5_000'),
      edit('SLOWEST = 512', 'SLOWEST = 50 * 512'),
    ],
    endsWell: true,
  },
  '64-descriptors': { title: '64 descriptors for each process', endsWell: true },
  '300-MiB': { title: '300 MiB of memory for dom0', endsWell: true },
  'full-state': { title: 'no byte free for dom0’s state', says: /make room/ },
  'read-only-state': { title: 'dom0’s state cannot be written', says: /nothing can be written|read-only/ },
  'full-storage': { title: 'no byte free for the storage VM', says: /no room left|make room/ },
  'read-only-storage': { title: 'the storage VM’s home cannot be written', says: /read-only/ },
};

const YEAR = 365.25 * 86_400_000;

/** Milliseconds by which the clock is wrong. */
export function clockOf(how: Event | Condition): number {
  if (how.startsWith('clock-back')) return -YEAR;
  return how.startsWith('clock-forward') ? 10 * YEAR : 0;
}

/** What the program's folder says of the run. */
export function surroundingsOf(how: Event | Condition, more: Omit<Surroundings, 'edits'>): Surroundings {
  const rate = how === 'slow-storage' ? { rate: 50 * 1024 } : {};
  return { ...more, ...rate, edits: AROUND[how].edits ?? [] };
}
