/** Holds events of --json against docs/json.md, wherever a test sees any. */

import { eventProblem } from '../../dom0/events/events.ts';

/** Throws if one of `events` is not as documented. */
export function expectDocumented(events: readonly unknown[]): void {
  for (const event of events) {
    const problem = eventProblem(JSON.parse(JSON.stringify(event)));
    if (problem !== undefined)
      throw new Error(`not as docs/json.md has it: ${problem}: ${JSON.stringify(event)}`);
  }
}
