/** Names of VMs that a restore makes, or gives to what it replaces. */

import { randomBytes } from 'node:crypto';
import { formatTime } from '../../shared/format.ts';
import { parseVmName } from '../../shared/ids.ts';
import type { VmName } from '../../shared/ids.ts';

/** Longest VM name of Qubes OS. */
const MAX_NAME = 31;

/** `restore-NAME-xxxxxx`, with NAME cut to fit. */
export function temporaryName(finalName: VmName): VmName {
  const random = randomBytes(3).toString('hex');
  const room = MAX_NAME - 'restore--'.length - random.length;
  return parseVmName(`restore-${finalName.slice(0, room)}-${random}`);
}

export const TEMPORARY_NAME = /^restore-[A-Za-z0-9_.-]+-[0-9a-f]{6}$/;

/**
 * `NAME-YYYYMMDD` of the local day of `now` (milliseconds since 1970), NAME cut to fit; if that is one of `taken`,
 * `NAME-YYYYMMDD-2`, and so on.
 */
export function keptName(name: VmName, taken: readonly string[], now: number): VmName {
  const day = formatTime(now).slice(0, 10).replaceAll('-', '');
  for (let number = 1; ; number++) {
    const end = number === 1 ? `-${day}` : `-${day}-${number}`;
    const kept = parseVmName(`${name.slice(0, MAX_NAME - end.length)}${end}`);
    if (!taken.includes(kept)) return kept;
  }
}
