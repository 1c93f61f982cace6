/** The sealed records of a repository (docs/format.md, section 5), as schemas: what dom0 keeps about VMs. */

import * as z from 'zod';
import { contentDigestCodec, isVmName, objectIdCodec, rootHashCodec, vmIdCodec } from '../../shared/ids.ts';
import type { VmName } from '../../shared/ids.ts';
import {
  MAX_NUMBER_SET,
  MAX_REMARK,
  MAX_TAG,
  MAX_TAGS,
  MAX_VMS,
  ROOT_SEGMENT,
  SNAPSHOT_SEGMENT,
  TABLE_LEAF_ROWS,
} from '../../shared/limits.ts';
import { NumberSet } from '../../shared/numbers.ts';
import { FORMAT_VERSION, wrappedKey } from '../../shared/root.ts';
import { blobNumber, bytesUpTo, count, printable } from '../../shared/schema.ts';
import { VOLUME_MODES, VOLUME_NAMES } from '../domains/domains.ts';

const vmName = z.custom<VmName>((value) => typeof value === 'string' && isVmName(value));

const volumeName = z.enum(VOLUME_NAMES);
const volumeMode = z.enum(VOLUME_MODES);

const numberSet = z.codec(
  bytesUpTo(MAX_NUMBER_SET),
  z.custom<NumberSet>((value) => value instanceof NumberSet),
  {
    decode: (bytes) => NumberSet.decode(bytes),
    encode: (set) => set.encode(),
  },
);

const rootReference = z.strictObject({ counter: z.int().min(1), hash: rootHashCodec });

export const catalogSchema = z.strictObject({
  version: z.literal(FORMAT_VERSION),
  /** VMs that were dropped with their keys: one that is missing and not here is a loss. */
  forgotten: z.array(vmIdCodec),
  vms: z.array(z.strictObject({ id: vmIdCodec, name: vmName, record: objectIdCodec })).max(MAX_VMS),
  rootSegments: z.array(objectIdCodec),
  roots: z.array(rootReference).max(ROOT_SEGMENT - 1),
});

export const rootSegmentSchema = z.strictObject({ roots: z.array(rootReference).length(ROOT_SEGMENT) });

const epoch = z.int().min(1);

/** A record of one VM, and the key epoch it is sealed under. */
const reference = z.strictObject({ object: objectIdCodec, epoch });

/** A word that a person marks snapshots with. */
export const tag = z
  .string()
  .max(MAX_TAG)
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/);

/** What a person says of a snapshot. */
export const remark = printable(MAX_REMARK);

/** Much was deleted or rewritten since the last complete snapshot, counted in files of the volumes that both hold as files. */
const anomaly = z.strictObject({
  /** What the snapshot before has. */
  files: count,
  deleted: count,
  rewritten: count,
  /** A person has seen it. Until then nothing of the VM is forgotten. */
  acknowledged: z.boolean(),
});

const snapshotEntry = z.strictObject({
  number: z.int().min(1),
  object: objectIdCodec,
  epoch,
  /** Milliseconds since 1970. */
  takenAt: count,
  partial: z.boolean(),
  /** A VM asked for it, not the owner of this machine. */
  requested: z.boolean(),
  /** Sorted, each once. */
  tags: z
    .array(tag)
    .max(MAX_TAGS)
    .refine((tags) => [...new Set(tags)].sort().join() === tags.join()),
  /** Empty if there is none. */
  note: remark,
  anomaly: z.nullable(anomaly),
});

export const vmRecordSchema = z.strictObject({
  id: vmIdCodec,
  names: z.array(vmName).min(1),
  uuids: z.array(printable(64)),
  keys: z.array(z.strictObject({ epoch, wrapped: wrappedKey })).min(1),
  nextNumber: blobNumber,
  leaves: z.array(reference),
  live: z.nullable(z.strictObject({ object: objectIdCodec, epoch, snapshot: z.int().min(1) })),
  nextSnapshot: z.int().min(1),
  segments: z.array(reference),
  /** A full segment's worth only while the last is partial: it will be replaced. */
  head: z.array(snapshotEntry).max(SNAPSHOT_SEGMENT),
});

