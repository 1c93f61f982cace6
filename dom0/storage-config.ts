/** The part of the configuration that says where backups are kept: `[[storage]]`, and how many stores are enough. */

import { isAbsolute } from 'node:path';
import { z } from 'zod';
import type { Limits } from './storage/limited.ts';

/** Stores of one repository. */
const MAX_STORES = 8;
const KiB = 1024;

const storeName = z.string().regex(/^[A-Za-z][A-Za-z0-9_-]{0,30}$/);

/** KiB per second; 0 is no limit. */
const limit = z
  .int()
  .min(0)
  .max(KiB * KiB * KiB);

const store = z
  .strictObject({
    /** A storage VM. */
    vm: storeName.optional(),
    /** Or a folder in dom0 itself, and what to call it. */
    name: storeName.optional(),
    folder: z.string().refine(isAbsolute, { error: 'is no absolute path' }).optional(),
    /** On a medium that may be absent: that is no fault. */
    removable: z.boolean().default(false),
    limit_upload: limit.default(0),
    limit_download: limit.default(0),
  })
  .refine(
    ({ vm, name, folder }) =>
      vm === undefined
        ? name !== undefined && folder !== undefined
        : name === undefined && folder === undefined,
    { error: 'give either vm, or name and folder' },
  );

/** The first is the primary one, as long as no other was chosen. */
export const storageSchema = z
  .array(store)
  .min(1)
  .max(MAX_STORES)
  .refine((stores) => new Set(stores.map(nameOf)).size === stores.length, {
    error: 'two stores have the same name',
  })
  .default([{ vm: 'main', removable: false, limit_upload: 0, limit_download: 0 }]);

/** Stores that must have a backup, so that it counts as complete. */
export const quorumSchema = z.union([z.literal('all'), z.int().min(1).max(MAX_STORES)]).default('all');

type StoreTable = z.output<typeof store>;

/** Where one copy of the repository is. */
export interface StoreConfig {
  readonly name: string;
  /** The folder in dom0; undefined for a storage VM, whose name it then has. */
  readonly folder: string | undefined;
  readonly removable: boolean;
  readonly limits: Limits;
}

/** Limits in KiB per second that hold for all stores instead of their own; 0 is none. */
export interface LimitOptions {
  readonly upload?: number | undefined;
  readonly download?: number | undefined;
}

export function storeConfig(table: StoreTable, instead: LimitOptions): StoreConfig {
  const { folder, removable, limit_upload, limit_download } = table;
  return {
    name: nameOf(table),
    folder,
    removable,
    limits: {
      upload: bytesPerSecond(instead.upload ?? limit_upload),
      download: bytesPerSecond(instead.download ?? limit_download),
    },
  };
}

function nameOf({ vm, name }: Pick<StoreTable, 'vm' | 'name'>): string {
  return vm ?? name ?? '';
}

function bytesPerSecond(kib: number): number | undefined {
  return kib === 0 ? undefined : kib * KiB;
}
