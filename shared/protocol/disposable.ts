/**
 * The services of a disposable VM, as dom0 calls them. A job comes first; then the disposable asks for blobs
 * (`get`) and, in a scan, appends blobs (`putContent`, `putTree`). dom0 checks each request against the grants
 * of the job. Paths and texts towards dom0 are printable ASCII (see escapeText). Services that only look at snapshots are
 * in browse.ts.
 */

import * as z from 'zod';
import { contentDigestCodec } from '../ids.ts';
import {
  MAX_BLOB,
  MAX_CHOSEN,
  MAX_CHOSEN_PATH,
  MAX_CONTROL,
  MAX_DRILL_WORD,
  MAX_DRILL_WORDS,
  MAX_HIDDEN,
  MAX_NUMBER_SET,
  MAX_PATH,
  MAX_PATTERN,
  MAX_PATTERN_LIST,
  MAX_PATTERN_LISTS,
  MAX_PATTERNS,
  MAX_PIECE,
  MAX_PLACE,
  MAX_REQUEST,
  MAX_SOURCE,
  MAX_TEXT,
} from '../limits.ts';
import { blobNumber, bytesUpTo, count, printable } from '../schema.ts';
import { bulk, control } from '../wire/frame.ts';
import type { Protocol } from '../wire/frame.ts';

export const milliseconds = count;
export const path = bytesUpTo(MAX_PATH);

/** Where the volume is inside the disposable, as its driver attached it: an absolute path. */
const place = z.string().startsWith('/').max(MAX_PLACE);
/** The root folder of a mounted file system. */
const mounted = z.strictObject({ kind: z.literal('folder'), path: place });
/** A raw device or image, backed up as one sparse file. */
const device = z.strictObject({ kind: z.literal('blocks'), path: place });
/** A device with a file system, or to be given one, which the disposable itself mounts. */
const disk = z.strictObject({ kind: z.literal('disk'), path: place });
/** A private copy of an image with an ext4 file system, to be read without mounting it. */
const ext4 = z.strictObject({ kind: z.literal('ext4'), path: place });
/** A path of dom0: absolute, without empty components, `.` and `..`. */
const dom0Path = z
  .string()
  .max(MAX_CHOSEN_PATH)
  .regex(/^(?:\/(?!\.{1,2}(?:\/|$))[^/\0]+)+$/);
/**
 * Chosen files and folders of dom0, none inside another, each below the folder `path` under its own path. Those that are `hidden`
 * are left out. Only ever read by dom0's own copy of the service.
 */
const folders = z.strictObject({
  kind: z.literal('folders'),
  path: place,
  chosen: z.array(dom0Path).min(1).max(MAX_CHOSEN),
  hidden: z.array(dom0Path).max(MAX_HIDDEN),
});
export const volume = z.discriminatedUnion('kind', [mounted, device, disk, ext4, folders]);

/** What is left out of a backup. */
export const excludeRules = z.strictObject({
  /** Patterns of gitignore(5), later ones winning; `source` says in reasons where they are from. */
  lists: z
    .array(
      z.strictObject({
        source: printable(MAX_SOURCE),
        patterns: z.array(z.string().min(1).max(MAX_PATTERN)).max(MAX_PATTERNS),
      }),
    )
    .max(MAX_PATTERN_LISTS),
  /** Leave out what is in a directory with a valid CACHEDIR.TAG. */
  cachedirTag: z.boolean(),
  /** Leave out what has the chattr flag `d`. */
  nodump: z.boolean(),
  /** Leave out as well what the file .qubes-backup-exclude of the volume says. */
  volumeFile: z.boolean(),
});

/** Of a job on a volume: dom0's paths are UTF-8, of up to three bytes for each character. */
export const MAX_VOLUME_JOB =
  MAX_CONTROL + MAX_PATTERN_LISTS * MAX_PATTERN_LIST + 3 * (MAX_CHOSEN + MAX_HIDDEN) * MAX_CHOSEN_PATH;

/** Frames of every job that reads blobs. */
export const reading = {
  /** Blob number as u64, then the blob. In the order asked. */
  blob: bulk(0x80, 8 + MAX_BLOB),
};
export const get = control(0x10, z.strictObject({ numbers: z.array(blobNumber).min(1).max(MAX_REQUEST) }));

/** What every job reports while it runs. Totals are 0 while unknown. */
export const progress = control(
  0x11,
  z.strictObject({ files: count, bytes: count, totalFiles: count, totalBytes: count }),
);

