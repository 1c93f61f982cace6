/** The part of the configuration that says where backups are kept: `[[storage]]`, and how many stores are enough. */

import { isAbsolute } from 'node:path';
import * as z from 'zod';
import type { Limits } from '../storage/limited.ts';

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
    vm: storeName
      .optional()
      .meta({ description: 'The storage VM that keeps it.', examples: ['backup-store'] }),
    name: storeName.optional().meta({
      description: 'Instead of vm, for a store in a folder of dom0 itself: what to call it.',
      examples: ['usb'],
    }),
    folder: z
      .string()
      .refine(isAbsolute, { error: 'is no absolute path' })
      .optional()
      .meta({
        description:
          'With name: the folder, by its absolute path. Name one on the disk and not its mount point; it needs ext4, xfs or btrfs.',
        examples: ['/media/usb/backup'],
      }),
    removable: z
      .boolean()
      .default(false)
      .meta({ description: 'Whether it may be absent, which then is no fault.' }),
    limit_upload: limit.default(0).meta({ description: 'KiB a second to it; 0 is no limit.' }),
    limit_download: limit.default(0).meta({ description: 'KiB a second from it; 0 is no limit.' }),
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
  .default([{ vm: 'main', removable: false, limit_upload: 0, limit_download: 0 }])
  .meta({
    description:
      'The stores, 1 to 8, each a whole copy of the repository. The first is the primary one, unless another was chosen.',
  });

/** Stores that must have a backup, so that it counts as complete. */
export const quorumSchema = z
  .union([z.literal('all'), z.int().min(1).max(MAX_STORES)], { error: 'give "all" or a number from 1 to 8' })
  .default('all')
  .meta({ description: 'How many stores must have a backup, so that the run ends with status 0.' });

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
