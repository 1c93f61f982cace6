/** What failures of an S3 service mean to a person, and whether another attempt may help. */

import { BackupError, messageOf } from '../../shared/errors.ts';
import { Transient } from './remote.ts';

/** An answer other than success, as the library throws it. */
interface Refusal extends Error {
  readonly $metadata: { readonly httpStatusCode?: number };
}

function statusOf(error: unknown): number | undefined {
  return isRefusal(error) ? error.$metadata.httpStatusCode : undefined;
}

function isRefusal(error: unknown): error is Refusal {
  return error instanceof Error && '$metadata' in error;
}

function codeOf(error: unknown): string {
  return error instanceof Error ? error.name : '';
}

const NO_BUCKET = 'NoSuchBucket';

/** The key is not there. */
export function isGone(error: unknown): boolean {
  return statusOf(error) === 404 && codeOf(error) !== NO_BUCKET;
}

/** The condition of the request did not hold. */
export function isCondition(error: unknown): boolean {
  return error instanceof BackupError && statusOf(error.cause) === 412;
}

/** The service does not know the condition. */
export function isUnknownCondition(error: unknown): boolean {
  const cause = error instanceof BackupError || error instanceof Transient ? causeOf(error) : undefined;
  return (
    statusOf(cause) === 501 || ['NotImplemented', 'InvalidArgument', 'InvalidRequest'].includes(codeOf(cause))
  );
}

function causeOf(error: BackupError | Transient): unknown {
  return error instanceof Transient ? error.cause.cause : error.cause;
}

/** The file may not be removed yet. Services name it in several ways, all of this status or code. */
export function isLocked(error: unknown): boolean {
  return (
    statusOf(error) === 403 || ['ObjectLocked', 'InvalidRequest', 'MethodNotAllowed'].includes(codeOf(error))
  );
}

/** Codes by which services say that there is no room. */
const FULL = [
  'QuotaExceeded',
  'ServiceQuotaExceeded',
  'StorageQuotaExceeded',
  'XMinioStorageFull',
  'EntityTooLarge',
];
const FULL_STATUS = [413, 507];
/** Codes about who asks. */
const CREDENTIALS = ['InvalidAccessKeyId', 'SignatureDoesNotMatch', 'AuthorizationHeaderMalformed'];
/** A status of something that may pass: an answer that took too long, a conflict of two requests, too many requests. */
const PASSING = [408, 409, 429];
/** The same as codes, of status 400. */
const PASSING_CODES = ['RequestTimeout', 'SlowDown', 'BadDigest', 'IncompleteBody'];

/** `error` as {@link Transient} or BackupError. `doing`: what was tried. */
export function failureOf(error: unknown, doing: string, place: string): unknown {
  if (error instanceof Transient || error instanceof BackupError) return error;
  const [status, code] = [statusOf(error), codeOf(error)];
  const fail = (kind: 'usage' | 'io' | 'store-full' | 'store-missing', what: string) =>
    new BackupError(kind, what, { cause: error });
  if (status === undefined)
    return new Transient(
      fail('store-missing', `${place} does not answer while ${doing}: ${messageOf(error)}`),
    );
  const answer = `${code || 'no code'} (${status})`;
  if (code === NO_BUCKET)
    return fail(
      'usage',
      `there is no ${place.slice('the '.length)}: create it, or correct the settings in storage.toml`,
    );
  if (code === 'RequestTimeTooSkewed')
    return fail('usage', `the clock of the storage VM is wrong by more than ${place} accepts: set it`);
  if (CREDENTIALS.includes(code) || status === 401)
    return fail(
      'usage',
      `${place} does not accept the credentials, ${answer}: check access_key_id, secret_access_key and region in storage.toml`,
    );
  if (FULL.includes(code) || FULL_STATUS.includes(status))
    return fail('store-full', `${place} has no room left, ${answer}: make room there, or raise its limit`);
  if (status >= 500 || PASSING.includes(status) || PASSING_CODES.includes(code))
    return new Transient(fail('store-missing', `${place} fails while ${doing}: ${answer}. Try again later`));
  if (status === 403)
    return fail(
      'usage',
      `${place} forbids ${doing}, ${answer}: let the key of storage.toml read, write, list and delete there`,
    );
  if (status >= 300 && status < 400)
    return fail('usage', `${place} is elsewhere, ${answer}: correct endpoint and region in storage.toml`);
  return fail('io', `${place} refuses ${doing}: ${answer} ${messageOf(error)}`);
}
