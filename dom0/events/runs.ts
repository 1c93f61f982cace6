/** Events of what a run does: warnings, failures, progress; backups, restores, drills. */

import * as z from 'zod';
import { NOTE_CODES } from '../../shared/protocol/disposable.ts';
import {
  anomaly,
  counts,
  event,
  fingerprint,
  flag,
  mode,
  number,
  root,
  seconds,
  snapshot,
  text,
  texts,
  time,
  vm,
  volume,
  volumes,
} from './kit.ts';

const failure = {
  code: text(
    'A word for the class of failures, which stays the same: `store-missing`, `verify-failed`, `usage` and so on.',
  ),
  message: text('What happened and what to do, for a person.'),
};

export const RUN_EVENTS = {
  progress: event('How far a job is: of each at most once a second, and nothing of one that takes less.', {
    title: text('What is worked on: a VM, a store, or both.'),
    stage: text('What is being done to it: `reading private`, `checking`, `syncing` and so on.'),
    share: z
      .number()
      .min(0)
      .max(1)
      .nullable()
      .describe('What part of the work is done; null if nobody knows how much there is.'),
    files: number('Files done so far; of a check or a sync objects.'),
    bytes: number('Bytes done so far; of a backup those that are read, and stored where they are new.'),
    totalFiles: number('Files to do, as far as the snapshot before tells; 0 if not known.'),
    totalBytes: number('Bytes to do, likewise.'),
    bytesPerSecond: number('The rate since the job began.'),
    secondsLeft: z
      .number()
      .min(0)
      .nullable()
      .describe('How long it will take yet at that rate; null if not known.'),
    jobsDone: number('Jobs of this run that have ended.'),
    jobs: number('All jobs of this run.'),
  }),
  warning: event('Something that a person should know of. Most make the run end with status 3.', {
    text: text('For a person.'),
  }),
  note: event('A path that was left out on purpose.', {
    title: text('The VM, or what else is worked on.'),
    code: z.enum(NOTE_CODES).describe('Why.'),
    path: text('The path, escaped: printable ASCII.'),
    detail: text('For a person.'),
  }),
  error: event('The command failed, and why. The last event of all.', failure),
  failed: event('One VM failed; the run goes on with the others.', { vm, ...failure }),
  'first-use': event(
    'This machine has not used the repository before, so nothing vouches for what its store offers.',
    {
      counter: root,
      time: time('When that root was made.'),
      fingerprint,
    },
  ),
  overruling: event(
    'A root that does not follow the last one that this machine saw is about to be accepted.',
    {
      counter: root,
      fingerprint,
      seen: number('The number of the root that this machine last saw.'),
    },
  ),
  backup: event('`backup`: a snapshot was taken.', {
    vm,
    snapshot,
    volumes,
    ...counts,
    storedObjects: number('Objects that were added to the store.'),
    storedContentObjects: number('Of these: content of files.'),
    warnings: number('Warnings of this VM.'),
    audited: flag('Whether a second reader proved it (`--audit`).'),
    anomaly,
    spotCheckedObjects: number('Objects that were read back and verified.'),
    spotCheckedBytes: number('Their bytes.'),
    spotCheckFaults: number('Of these: faults.'),
    seconds,
  }),
  estimate: event('`backup --dry-run`: what would be read of one volume.', {
    vm,
    volume,
    mode,
    size: number('Bytes of the volume; null if not known.').nullable(),
    snapshot: snapshot.nullable(),
    files: number('Files of the last snapshot; null without one.').nullable(),
    bytes: number('Their bytes.').nullable(),
    recheckBytes: number('Bytes that would be read again though they did not change.'),
  }),
  restored: event('`restore`: a VM was restored, and proven.', {
    vm,
    snapshot,
    as: text('Its name now.'),
    keptAs: text('With `--replace`: the name now of the VM whose place it took.').optional(),
    volumes: z.array(volume),
    files: number('Regular files that were written.'),
    bytes: number('Their bytes.'),
    warnings: number('What could not be restored as it was; each is a warning.'),
  }),
  replacing: event('`restore --replace`: what is about to happen.', {
    vm,
    snapshot,
    keptAs: text('The name that the present VM will have.'),
    references: texts('What refers to that VM, and will refer to the restored one.'),
  }),
  'restore-ended': event('A restore whose run had died was brought to its end by a later one.', {
    vm,
    temporary: text('The name that the VM had meanwhile.'),
    waits: number('References of it that wait for other VMs.'),
  }),
  'not-applied': event('A setting of a VM that the restored one does not have.', {
    vm,
    part: text(
      '`template`, `netvm`, `property`, `feature`, `tag`, `firewall`, `notes`, `volume`, `device` or `label`.',
    ),
    name: text('Of the property, feature, tag, volume or device; else empty.'),
    wanted: text('What it was.'),
    used: text('What the VM has instead; null for nothing.').nullable(),
    why: text('For a person.'),
  }),
  plan: event('`restore --all`: what is about to happen, in this order.', {
    vms: z.array(z.strictObject({ vm, snapshot, remarks: texts('What a person should know.') })),
    skipped: z.array(z.strictObject({ vm, why: text('Why it is not restored.') })),
  }),
  restoring: event('`restore --all`: the next VM begins.', {
    vm,
    index: number('From 1 on.'),
    of: number('All of them.'),
  }),
  'restored-all': event('`restore --all`: what came of it.', {
    restored: texts('VMs.'),
    failed: texts('VMs.'),
    skipped: texts('VMs.'),
  }),
  drill: event('`drill`: a snapshot was restored for a moment, and how it was found.', {
    vm,
    snapshot,
    result: z.enum(['passed', 'failed']),
    detail: text('For a person.'),
    seconds,
  }),
  extracted: event('`extract`: files and folders of a snapshot were written.', {
    vm,
    snapshot,
    entries: number('All that was written.'),
    files: number('Of these: regular files.'),
    bytes: number('Their bytes.'),
  }),
};
