/** A hand between a service and dom0 that alters one frame of what the service says. */

import type { ServiceCall } from '../../dom0/domains/domains.ts';
import { decodeWith, encodeCbor } from '../../shared/cbor.ts';
import { COMMON, HEADER_SIZE, MAGIC } from '../../shared/wire/frame.ts';
import { frameBytes } from '../attack/peer/altered.ts';

/** One frame as bytes. */
export interface Frame {
  readonly type: number;
  readonly payload: Uint8Array;
}

/** One frame for another in a peer that lies well: the counts of its final frame fit what it sent. */
export class Consistent {
  readonly bytes: Uint8Array;

  constructor(type: number, payload: Uint8Array) {
    this.bytes = frameBytes(type, payload);
  }
}

/** What to send instead of a frame; `end` ends the stream there, `stall` says nothing any more. */
export type Instead = Uint8Array | Consistent | 'end' | 'stall';

/**
 * `call` whose frames pass through `alter` on their way to dom0. `alter` gets each frame and its index, and answers
 * undefined to leave it as it is.
 */
export function tampered(
  call: ServiceCall,
  alter: (frame: Frame, index: number) => Instead | undefined,
): ServiceCall {
  let pending = Buffer.alloc(0);
  let ready = Buffer.alloc(0);
  let magicSeen = false;
  let index = 0;
  let added = 0;
  let state: 'open' | 'end' | 'stall' = 'open';
  const killed = Promise.withResolvers<undefined>();
  const takeFrames = () => {
    if (!magicSeen && pending.length >= MAGIC.length) {
      ready = Buffer.concat([ready, pending.subarray(0, MAGIC.length)]);
      pending = pending.subarray(MAGIC.length);
      magicSeen = true;
    }
    while (magicSeen && state === 'open' && pending.length >= HEADER_SIZE) {
      const length = pending.readUInt32BE(1);
      if (pending.length < HEADER_SIZE + length) return;
      const whole = pending.subarray(0, HEADER_SIZE + length);
      pending = pending.subarray(whole.length);
      const instead = alter(
        { type: whole[0] ?? 0, payload: new Uint8Array(whole.subarray(HEADER_SIZE)) },
        index++,
      );
      if (instead === 'end' || instead === 'stall') state = instead;
      else if (instead instanceof Consistent) {
        added += instead.bytes.length - whole.length;
        ready = Buffer.concat([ready, instead.bytes]);
      } else if (instead === undefined && whole[0] === COMMON.end.type) {
        const { frames, bytes } = decodeWith(COMMON.end.schema, whole.subarray(HEADER_SIZE));
        ready = Buffer.concat([
          ready,
          frameBytes(COMMON.end.type, encodeCbor({ frames, bytes: bytes + added })),
        ]);
      } else ready = Buffer.concat([ready, instead ?? whole]);
    }
  };
  return {
    ...call,
    io: {
      async read(target) {
        const piece = Buffer.alloc(64 * 1024);
        while (ready.length === 0) {
          if (state === 'end') return 0;
          if (state === 'stall') {
            await killed.promise;
            return 0;
          }
          const count = await call.io.read(piece);
          if (count === 0) return 0;
          pending = Buffer.concat([pending, piece.subarray(0, count)]);
          takeFrames();
        }
        const count = ready.copy(target);
        ready = ready.subarray(count);
        return count;
      },
      write: (pieces) => call.io.write(pieces),
    },
    stderr: () => call.stderr(),
    hangUp: () => call.hangUp(),
    kill() {
      killed.resolve(undefined);
      call.kill();
    },
  };
}
