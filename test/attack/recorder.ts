/** Records what a service says, and how much dom0 had said before each of its frames. */

import type { ServiceCall } from '../../dom0/domains/domains.ts';
import { CREDIT, END, FrameSplitter, PING } from './peer/altered.ts';
import { MAGIC_TYPE } from './peer/attack.ts';
import type { Step } from './peer/attack.ts';

export class Recorder {
  readonly steps: Step[] = [];
  #after = 0;

  /** `call`, overheard. */
  listenTo(call: ServiceCall): ServiceCall {
    const [said, heard] = [new FrameSplitter(), new FrameSplitter()];
    return {
      ...call,
      io: {
        read: async (target) => {
          const count = await call.io.read(target);
          for (const { type, payload } of said.take(target.subarray(0, count))) {
            if (type === MAGIC_TYPE || type === PING) continue;
            // A service ends as soon as it has answered; dom0 may have ended before it hears of that.
            const after = type === END ? (this.steps.at(-1)?.after ?? 0) : this.#after;
            this.steps.push({ type, payload: payload.toString('base64'), after });
          }
          return count;
        },
        write: (pieces) => {
          for (const { type } of heard.take(Buffer.concat(pieces)))
            if (type !== MAGIC_TYPE && type !== PING && type !== CREDIT) this.#after += 1;
          return call.io.write(pieces);
        },
      },
    };
  }
}
