/**
 * Questions about snapshots, answered by a disposable: what one holds (qubes.BackupBrowse), and how one differs from
 * another or from a volume (qubes.BackupCompare). Every answer comes in pages, as fast as dom0 takes them. Paths and
 * texts towards dom0 are printable ASCII (see escapeText); those towards the disposable are raw bytes.
 */

import * as z from 'zod';
import {
  MAX_CONTROL,
  MAX_GLOBS,
  MAX_NUMBER_SET,
  MAX_PAGE,
  MAX_PATH,
  MAX_REQUEST,
  MAX_SNAPSHOTS,
  MAX_TEXT,
} from '../limits.ts';
import { blobNumber, bytesUpTo, count, printable } from '../schema.ts';
import { control, page } from '../wire/frame.ts';
import type { Protocol } from '../wire/frame.ts';
import {
  MAX_VOLUME_JOB,
  excludeRules,
  get,
  milliseconds,
  note,
  path,
  progress,
  reading,
  volume,
} from './disposable.ts';

const entryType = z.enum([
  'file',
  'directory',
  'symlink',
  'fifo',
  'socket',
  'character-device',
  'block-device',
  'skipped',
]);

/** The chattr flags that a backup keeps, as chattr(1) calls them. */
export const FLAGS = ['synchronous', 'immutable', 'append-only', 'no-dump', 'no-access-time'] as const;

const userId = z
  .int()
  .min(0)
  .max(2 ** 32 - 1);

/** One line of a listing. `path`, `target` escaped. */
const listEntry = z.strictObject({
  path: printable(MAX_TEXT),
  type: entryType,
  mode: z.int().min(0).max(0o7777),
  /** Null where the owner could not be mapped when it was backed up. */
  uid: z.nullable(userId),
  gid: z.nullable(userId),
  size: count,
  /** Seconds since 1970, and true if before: control messages carry no negative numbers. */
  mtime: count,
  beforeEpoch: z.boolean(),
  mtimeNanoseconds: z.int().min(0).max(999_999_999),
  /** Of a symlink; of a skipped path the reason. */
  target: z.nullable(printable(MAX_TEXT)),
  flags: z.array(z.enum(FLAGS)).max(FLAGS.length),
  /** It has other names. */
  linked: z.boolean(),
  /** How many extended attributes it has. */
  attributes: count,
  /** It changed while it was read. */
  doubtful: z.boolean(),
  /** Its content, or a directory's names, could not be read. */
  unreadable: z.boolean(),
});

/** Seconds since 1970 or, if `beforeEpoch`, to 1970. */
const moment = z.strictObject({ seconds: count, beforeEpoch: z.boolean() });

/** Patterns of one kind; an entry has to match one of them. */
const globs = z.array(bytesUpTo(MAX_TEXT)).max(MAX_GLOBS);

/** What `find` looks for: all conditions that are given have to hold. */
const filter = z.strictObject({
  /** Globs (see dvm/glob.ts) for the last component of the path, and for all of it. */
  names: globs,
  paths: globs,
  /** Empty for any but skipped. */
  types: z.array(entryType).max(entryType.options.length),
  /** Bytes, inclusive; only regular files have a size to match. */
  minSize: z.nullable(count),
  maxSize: z.nullable(count),
  /** Last modified after, or before, these moments; both exclusive. */
  newer: z.nullable(moment),
  older: z.nullable(moment),
  /** Only entries that changed while they were read, or could not be read. */
  doubtful: z.boolean(),
});

const tops = z.array(blobNumber).min(1).max(MAX_SNAPSHOTS);

const question = z.discriminatedUnion('kind', [
  /** A directory's children (or, recursively, all below it), or the entry itself; of all that only the skipped paths, or the others. */
  z.strictObject({
    kind: z.literal('list'),
    top: blobNumber,
    path,
    recursive: z.boolean(),
    skipped: z.boolean(),
  }),
  /** The entry itself and all below it, as far as they match. */
  z.strictObject({ kind: z.literal('find'), top: blobNumber, path, filter }),
  /** The versions of one path in several snapshots, newest first. */
  z.strictObject({ kind: z.literal('history'), tops, path }),
  /** What of each of these trees needs one of `blobs`: a number set (docs/format.md, section 6). None of the tops is in it. */
  z.strictObject({ kind: z.literal('needing'), tops, blobs: bytesUpTo(MAX_NUMBER_SET) }),
]);

