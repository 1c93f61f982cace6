/** The configuration that the first-run guide writes: what it asked for, and nothing else. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { stringify } from 'smol-toml';
import { BackupError, messageOf } from '../../shared/errors.ts';

/** A storage VM by its name, or a folder of dom0. */
export type StoreAnswer = { readonly vm: string } | { readonly name: string; readonly folder: string };

/** `/media/usb/backup` is a folder; all else has to be the name of a VM. Throws `usage`. */
export function parseStore(text: string): StoreAnswer {
  if (text.startsWith('/')) return { name: 'disk', folder: text };
  if (/^[A-Za-z][A-Za-z0-9_-]{0,30}$/.test(text)) return { vm: text };
  throw new BackupError('usage', 'Give the name of a storage VM, or a folder that begins with /.');
}

/** Writes a new file. Throws `usage` if it is there or cannot be made. */
export function writeConfig(file: string, driver: 'qubes' | 'local', store: StoreAnswer): void {
  const table = 'folder' in store ? { ...store, removable: true } : store;
  const text = [
    '# Written by "qubes-backup setup". All settings: docs/config.example.toml, qubes-backup config check.',
    stringify(driver === 'qubes' ? { driver, storage: [table] } : { storage: [table] }),
  ];
  try {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text.join('\n'), { flag: 'wx', mode: 0o644 });
  } catch (cause) {
    throw new BackupError('usage', `cannot write ${file}: ${messageOf(cause)}`, { cause });
  }
}
