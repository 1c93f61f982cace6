/** Waiting for what the machine does in its own time: udev, the block back end of Xen. Always bounded (R56). */

import { setTimeout as delay } from 'node:timers/promises';
import { isBackupError } from '../../../../shared/errors.ts';

/** Milliseconds until a device has appeared, or the back end has let go of one. */
export const PATIENCE = 30_000;
/** Milliseconds between two looks: short at first. */
const FIRST_PAUSE = 20;
const LONGEST_PAUSE = 1000;

/** What `look` answers once that is not undefined; undefined after `patience` milliseconds. */
export async function until<T>(look: () => Promise<T | undefined>, patience: number): Promise<T | undefined> {
  const deadline = performance.now() + patience;
  for (let pause = FIRST_PAUSE; ; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
    const found = await look();
    if (found !== undefined || performance.now() >= deadline) return found;
    await delay(pause);
  }
}

/** Does what may be refused for a while: what was just given back can still be held. Throws the last refusal. */
export async function insist(act: () => Promise<unknown>, patience: number): Promise<void> {
  let refusal: unknown;
  const done = await until(async () => {
    try {
      await act();
      return true;
    } catch (error) {
      if (!isBackupError(error, 'io')) throw error;
      refusal = error;
      return undefined;
    }
  }, patience);
  if (done === undefined) throw refusal;
}
