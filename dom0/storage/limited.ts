/** Calls of one store under its bandwidth limits: all sessions together, all bytes of them, each way for itself. */

import { ANSWER_TIMEOUT, DOM0_DOWNLOAD_SHARE, DOM0_UPLOAD_SHARE } from '../../shared/limits.ts';
import type { ServiceCall } from '../domains/domains.ts';
import { TokenBucket } from './token-bucket.ts';
import type { Clock } from './token-bucket.ts';

/** Bytes per second; undefined for no limit. */
export interface Limits {
  readonly upload: number | undefined;
  readonly download: number | undefined;
}

export class Limiter {
  readonly #upload: TokenBucket | undefined;
  readonly #download: TokenBucket | undefined;

  constructor({ upload, download }: Limits, clock?: Clock) {
    this.#upload = upload === undefined ? undefined : new TokenBucket(upload, clock);
    this.#download = download === undefined ? undefined : new TokenBucket(download, clock);
  }

  /** `call` at the pace of the limits. An answer may take longer, by what may be on its way before it. */
  limit(call: ServiceCall): ServiceCall {
    const [up, down] = [this.#upload, this.#download];
    if (up === undefined && down === undefined) return call;
    const onTheWay =
      (up === undefined ? 0 : DOM0_UPLOAD_SHARE / up.rate) +
      (down === undefined ? 0 : DOM0_DOWNLOAD_SHARE / down.rate);
    return {
      ...call,
      answerTimeout: (call.answerTimeout ?? ANSWER_TIMEOUT) + 1000 * onTheWay,
      io: {
        read:
          down === undefined ? (target) => call.io.read(target) : (target) => slowRead(call, down, target),
        write: up === undefined ? (pieces) => call.io.write(pieces) : (pieces) => slowWrite(call, up, pieces),
      },
      stderr: () => call.stderr(),
      hangUp: () => call.hangUp(),
      kill: () => call.kill(),
    };
  }
}

async function slowRead({ io }: ServiceCall, bucket: TokenBucket, target: Uint8Array): Promise<number> {
  const count = await io.read(target.subarray(0, bucket.piece));
  await bucket.take(count);
  return count;
}

async function slowWrite(
  { io }: ServiceCall,
  bucket: TokenBucket,
  pieces: readonly Uint8Array[],
): Promise<void> {
  for (const piece of pieces) {
    for (let at = 0; at < piece.length; at += bucket.piece) {
      const part = piece.subarray(at, at + bucket.piece);
      await bucket.take(part.length);
      await io.write([part]);
    }
  }
}
