/** Names of qrexec calls. Nothing of Qubes OS checks them in a call from dom0. */

import { BackupError } from '../../shared/errors.ts';
import { MAX_CALL_NAME } from '../../shared/limits.ts';

const SERVICE = /^[A-Za-z0-9._][A-Za-z0-9._-]*$/;
const ARGUMENT = /^[A-Za-z0-9._+-]*$/;

/** Throws `usage` unless this can be called. */
export function checkCallName(service: string, argument: string): void {
  if (!SERVICE.test(service) || !ARGUMENT.test(argument)) {
    throw new BackupError(
      'usage',
      `${JSON.stringify(`${service}+${argument}`.slice(0, 80))} is no qrexec service and argument`,
    );
  }
  if (service.length + 1 + argument.length > MAX_CALL_NAME) {
    throw new BackupError(
      'usage',
      `${service.slice(0, 80)}: service and argument are longer than ${MAX_CALL_NAME} bytes`,
    );
  }
}
