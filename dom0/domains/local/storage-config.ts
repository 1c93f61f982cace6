/**
 * What the owner of a storage VM of this machine configured: HOME/storage-config/NAME/storage.toml, with rclone.conf beside it.
 * dom0 looks at one thing in it: whether that storage VM needs the network. The rest, credentials among it, is that VM's.
 */

import { readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { TomlError, parse } from 'smol-toml';
import { systemCode } from '../../../shared/errors.ts';
import type { CallTarget } from './qrexec.ts';
import type { Bind } from './sandbox-spec.ts';

/** Where a storage VM finds it (storagevm/config.ts). */
const INSIDE = '/rw/config/qubes-backup';
const VARIABLE = 'QUBES_BACKUP_STORAGE_CONFIG';
/** Tables of back ends that are elsewhere. */
const REMOTE = ['s3', 'rclone'];
/** What names and certificates are looked up in. */
const NETWORK_FILES = ['/etc/resolv.conf', '/etc/hosts', '/etc/nsswitch.conf', '/etc/ssl', '/etc/pki'];

/** What such a storage VM gets; `folder` need not exist. */
export async function storageConfig(
  folder: string,
): Promise<Required<Pick<CallTarget, 'binds' | 'network' | 'config'>>> {
  const text = await unlessMissing(readFile(join(folder, 'storage.toml'), 'utf8'));
  if (text === undefined) return { binds: [], network: false, config: {} };
  const network = needsNetwork(text);
  const files = network ? await Promise.all(NETWORK_FILES.map(bindOf)) : [];
  return {
    binds: [{ source: folder, target: INSIDE, writable: false }, ...files.flat()],
    network,
    config: { [VARIABLE]: folder },
  };
}

function needsNetwork(text: string): boolean {
  try {
    const settings = parse(text);
    return REMOTE.some((table) => table in settings);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    return false; // The storage VM's services say what is wrong with it.
  }
}

async function bindOf(path: string): Promise<Bind[]> {
  const source = await unlessMissing(realpath(path));
  return source === undefined ? [] : [{ source, target: path, writable: false }];
}

async function unlessMissing<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
    return undefined;
  }
}