/** What kind of thing a note is about. Every one but `skipped-*` makes the run end with warnings (R26). */
export const NOTE_CODES = [
  'changed', // a file changed while it was read
  'vanished', // an entry disappeared while it was read
  'unreadable', // content or metadata could not be read
  'owner-unknown', // the owner or group cannot be mapped on this machine
  'repaired', // the file system was damaged, and read from a repaired copy
  'exclude-file', // the volume's own file of patterns is wrong
  'mount-skipped', // another file system is mounted there
  'not-restored', // an entry or attribute could not be restored
  'exists', // extraction leaves what is there alone
  'skipped-socket', // sockets are recorded, never restored
] as const;
export const note = control(
  0x12,
  z.strictObject({ code: z.enum(NOTE_CODES), path: printable(MAX_TEXT), detail: printable(MAX_TEXT) }),
);

const digest = contentDigestCodec;

/** What differs from the base, in regular files. */
const changes = z.strictObject({
  /** New ones, and those whose content or times differ. */
  changedFiles: count,
  /** Of those: not in the base, or as something else. */
  newFiles: count,
  /** Of those: in the base with other content. */
  rewrittenFiles: count,
  /** In the base, and not here, or as something else. */
  deletedFiles: count,
});

/** Volume -> delta against the newest snapshot's tree. */
export const scan = {
  service: 'qubes.BackupScan',
  toService: {
    ...reading,
    job: control(
      0x10,
      z.strictObject({
        volume,
        /** When the volume was frozen, by dom0's clock, in milliseconds since 1970. */
        takenAt: milliseconds,
        /** The newest snapshot, or null for a first backup. Entries with a ctime less than 2 s before its `takenAt` are read again. */
        base: z.nullable(z.strictObject({ top: blobNumber, takenAt: milliseconds })),
        /** The number of the first blob this session puts; each further one is one more. */
        firstNumber: blobNumber,
        compress: z.boolean(),
        /** Milliseconds between checkpoints. */
        checkpointEvery: milliseconds,
        /** Bytes of unchanged files to read again, and where in the volume to start (a share of 2^32). */
        recheckBytes: count,
        recheckFrom: z
          .int()
          .min(0)
          .max(2 ** 32 - 1),
        /** Trust nothing of the base: read every file, compare, and put all of it again. */
        reread: z.boolean(),
        excludes: excludeRules,
      }),
      MAX_VOLUME_JOB,
    ),
    /** The last checkpoint is committed. */
    committed: control(0x11, z.strictObject({})),
  },
  toCaller: {
    get,
    progress,
    note,
    /** A pack: takes the next number, kind content. */
    putContent: bulk(0x80, MAX_BLOB),
    /** A tree leaf or top: takes the next number, kind tree. */
    putTree: bulk(0x81, MAX_BLOB),
    /** Before `done`: the numbers that its tree refers to, itself included (a number set). */
    live: bulk(0x82, MAX_NUMBER_SET),
    /** What was put so far and the base's remainder make a tree. At most one is uncommitted. dom0 keeps the base and all that was put. */
    checkpoint: control(0x13, z.strictObject({ top: blobNumber, changes })),
    done: control(
      0x14,
      z.strictObject({
        top: blobNumber,
        digest,
        /** Digest without owners and groups, and true if some owner could not be mapped here. */
        ownerlessDigest: digest,
        ownersUnknown: z.boolean(),
        counts: z.strictObject({
          entries: count,
          files: count,
          bytes: count,
          readBytes: count,
          recheckedBytes: count,
          /** Unchanged by metadata, yet of other content: a disk or an earlier reader lied. */
          recheckMismatches: count,
          /** Paths left out, each with all below it. */
          skipped: count,
          ...changes.shape,
        }),
      }),
    ),
  },
} as const satisfies Protocol;

/** Snapshot -> empty volume. */
export const restore = {
  service: 'qubes.BackupRestore',
  toService: {
    ...reading,
    job: control(
      0x10,
      z.strictObject({ volume: z.discriminatedUnion('kind', [mounted, device, disk]), top: blobNumber }),
    ),
  },
  toCaller: {
    get,
    progress,
    note,
    done: control(0x14, z.strictObject({ entries: count, files: count, bytes: count })),
  },
} as const satisfies Protocol;

/** False where the snapshot's owners could not be mapped: the ownerless digest is wanted. */
const verifyOwners = z.boolean();
const verified = control(0x14, z.strictObject({ digest, entries: count, files: count, bytes: count }));

