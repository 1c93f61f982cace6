/** The sealed records of a repository (docs/format.md, section 5), as schemas: what dom0 keeps about VMs. */

import { z } from 'zod';
import { contentDigestCodec, isVmName, objectIdCodec, rootHashCodec, vmIdCodec } from '../../shared/ids.ts';
import type { VmName } from '../../shared/ids.ts';
import {
  MAX_NUMBER_SET,
  MAX_VMS,
  ROOT_SEGMENT,
  SNAPSHOT_SEGMENT,
  TABLE_LEAF_ROWS,
} from '../../shared/limits.ts';
import { NumberSet } from '../../shared/numbers.ts';
import { FORMAT_VERSION, wrappedKey } from '../../shared/root.ts';
import { blobNumber, bytesUpTo, count, printable } from '../../shared/schema.ts';

const vmName = z.custom<VmName>((value) => typeof value === 'string' && isVmName(value));

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
  vms: z.array(z.strictObject({ id: vmIdCodec, name: vmName, record: objectIdCodec })).max(MAX_VMS),
  rootSegments: z.array(objectIdCodec),
  roots: z.array(rootReference).max(ROOT_SEGMENT - 1),
});

export const rootSegmentSchema = z.strictObject({ roots: z.array(rootReference).length(ROOT_SEGMENT) });

const epoch = z.int().min(1);

/** A record of one VM, and the key epoch it is sealed under. */
const reference = z.strictObject({ object: objectIdCodec, epoch });

const snapshotEntry = z.strictObject({
  number: z.int().min(1),
  object: objectIdCodec,
  epoch,
  /** Milliseconds since 1970. */
  takenAt: count,
  partial: z.boolean(),
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

export const snapshotSchema = z.strictObject({
  number: z.int().min(1),
  takenAt: count,
  finishedAt: count,
  partial: z.boolean(),
  top: blobNumber,
  firstNumber: blobNumber,
  endNumber: blobNumber,
  died: numberSet,
  digest: z.nullable(contentDigestCodec),
  ownersKnown: z.boolean(),
  config: z.strictObject({ object: objectIdCodec, epoch, snapshot: z.int().min(1) }),
  warnings: count,
  counts: z.strictObject({
    entries: count,
    files: count,
    bytes: count,
    changedFiles: count,
    readBytes: count,
    storedBytes: count,
    /** Paths left out, each with all below it. */
    skipped: count,
  }),
});

export type Catalog = z.output<typeof catalogSchema>;
export type CatalogEntry = Catalog['vms'][number];
export type Reference = z.output<typeof reference>;
export type RootReference = z.output<typeof rootReference>;
export type VmRecord = z.output<typeof vmRecordSchema>;
export type SnapshotEntry = z.output<typeof snapshotEntry>;
export type TableLeaf = z.output<typeof tableLeafSchema>;
export type Snapshot = z.output<typeof snapshotSchema>;
