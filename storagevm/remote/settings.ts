/** The tables [s3] and [rclone] of storage.toml, and what they open. They hold credentials: only this VM reads them. */

import { join } from 'node:path';
import * as z from 'zod';
import { RcloneDaemon } from './rclone-daemon.ts';
import { RcloneRemote } from './rclone.ts';
import { S3Connection } from './s3-connection.ts';

export const s3Settings = z.strictObject({
  bucket: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{1,62}$/, 'is the name of a bucket'),
  /** URL of the service; absent: that of Amazon for the region. */
  endpoint: z.url({ protocol: /^https?$/, error: 'is a URL: https://HOST or https://HOST:PORT' }).optional(),
  region: z.string().min(1).default('us-east-1'),
  /** Folder in the bucket. */
  prefix: z
    .string()
    .regex(/^([A-Za-z0-9_-][A-Za-z0-9._-]*\/)*$/, 'is empty, or ends with a slash: backups/')
    .default(''),
  access_key_id: z.string().min(1),
  secret_access_key: z.string().min(1),
  /** https://HOST/BUCKET instead of https://BUCKET.HOST, as most services but Amazon's want it. */
  path_style: z.boolean().default(false),
  /** `append`: nothing is removed here, a sweeper elsewhere does. `sweep`: this machine is that one, and does nothing else. */
  role: z.enum(['store', 'append', 'sweep']).default('store'),
  /** Days for which each object and root is locked against deletion when it is stored. */
  object_lock_days: z.int().min(1).max(36_500).optional(),
  /** `governance`: whoever has the right to may lift it. `compliance`: nobody. */
  object_lock_mode: z.enum(['governance', 'compliance']).default('governance'),
});

export const rcloneSettings = z.strictObject({
  /** As rclone takes it, of rclone.conf beside storage.toml. */
  remote: z
    .string()
    .max(2000)
    .regex(/^[^:]+:/, 'is a remote of rclone.conf and a path: NAME:PATH'),
});

export function openS3(settings: z.output<typeof s3Settings>): S3Connection {
  const { object_lock_days: days, object_lock_mode: mode } = settings;
  return new S3Connection({
    bucket: settings.bucket,
    endpoint: settings.endpoint,
    region: settings.region,
    prefix: settings.prefix,
    accessKeyId: settings.access_key_id,
    secretAccessKey: settings.secret_access_key,
    pathStyle: settings.path_style,
    lock:
      days === undefined ? undefined : { days, mode: mode === 'compliance' ? 'COMPLIANCE' : 'GOVERNANCE' },
  });
}

/** rclone.conf is in `configFolder`. */
export function openRclone({ remote }: z.output<typeof rcloneSettings>, configFolder: string): RcloneRemote {
  return new RcloneRemote({ remote, daemon: new RcloneDaemon(join(configFolder, 'rclone.conf')) });
}