export const snapshotSegmentSchema = z.strictObject({
  entries: z.array(snapshotEntry).length(SNAPSHOT_SEGMENT),
});

export const tableLeafSchema = z.strictObject({
  ids: bytesUpTo(32 * TABLE_LEAF_ROWS),
  kinds: bytesUpTo(TABLE_LEAF_ROWS),
  epochs: bytesUpTo(4 * TABLE_LEAF_ROWS),
});

const counts = z.strictObject({
  entries: count,
  files: count,
  bytes: count,
  /** Since the last complete snapshot: new ones, and those whose content or times differ. */
  changedFiles: count,
  /** Of those, not there before; and there before with other content. */
  newFiles: count,
  rewrittenFiles: count,
  deletedFiles: count,
  readBytes: count,
  storedBytes: count,
  /** Paths left out, each with all below it. */
  skipped: count,
});

/** One volume of a VM as a snapshot holds it. */
const snapshotVolume = z.strictObject({
  name: volumeName,
  mode: volumeMode,
  /** Bytes of the device or image; 0 of a folder, which has no size of its own. */
  size: count,
  /** When this volume was frozen; of a checkpoint's untouched volume, when its tree was made. */
  takenAt: count,
  top: blobNumber,
  /** Null if the volume was not read to its end. */
  digest: z.nullable(contentDigestCodec),
  ownersKnown: z.boolean(),
  warnings: count,
  counts,
});

export const snapshotSchema = z.strictObject({
  number: z.int().min(1),
  takenAt: count,
  finishedAt: count,
  partial: z.boolean(),
  volumes: z
    .array(snapshotVolume)
    .min(1)
    .max(VOLUME_NAMES.length)
    .refine((volumes) => new Set(volumes.map(({ name }) => name)).size === volumes.length),
  firstNumber: blobNumber,
  endNumber: blobNumber,
  died: numberSet,
  config: z.strictObject({ object: objectIdCodec, epoch, snapshot: z.int().min(1) }),
});

export type Catalog = z.output<typeof catalogSchema>;
export type CatalogEntry = Catalog['vms'][number];
export type Reference = z.output<typeof reference>;
export type RootReference = z.output<typeof rootReference>;
export type VmRecord = z.output<typeof vmRecordSchema>;
export type SnapshotEntry = z.output<typeof snapshotEntry>;
export type Anomaly = z.output<typeof anomaly>;
export type TableLeaf = z.output<typeof tableLeafSchema>;
export type Snapshot = z.output<typeof snapshotSchema>;
export type SnapshotVolume = z.output<typeof snapshotVolume>;
export type Counts = z.output<typeof counts>;

/** Counts and warnings of all volumes of a snapshot. */
export function totalsOf({ volumes }: Snapshot): { readonly counts: Counts; readonly warnings: number } {
  const sum = (pick: (volume: SnapshotVolume) => number) =>
    volumes.reduce((total, volume) => total + pick(volume), 0);
  return {
    counts: {
      entries: sum((volume) => volume.counts.entries),
      files: sum((volume) => volume.counts.files),
      bytes: sum((volume) => volume.counts.bytes),
      changedFiles: sum((volume) => volume.counts.changedFiles),
      newFiles: sum((volume) => volume.counts.newFiles),
      rewrittenFiles: sum((volume) => volume.counts.rewrittenFiles),
      deletedFiles: sum((volume) => volume.counts.deletedFiles),
      readBytes: sum((volume) => volume.counts.readBytes),
      storedBytes: sum((volume) => volume.counts.storedBytes),
      skipped: sum((volume) => volume.counts.skipped),
    },
    warnings: sum((volume) => volume.warnings),
  };
}

/** The volumes of a snapshot for `--json`. */
export function volumeEvents({ volumes }: Snapshot) {
  return volumes.map(({ name, mode, size, warnings, counts }) => ({ name, mode, size, warnings, ...counts }));
}
