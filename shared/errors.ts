/**
 * Errors a person or a caller can act on. `code` is what programs branch on, `message` what people read:
 * it names the VM, the service and what to do next. Nothing ever branches on a message.
 */

/** What went wrong, as a class of failures that callers treat alike. */
export type ErrorCode =
  | 'usage' // the command line or the configuration is wrong
  | 'wrong-secret' // no key slot opens with the secret that was given
  | 'not-initialised' // the storage VM answers, but holds no repository
  | 'store-missing' // the store, or an object a root promises, is not there
  | 'store-version' // written by a newer format than this program reads
  | 'store-damaged' // bytes that fail their hash, tag, signature or schema
  | 'store-rolled-back' // older than the root pinned on this machine
  | 'store-forked' // not a descendant of the root pinned on this machine
  | 'store-replaced' // another repository than the one pinned on this machine
  | 'store-conflict' // somebody else published a root meanwhile
  | 'store-full' // no room, or over quota
  | 'vm-missing' // a VM that this machine has seen in the catalog is gone from it
  | 'unknown-vm'
  | 'unknown-snapshot'
  | 'unknown-volume'
  | 'unknown-path'
  | 'vm-exists' // a VM or file is in the way, and is not touched
  | 'policy-denied' // qrexec policy forbids the call
  | 'sandbox' // the sandbox cannot be built on this machine
  | 'service-died' // a peer ended without its final frame
  | 'service-failed' // a peer reported an error of its own
  | 'protocol' // a peer broke the protocol
  | 'refused' // a peer asked for what its job does not grant
  | 'timeout'
  | 'limit' // a cap was reached
  | 'verify-failed' // restored content is not what was backed up
  | 'locked' // another run holds the state folder
  | 'io' // the operating system refused a file operation
  | 'internal';

/** The one error class of this program. */
export class BackupError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'BackupError';
    this.code = code;
  }
}

/** True if `error` is a {@link BackupError} of one of `codes`. */
export function isBackupError(error: unknown, ...codes: ErrorCode[]): error is BackupError {
  return error instanceof BackupError && (codes.length === 0 || codes.includes(error.code));
}

/** The `code` of a system error (`ENOENT`, …), or undefined. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** A short text of anything thrown, for a message or a log line. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
