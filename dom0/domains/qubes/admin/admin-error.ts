/**
 * A refusal by qubesd: an exception of Qubes' own type, or an empty answer. `code` is what our callers branch on, `type`
 * what the driver does where Qubes makes a difference that our codes do not.
 */

import { byteString, escapeText, utf8 } from '../../../../shared/bytes.ts';
import { BackupError } from '../../../../shared/errors.ts';
import type { ErrorCode } from '../../../../shared/errors.ts';

/** The `type` of an answer without any bytes: qubesd refused without saying why, or failed inside. */
export const EMPTY_ANSWER = 'EmptyAnswer';

/** Characters kept of a message: it can repeat what was sent, and the whole state of a VM. */
const MAX_MESSAGE = 1000;
const MAX_TYPE = 100;

/** Types of qubes/exc.py; a type that is not here is `refused`. */
const CODES: ReadonlyMap<string, ErrorCode> = new Map<string, ErrorCode>([
  ['QubesVMNotFoundError', 'unknown-vm'],
  ['QubesVMAlreadyExistsError', 'vm-exists'],
  ['QubesVMInvalidUUIDError', 'unknown-vm'],
  ['QubesVolumeNotFoundError', 'unknown-volume'],
  ['QubesVMShutdownTimeoutError', 'timeout'],
  ['QubesMemoryError', 'io'],
  ['StoragePoolException', 'io'],
  ['ProtocolError', 'protocol'],
]);

export class AdminError extends BackupError {
  /** The name of Qubes' exception, or {@link EMPTY_ANSWER}; printable ASCII. */
  readonly type: string;

  /** `what`: the call and the VM it is about. `type` and `message` as qubesd sent them. */
  constructor(what: string, type: string, message: string) {
    super(
      CODES.get(type) ?? 'refused',
      type === EMPTY_ANSWER
        ? `${what}: qubesd refused the call without a word: see "journalctl -u qubesd" in dom0`
        : `${what}: ${printable(message, MAX_MESSAGE)} (${printable(type, MAX_TYPE)})`,
    );
    this.name = 'AdminError';
    this.type = printable(type, MAX_TYPE);
  }
}

/** True if `error` is an {@link AdminError} of one of `types`. */
export function isAdminError(error: unknown, ...types: string[]): error is AdminError {
  return error instanceof AdminError && (types.length === 0 || types.includes(error.type));
}

/** Printable ASCII of at most `max` characters, plus an ellipsis. */
function printable(text: string, max: number): string {
  const escaped = escapeText(byteString(utf8(text.slice(0, max)))).replaceAll('\\\\', '\\');
  return escaped.length > max || text.length > max ? `${escaped.slice(0, max)}...` : escaped;
}
