/** Events of what there is: snapshots, what they hold, how they differ, what is kept of them. */

import * as z from 'zod';
import { DIFFERENCE_FIELDS, ENTRY_TYPES, FLAGS } from '../../shared/protocol/browse.ts';
import { DAMAGE_STATES } from '../commands/damage.ts';
import {
  anomaly,
  counts,
  event,
  flag,
  number,
  numbers,
  root,
  snapshot,
  text,
  texts,
  time,
  vm,
  volume,
  volumes,
} from './kit.ts';

const type = z.enum(ENTRY_TYPES).describe('What it is; `skipped` is a path that the backup left out.');
const path = text('The path, escaped: printable ASCII, with `\\xHH` for other bytes.');

const entry = {
  path,
  type,
  mode: z.int().min(0).max(0o7777).describe('The low twelve bits of its mode.'),
  uid: number('Its owner; null if that was not known.').nullable(),
  gid: number('Its group; null likewise.').nullable(),
  size: number('Bytes of a regular file; else 0.'),
  mtime: z.int().describe('When it was modified, in seconds since 1970.'),
  mtimeNanoseconds: z.int().min(0).max(999_999_999).describe('Nanoseconds of that.'),
  target: text('Of a symbolic link where it leads, of a skipped path the reason; else null.').nullable(),
  flags: z.array(z.enum(FLAGS)).describe('Flags of chattr(1).'),
  linked: flag('It has other names.'),
  attributes: number('How many extended attributes it has.'),
  doubtful: flag('It changed while it was read.'),
  unreadable: flag('Its content, or the names in it, could not be read.'),
};

const side = z
  .strictObject({ type, size: number('Bytes.') })
  .nullable()
  .describe('Null if it was not there.');

const ofRun = z.strictObject({ snapshot, takenAt: time('When it was taken.') });

export const SNAPSHOT_EVENTS = {
  snapshot: event('`list`: a snapshot.', {
    vm,
    snapshot,
    takenAt: time('When it was taken.'),
    partial: flag('An interrupted run left it; the next one takes its place.'),
    warnings: number('Warnings while it was taken.'),
    requested: flag('A VM asked for it.'),
    tags: texts('What a person marked it with.'),
    note: text('What a person said of it; empty if nothing.'),
    anomaly,
    volumes,
    ...counts,
  }),
  entry: event('`ls`, `find`: an entry of a snapshot.', entry),
  version: event('`history`: a run of snapshots in which a path was the same, the newest first.', {
    from: ofRun.describe('The oldest snapshot of the run.'),
    to: ofRun.describe('The newest.'),
    change: z
      .enum(['oldest', 'created', 'changed', 'removed', ''])
      .describe('What happened at its start; empty if nothing is known of before and it was not there.'),
    changed: z.array(z.enum(['type', ...DIFFERENCE_FIELDS])).describe('What differs from the run before.'),
    entry: z.strictObject(entry).nullable().describe('The entry; null if it was not there.'),
  }),
  difference: event('`diff`, `verify`: a path that differs.', {
    volume,
    change: z.enum(['added', 'removed', 'modified', 'metadata', 'type']),
    path,
    before: side,
    after: side,
    fields: z.array(z.enum(DIFFERENCE_FIELDS)).describe('What differs, of a path that is on both sides.'),
  }),
  differences: event('`diff`, `verify`: the differences of one volume in numbers.', {
    vm,
    before: snapshot,
    after: z.union([snapshot, z.literal('live')]).describe('The other snapshot, or `live`.'),
    volume,
    added: number('Paths.'),
    removed: number('Paths.'),
    modified: number('Paths with other content.'),
    metadata: number('Paths that differ in nothing else.'),
    type: number('Paths that are something else.'),
    addedBytes: number('Bytes of added files.'),
    removedBytes: number('Bytes of removed files.'),
    leftOut: number('Entries that were not compared, because one side leaves them out.'),
  }),
  verified: event('`verify`: whether a VM is as a snapshot has it.', {
    vm,
    snapshot,
    volumes: z.array(volume),
    equal: flag('Whether it is; if not, the exit status is 4.'),
    leftOut: number('Entries that were not compared.'),
  }),
  retention: event('`forget`: what becomes of a snapshot.', {
    vm,
    snapshot,
    kept: flag('Whether it stays.'),
    reasons: texts('Why it stays; empty if it does not.'),
  }),
  forgotten: event('`forget-forever`: a VM was dropped, with its keys.', {
    vm,
    id: text('Its id in the store.'),
    snapshots: number('How many it had.'),
    root,
  }),
  marked: event('`tag`, `untag`, `note`: what a snapshot is marked with now.', {
    vm,
    snapshot,
    tags: texts('All of its tags.'),
    note: text('Its note; empty if it has none.'),
  }),
  acknowledged: event('`acknowledge`: warnings that a person has seen.', {
    vm,
    snapshots: numbers('The snapshots that had them.'),
  }),
  adopted: event('`adopt`: a VM continues the snapshots of another.', {
    old: text('The name of the VM that is gone.'),
    vm,
    id: text('The id of the history in the store.'),
    snapshots: number('How many there are.'),
  }),
  damage: event('`check`: something that needs objects which were found wrong. One of each path and tree.', {
    state: z
      .enum(DAMAGE_STATES)
      .describe(
        '`lost`: no store that was checked has them; `elsewhere`: another one has; `repaired`: they are there again.',
      ),
    vm,
    snapshots: numbers(
      'The snapshots, of which it is the same; null if nobody can tell which there are.',
    ).nullable(),
    volume: volume.nullable().describe('The volume; null for all.'),
    what: z
      .enum(['all', 'settings', 'file', 'list'])
      .describe(
        '`all` of it; the `settings` of the VM; a `file`; a part of the `list` of files, with what it names.',
      ),
    reason: text('Of `all` and `settings`, what is missing; for a person.').nullable(),
    path: text('Of a file, its path; of a list, the first one.').nullable(),
    until: text('Of a list, the path before which the part ends; null: at the end.').nullable(),
    within: text('Of a list, a folder of which everything is hit besides.').nullable(),
    bytes: number('Of a file, how much of it is hit, as far as known.').nullable(),
    entries: number('Of a list, how many paths it names.').nullable(),
  }),
  intact: event('`check`, where anything was found wrong: the snapshots of a VM that are whole.', {
    vm,
    snapshots: numbers('Those that restore in full.'),
    hit: numbers('Those that do not.'),
  }),
};
