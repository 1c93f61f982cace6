/**
 * The settings of the storage VM's owner: a TOML file that only root of that VM can write, /rw/config/qubes-backup/storage.toml.
 * Without one the store is the folder `qubes-backup` in the home of the service's user.
 */

import { mkdirSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { TomlError, parse } from 'smol-toml';
import * as z from 'zod';
import { BackupError, messageOf, systemCode } from '../shared/errors.ts';
import { DirectoryBackEnd } from './directory.ts';
import { Ledger } from './ledger/ledger.ts';
import { Renewal } from './ledger/renew.ts';
import { RemoteBackEnd } from './remote/back-end.ts';
import { LocalState } from './remote/local-state.ts';
import type { Remote } from './remote/remote.ts';
import { openRclone, openS3, rcloneSettings, s3Settings } from './remote/settings.ts';
import { S3Locks } from './remote/s3-locks.ts';
import { S3Versions } from './remote/s3-versions.ts';
import { S3Remote } from './remote/s3.ts';
import { SweptBucket } from './remote/swept-bucket.ts';
import { Store } from './store.ts';
import type { Settings } from './store.ts';
import { Sweeper } from './sweeper.ts';

/** On Qubes OS. The embedded driver names another place, where it puts the file of this storage VM. */
const CONFIG_FOLDER = '/rw/config/qubes-backup';
const CONFIG_FOLDER_VARIABLE = 'QUBES_BACKUP_STORAGE_CONFIG';

const MiB = 1024 * 1024;
const DAY = 24 * 3600;

const schema = z
  .strictObject({
    /** GiB that the objects may take in all; absent: no limit. */
    quota_gib: z.number().positive().optional(),
    /** MiB that are left free on a disk. */
    reserve_mib: z.int().min(0).default(64),
    /** Days of store-age for which what is dead is kept. */
    grace_days: z.int().min(1).max(3650).default(30),
    /** A folder of this VM; default: `qubes-backup` in the home. */
    folder: z.string().startsWith('/').optional(),
    s3: s3Settings.optional(),
    rclone: rcloneSettings.optional(),
  })
  .refine(({ folder, s3, rclone }) => [folder, s3, rclone].filter((one) => one !== undefined).length <= 1, {
    message: 'a store is in one place: keep one of folder, [s3] and [rclone], and remove the others',
  });

type Config = z.output<typeof schema>;

/** The store of this storage VM, as its owner configured it. Throws `usage`. */
export function openStore(): Store {
  const variable = process.env[CONFIG_FOLDER_VARIABLE];
  return openStoreOf(
    process.env['HOME'],
    variable === undefined || variable === '' ? CONFIG_FOLDER : variable,
  );
}

/** The store of a storage VM of the embedded driver, by its home: HOME/storage/NAME. Throws `usage`. */
export function openEmbeddedStore(home: string): Store {
  return openStoreOf(resolve(home), resolve(home, '..', '..', 'storage-config', basename(resolve(home))));
}

function openStoreOf(home: string | undefined, configFolder: string): Store {
  const config = readConfig(join(configFolder, 'storage.toml'));
  const folder =
    config.folder ?? join(home === undefined || home === '' ? process.cwd() : home, 'qubes-backup');
  const { quota_gib: quota, reserve_mib: reserve, grace_days: grace } = config;
  const settings = {
    quota: quota === undefined ? undefined : quota * 1024 * MiB,
    reserve: reserve * MiB,
    grace: grace * DAY,
  };
  return openPlace(config, settings, folder, configFolder);
}

/** A store elsewhere has its ledger in `folder`, and what this machine remembers of that place. */
function openPlace({ s3, rclone }: Config, settings: Settings, folder: string, configFolder: string): Store {
  const ledgerFolder = join(folder, 'ledger');
  const ledger = new Ledger(ledgerFolder);
  const elsewhere = s3 ?? rclone;
  if (elsewhere === undefined) return new Store(new DirectoryBackEnd(folder), ledger, settings);
  mkdirSync(folder, { recursive: true, mode: 0o700 }); // Its ledger may be needed before it writes anything there.
  const over = (remote: Remote, appendOnly = false) =>
    new RemoteBackEnd(remote, new LocalState(folder, remote.place), { appendOnly });
  if ('remote' in elsewhere) return new Store(over(openRclone(elsewhere, configFolder)), ledger, settings);
  const connection = openS3(elsewhere);
  const remote = new S3Remote(connection);
  const { lock } = connection.options;
  const locks = lock && { renewal: new Renewal(new S3Locks(connection, lock), ledgerFolder) };
  if (elsewhere.role !== 'sweep')
    return new Store(over(remote, elsewhere.role === 'append'), ledger, settings, locks);
  const bucket = new SweptBucket(remote, new S3Versions(connection));
  return new Store(bucket, ledger, settings, {
    ...locks,
    sweeper: new Sweeper(bucket, ledger, ledgerFolder),
  });
}

function readConfig(file: string): Config {
  let text = '';
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    if (systemCode(cause) !== 'ENOENT')
      throw new BackupError('usage', `cannot read ${file} in the storage VM: ${messageOf(cause)}`, { cause });
  }
  try {
    return schema.parse(parse(text));
  } catch (cause) {
    throw new BackupError('usage', `${file} in the storage VM is wrong: ${whatIsWrong(cause)}`, { cause });
  }
}

/** Where and what, without what is written there: it may be a password, and dom0 is told. */
function whatIsWrong(cause: unknown): string {
  if (cause instanceof z.ZodError)
    return cause.issues.map(({ path, message }) => `${path.join('.') || 'file'}: ${message}`).join('; ');
  if (cause instanceof TomlError) return `no TOML in line ${cause.line}, column ${cause.column}`;
  return messageOf(cause);
}
