/**
 * The settings of the storage VM's owner: a TOML file that only root of that VM can write, /rw/config/qubes-backup/storage.toml.
 * Without one the store is the folder `qubes-backup` in the home of the service's user.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'smol-toml';
import { z } from 'zod';
import { BackupError, messageOf, systemCode } from '../shared/errors.ts';
import { DirectoryBackEnd } from './directory.ts';
import { Ledger } from './ledger/ledger.ts';
import { Store } from './store.ts';

/** On Qubes OS. The embedded driver names another place, where it puts the file of this storage VM. */
const CONFIG_FOLDER = '/rw/config/qubes-backup';
const CONFIG_FOLDER_VARIABLE = 'QUBES_BACKUP_STORAGE_CONFIG';

const MiB = 1024 * 1024;
const DAY = 24 * 3600;

const schema = z.strictObject({
  /** GiB that the objects may take in all; absent: no limit. */
  quota_gib: z.number().positive().optional(),
  /** MiB that are left free on a disk. */
  reserve_mib: z.int().min(0).default(64),
  /** Days of store-age for which what is dead is kept. */
  grace_days: z.int().min(1).max(3650).default(30),
  /** A folder of this VM; default: `qubes-backup` in the home. */
  folder: z.string().startsWith('/').optional(),
});

/** The store of this storage VM, as its owner configured it. Throws `usage`. */
export function openStore(): Store {
  const variable = process.env[CONFIG_FOLDER_VARIABLE];
  const file = join(variable === undefined || variable === '' ? CONFIG_FOLDER : variable, 'storage.toml');
  const {
    quota_gib: quota,
    reserve_mib: reserve,
    grace_days: grace,
    folder = homeFolder(),
  } = readConfig(file);
  return new Store(new DirectoryBackEnd(folder), new Ledger(join(folder, 'ledger')), {
    quota: quota === undefined ? undefined : quota * 1024 * MiB,
    reserve: reserve * MiB,
    grace: grace * DAY,
  });
}

function homeFolder(): string {
  const home = process.env['HOME'];
  return join(home === undefined || home === '' ? process.cwd() : home, 'qubes-backup');
}

function readConfig(file: string): z.output<typeof schema> {
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
    const what =
      cause instanceof z.ZodError
        ? cause.issues.map(({ path, message }) => `${path.join('.') || 'file'}: ${message}`).join('; ')
        : messageOf(cause);
    throw new BackupError('usage', `${file} in the storage VM is wrong: ${what}`, { cause });
  }
}