/** What of the tree `tops[top]` cannot be read without the blobs that were asked about. Paths escaped. */
const need = z.discriminatedUnion('kind', [
  /** A file: so many bytes of its content are in these blobs, as far as its own list of them can be read. */
  z.strictObject({ kind: z.literal('file'), top: count, path: printable(MAX_TEXT), bytes: count }),
  /**
   * A part of the list of files itself, with so many entries: from `path` up to, not including, `until` (null: to the end), and
   * all that is in the folder `within` besides, whose own entry is in that part.
   */
  z.strictObject({
    kind: z.literal('list'),
    top: count,
    path: printable(MAX_TEXT),
    until: z.nullable(printable(MAX_TEXT)),
    within: z.nullable(printable(MAX_TEXT)),
    entries: z.int().min(1),
  }),
]);

/** What two states of one path differ in. The first three are content, the others metadata. */
export const DIFFERENCE_FIELDS = [
  'content',
  'target',
  'device',
  'mode',
  'owner',
  'group',
  'mtime',
  'attributes',
  'flags',
  'links',
] as const;
const fields = z.array(z.enum(DIFFERENCE_FIELDS)).max(DIFFERENCE_FIELDS.length);

/** A run of snapshots in which a path was the same, or was not there. */
const version = z.strictObject({
  /** Indexes into `tops`: the newest and the oldest of the run. Runs come in order and leave none out. */
  newest: count,
  oldest: count,
  /** Null where the path was not there. */
  entry: z.nullable(listEntry),
  /** How it differs from the run before it in time; empty if there is none, or the path was absent in either. */
  changed: z.array(z.enum(['type', ...DIFFERENCE_FIELDS])).max(DIFFERENCE_FIELDS.length + 1),
});

/** Questions about the trees of one VM's snapshots. */
export const browse = {
  service: 'qubes.BackupBrowse',
  toService: {
    ...reading,
    job: control(0x10, question, MAX_CONTROL + MAX_PATH + MAX_NUMBER_SET + 9 * MAX_SNAPSHOTS),
  },
  toCaller: {
    get,
    entries: page(0x90, z.strictObject({ entries: z.array(listEntry).min(1).max(MAX_REQUEST) }), MAX_PAGE),
    versions: page(0x91, z.strictObject({ versions: z.array(version).min(1).max(MAX_REQUEST) }), MAX_PAGE),
    needs: page(0x92, z.strictObject({ needs: z.array(need).min(1).max(MAX_REQUEST) }), MAX_PAGE),
    /** `found` is false if the path is in no snapshot that was asked about, or nothing needs the blobs. */
    done: control(0x14, z.strictObject({ found: z.boolean() })),
  },
} as const satisfies Protocol;

const side = z.nullable(z.strictObject({ type: entryType, size: count }));

/** One path that differs; `before` or `after` is null where it is not there. `path` escaped. */
const difference = z
  .strictObject({
    path: printable(MAX_TEXT),
    before: side,
    after: side,
    /** Empty if the path is on one side only, or its type differs. */
    fields,
  })
  .refine(({ before, after, fields: differing }) => {
    const comparable = before !== null && after !== null && before.type === after.type;
    return (before !== null || after !== null) && comparable === differing.length > 0;
  });

/** A snapshot's tree against another's, or against a volume. */
export const compare = {
  service: 'qubes.BackupCompare',
  toService: {
    ...reading,
    job: control(
      0x10,
      z.strictObject({
        /** The state before, and when it was taken: timestamps close to that prove nothing. */
        before: z.strictObject({ top: blobNumber, takenAt: milliseconds }),
        after: z.discriminatedUnion('kind', [
          z.strictObject({ kind: z.literal('tree'), top: blobNumber }),
          z.strictObject({
            kind: z.literal('volume'),
            volume,
            /** What it has beside the snapshot is no difference if the next backup would leave it out. */
            excludes: excludeRules,
            /** Read all content, also where the metadata says that it did not change. */
            content: z.boolean(),
          }),
        ]),
      }),
      MAX_VOLUME_JOB,
    ),
  },
  toCaller: {
    get,
    progress,
    /** As in other jobs; a page, because it waits its turn behind differences that dom0 is still showing. */
    note: page(0x91, note.schema, note.max),
    differences: page(
      0x90,
      z.strictObject({ differences: z.array(difference).min(1).max(MAX_REQUEST) }),
      MAX_PAGE,
    ),
    /** `leftOut`: entries that were not compared because one side leaves them out on purpose, or cannot read them. */
    done: control(0x14, z.strictObject({ leftOut: count })),
  },
} as const satisfies Protocol;

export type FlagName = (typeof FLAGS)[number];
export type EntryTypeName = z.output<typeof entryType>;
export type ListEntry = z.output<typeof listEntry>;
export type Filter = z.output<typeof filter>;
export type Moment = z.output<typeof moment>;
export type Question = z.output<typeof question>;
export type Need = z.output<typeof need>;
export type Field = (typeof DIFFERENCE_FIELDS)[number];
export type Version = z.output<typeof version>;
export type Difference = z.output<typeof difference>;

export const ENTRY_TYPES = entryType.options;
