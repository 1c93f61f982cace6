/**
 * `backup --audit` (R58): two more disposables, of which neither knows the first reader or the other. One gets the same
 * frozen volume and no blob; one gets what was stored and no volume. Only if both arrive at the content digest that the
 * first reader told may the snapshot be taken.
 */

import { BackupError, isBackupError } from '../../shared/errors.ts';
import { prove, verify } from '../../shared/protocol/disposable.ts';
import type { ExcludeRules } from '../../shared/protocol/disposable.ts';
import type { App } from '../app.ts';
import type { VolumeSnapshot } from '../domains/domains.ts';
import { runProve, runVerify } from '../session/read-sessions.ts';
import type { BlobAccess } from '../session/read-sessions.ts';
import type { Note } from '../session/report.ts';
import type { Scanned } from '../session/scan-session.ts';

/** Notes of the second reader that an error repeats. */
const MAX_QUOTED = 3;

/** Throws `verify-failed` unless both agree with the reader of `snapshot`, whose blobs `access` grants. */
export async function auditVolume(
  app: App,
  snapshot: VolumeSnapshot,
  { volume }: Scanned,
  access: BlobAccess,
  excludes: ExcludeRules,
): Promise<void> {
  const { vm } = snapshot;
  const { name, top, digest, ownersKnown: owners } = volume;
  const notes: Note[] = [];
  const listener = {
    ...app.listener(vm, 'auditing'),
    // What both readers note was told already; what only this one notes is told if they disagree.
    note: (note: Note) => void notes.push(note),
  };
  const ofVolume = await app.withVolume(
    vm,
    { kind: 'snapshot', snapshot },
    verify.service,
    (call, attached) => runVerify(call, { volume: attached, owners, excludes, deviceSize: null }, listener),
  );
  if (ofVolume !== digest) {
    throw new BackupError(
      'verify-failed',
      `two disposables read the ${name} volume of ${vm} and disagree on its content${quoted(notes)}: no snapshot is taken. ` +
        (snapshot.frozen
          ? ''
          : 'This volume is a folder, which nothing freezes: if something wrote to it meanwhile, stop that and try again. Else: ') +
        `one of them lied, or an earlier backup did, or the disk errs: ${advice(vm)}`,
    );
  }
  const stored = await app
    .withDisposable(vm, { kind: 'nothing' }, prove.service, (call) =>
      runProve(call, access, { top, owners }, listener),
    )
    .catch((cause: unknown) => {
      if (!isBackupError(cause, 'service-failed')) throw cause;
      const what = `${cause.message}: what is stored of the ${name} volume of ${vm} is not proven, and no snapshot is taken`;
      throw new BackupError(cause.code, `${what}. If it is damaged, its reader lied: ${advice(vm)}`, {
        cause,
      });
    });
  if (stored !== digest) {
    throw new BackupError(
      'verify-failed',
      `what is stored of the ${name} volume of ${vm} is not what is on it: no snapshot is taken. ` +
        `Its reader lied, or an earlier one did: ${advice(vm)}`,
    );
  }
}

function advice(vm: string): string {
  return `run "qubes-backup backup --reread --audit ${vm}", which trusts no earlier backup`;
}

function quoted(notes: readonly Note[]): string {
  const told = notes.filter(({ code }) => !code.startsWith('skipped-'));
  if (told.length === 0) return '';
  const named = told.slice(0, MAX_QUOTED).map(({ path, detail }) => `${path}: ${detail}`);
  return ` (the second noted: ${named.join('; ')}${told.length > MAX_QUOTED ? '; and more' : ''})`;
}
