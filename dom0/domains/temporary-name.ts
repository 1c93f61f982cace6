/** Names of VMs that a restore makes. */

import { randomBytes } from 'node:crypto';
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
