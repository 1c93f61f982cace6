/** The error that something throws or rejects with, which must be a BackupError. */

import { BackupError } from '../../shared/errors.ts';

function checked(error: unknown): BackupError {
  if (error instanceof BackupError) return error;
  throw new Error('it failed, but not with a BackupError', { cause: error });
}

/** What `action` throws. Fails if it throws nothing, or another class of error. */
export function failure(action: () => unknown): BackupError {
  try {
    action();
  } catch (error) {
    return checked(error);
  }
  throw new Error('it was expected to fail');
}

/** What `promise` rejects with. Fails if it resolves, or rejects with another class of error. */
export async function rejection(promise: Promise<unknown>): Promise<BackupError> {
  try {
    await promise;
  } catch (error) {
    return checked(error);
  }
  throw new Error('it was expected to fail');
}
