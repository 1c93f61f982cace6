/**
 * What a VM asks of dom0: who asks is said by qrexec, what is asked by the argument, and which files by stdin. All of it is hostile:
 * capped, of a fixed shape, and never about another VM.
 */

import * as z from 'zod';
import { BackupError } from '../../shared/errors.ts';
import { isVmName } from '../../shared/ids.ts';
import type { VmName } from '../../shared/ids.ts';
import { MAX_REQUEST_FORM, MAX_REQUEST_PATH, MAX_REQUEST_PATHS } from '../../shared/limits.ts';
import { byteString } from '../../shared/bytes.ts';
import type { ByteString } from '../../shared/bytes.ts';
import type { ByteIo } from '../../shared/wire/io.ts';
import { within } from '../timeout.ts';

/** What qrexec says of a call. */
export interface Invocation {
  readonly caller: VmName;
  readonly argument: string;
}

const vmName = z.custom<VmName>((value) => typeof value === 'string' && isVmName(value) && value !== 'dom0');

const invocation = z.object({
  QREXEC_REMOTE_DOMAIN: vmName,
  QREXEC_SERVICE_ARGUMENT: z.string().max(64).default(''),
});

/** Who calls, from the environment that qrexec makes. Throws `protocol`. */
export function readInvocation(environment: Readonly<Record<string, string | undefined>>): Invocation {
  const { QREXEC_REMOTE_DOMAIN: caller, QREXEC_SERVICE_ARGUMENT: argument } = accepted(
    invocation,
    environment,
  );
  return { caller, argument };
}

/** What `qubes.BackupRequest` takes as its argument. */
const action = z.enum(['backup', 'list', 'restore']);
export type Action = z.output<typeof action>;

export function readAction(argument: string): Action {
  return accepted(action, argument);
}

/** What `qubes.BackupStart` takes: a VM, or nothing for all. */
export function readTarget(argument: string): VmName | 'all' {
  return argument === '' ? 'all' : accepted(vmName, argument);
}

/** Which files of which snapshot: each a path below the volume's root, of any bytes. */
const form = z.strictObject({
  snapshot: z.string().regex(/^(?:latest|[1-9][0-9]{0,8})$/),
  paths: z
    .array(z.custom<ByteString>((value) => typeof value === 'string' && value.length <= MAX_REQUEST_PATH))
    .min(1)
    .max(MAX_REQUEST_PATHS),
});
export type Form = z.output<typeof form>;

/**
 * Reads `SNAPSHOT NUL (PATH NUL)... NUL`, whose empty last field says that it is whole: the end of stdin may be that of a killed
 * client. Throws `protocol`, or `timeout` if it takes longer than `patience` milliseconds in all; a read may then still be waiting.
 */
export async function readForm(io: Pick<ByteIo, 'read'>, patience: number): Promise<Form> {
  const late = () => new BackupError('timeout', 'the request did not come in time');
  return accepted(form, parseForm(await within(patience, readToEnd(io), late)));
}

const END = Buffer.from([0, 0]);

async function readToEnd(io: Pick<ByteIo, 'read'>): Promise<Uint8Array> {
  const untrusted = Buffer.alloc(MAX_REQUEST_FORM);
  let length = 0;
  for (;;) {
    const count = await io.read(untrusted.subarray(length));
    if (count === 0) throw malformed('it ends too early, or is too long');
    length += count;
    const end = untrusted.subarray(0, length).indexOf(END);
    if (end === -1) continue;
    if (end + END.length !== length) throw malformed('something follows its end');
    return untrusted.subarray(0, end);
  }
}

function parseForm(untrusted: Uint8Array): unknown {
  const [snapshot, ...paths] = byteString(untrusted).split('\0');
  return { snapshot, paths };
}

function accepted<T>(schema: z.ZodType<T>, untrusted: unknown): T {
  const result = schema.safeParse(untrusted);
  if (result.success) return result.data;
  throw malformed(result.error.issues.map(({ path }) => path.join('.')).join(', '));
}

function malformed(what: string): BackupError {
  return new BackupError('protocol', `the request is malformed (${what})`);
}
