/** What a person is told by a command that something went wrong around: the truth, what to do, and no more than they need. */

import type { Meanwhile } from './plan.ts';
import { AROUND } from './around.ts';
import type { Condition, Event } from './plan.ts';

/** Exit statuses of a run that did what it should, and of one that warned beside it. */
const DONE = 0;
const WARNED = 3;

/** A line of a stack. */
const STACK = /^\s+at .*[:(]/m;
/** A line that says something. */
const ERROR = /^error: .{15}/m;
const WARNING = /^warning: .{15}/m;

/** What is wrong with how a command ended and what it said of it. `how`: what went wrong around it, if that says more. */
export function problemsOfEnd({ code, stderr }: Meanwhile, how?: Event | Condition): readonly string[] {
  const { endsWell = false, warns, says = /./ } = how === undefined ? {} : AROUND[how];
  const ended = `ended with ${code ?? 'a signal'} and said: ${stderr.trim()}`;
  if (code === null || STACK.test(stderr)) return [`it broke: it ${ended}`];
  if (code === DONE || (code === WARNED && warns?.test(stderr) === true)) return [];
  if (endsWell) return [`it should have ended well, and ${ended}`];
  const label = code === WARNED ? WARNING : ERROR;
  return label.test(stderr) && says.test(stderr) ? [] : [`it said nothing that helps: it ${ended}`];
}