/** Volume -> content digest, from nothing but the volume. */
export const verify = {
  service: 'qubes.BackupVerify',
  toService: {
    job: control(
      0x10,
      z.strictObject({
        volume,
        owners: verifyOwners,
        /** What the snapshot left out of this volume; null if it is a restored one, which never had it. */
        excludes: z.nullable(excludeRules),
        /**
         * Of a restored device: the bytes that it had when it was backed up. It may be larger now; all after them has to be zeros. Null:
         * the whole device.
         */
        deviceSize: z.nullable(count),
      }),
      MAX_VOLUME_JOB,
    ),
  },
  toCaller: {
    progress,
    note,
    done: verified,
  },
} as const satisfies Protocol;

/** A stored volume -> content digest, from nothing but its blobs. */
export const prove = {
  service: 'qubes.BackupProve',
  toService: {
    ...reading,
    job: control(0x10, z.strictObject({ top: blobNumber, owners: verifyOwners })),
  },
  toCaller: {
    get,
    progress,
    note,
    done: verified,
  },
} as const satisfies Protocol;

/** A program and its arguments. A word has no NUL: that would end it where it is run. */
export const drillCommand = z
  .array(
    z
      .string()
      .max(MAX_DRILL_WORD)
      .refine((word) => !word.includes('\0')),
  )
  .min(1)
  .max(MAX_DRILL_WORDS)
  .refine(([program]) => program !== '');

/** A restored volume -> how a command of dom0's owner judges it. */
export const drill = {
  service: 'qubes.BackupDrill',
  toService: {
    /** At most three bytes of UTF-8 for each UTF-16 unit. */
    job: control(
      0x10,
      z.strictObject({ volume, command: drillCommand }),
      MAX_CONTROL + MAX_DRILL_WORDS * MAX_DRILL_WORD * 3,
    ),
  },
  toCaller: {
    progress,
    note,
    done: control(
      0x14,
      z.strictObject({
        /** Its exit status. */
        status: z.int().min(0).max(255),
        /** The start of what it wrote. */
        output: printable(MAX_TEXT),
      }),
    ),
  },
} as const satisfies Protocol;

/** What becomes of chosen paths. */
const exportOutput = z.discriminatedUnion('kind', [
  /** Below a folder of the disposable. Files in the way are left alone, or replaced. */
  z.strictObject({ kind: z.literal('folder'), path: place, overwrite: z.boolean() }),
  /** A pax tar stream, as `data`. */
  z.strictObject({ kind: z.literal('tar') }),
  /** The stream of qubes.Filecopy, as `data` after `begin`; all of it below `folder`. */
  z.strictObject({ kind: z.literal('fileCopy'), folder: z.string().regex(/^[A-Za-z][A-Za-z0-9_-]{0,63}$/) }),
]);

/** Chosen paths -> a folder of the disposable, a tar stream, or a file-copy stream. */
export const exportPaths = {
  service: 'qubes.BackupExport',
  toService: {
    ...reading,
    job: control(
      0x10,
      z.strictObject({
        top: blobNumber,
        paths: z.array(path).min(1).max(MAX_REQUEST),
        output: exportOutput,
      }),
      MAX_CONTROL + 4 * MAX_PATH,
    ),
  },
  toCaller: {
    get,
    progress,
    note,
    data: bulk(0x80, MAX_PIECE),
    /** Before the `data` of a file copy: whether all names in it are printable ASCII. */
    begin: control(0x13, z.strictObject({ plainNames: z.boolean() })),
    done: control(
      0x14,
      z.strictObject({
        entries: count,
        files: count,
        bytes: count,
        /** Indexes into `paths` of those the snapshot does not hold. */
        missing: z.array(count).max(MAX_REQUEST),
        /** Of all `data` of a file copy; else null. */
        crc32: z.nullable(
          z
            .int()
            .min(0)
            .max(2 ** 32 - 1),
        ),
      }),
    ),
  },
} as const satisfies Protocol;

export type Changes = z.output<typeof changes>;
export type ExcludeRules = z.output<typeof excludeRules>;
export type Volume = z.output<typeof volume>;
export type FoldersVolume = z.output<typeof folders>;
/** One that can be read as it is. */
export type MountedVolume = Exclude<Volume, z.output<typeof disk>>;
export type ExportOutput = z.output<typeof exportOutput>;
export type NoteCode = (typeof NOTE_CODES)[number];
