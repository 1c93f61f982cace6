/** The tables [s3] and [rclone] of storage.toml. */

import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { isBackupError } from '../../../shared/errors.ts';
import { openStore } from '../../../storagevm/config.ts';
import { DirectoryBackEnd } from '../../../storagevm/directory.ts';
import { RemoteBackEnd } from '../../../storagevm/remote/back-end.ts';
import { tempFolder } from '../../support/temp.ts';

const S3 = ['[s3]', 'bucket = "backups"', 'access_key_id = "id"', 'secret_access_key = "hidden-secret"'];

let home: string;
beforeEach(() => {
  home = tempFolder();
  vi.stubEnv('HOME', home);
  vi.stubEnv('QUBES_BACKUP_STORAGE_CONFIG', home);
});
afterEach(() => vi.unstubAllEnvs());

function open(...lines: string[]) {
  writeFileSync(join(home, 'storage.toml'), lines.join('\n'));
  return openStore();
}

/** What openStore() says of settings that are wrong. */
function complaint(...lines: string[]): string {
  try {
    open(...lines);
  } catch (error) {
    if (!isBackupError(error, 'usage')) throw error;
    return error.message;
  }
  throw new Error('the settings were accepted');
}

describe('settings of a store elsewhere', () => {
  test('choose the back end, and keep the ledger at home', () => {
    expect(open().backEnd).toBeInstanceOf(DirectoryBackEnd);
    expect(readdirSync(home)).toEqual(['storage.toml']);
    expect(open(...S3).backEnd).toBeInstanceOf(RemoteBackEnd);
    expect(open('[rclone]', 'remote = "drive:backups"').backEnd).toBeInstanceOf(RemoteBackEnd);
    expect(readdirSync(home).sort()).toEqual(['qubes-backup', 'storage.toml']);
  });

  test('all of them', () => {
    const more = ['endpoint = "https://s3.example.org:8443"', 'region = "eu-1"', 'prefix = "vms/work/"'];
    const lock = ['object_lock_days = 40', 'object_lock_mode = "compliance"', 'path_style = true'];
    expect(open('quota_gib = 100', ...S3, ...more, ...lock).settings.quota).toBe(100 * 2 ** 30);
  });

  test.each([
    ['two places', ['folder = "/mnt"', ...S3], 'keep one of folder, [s3] and [rclone]'],
    ['both tables', [...S3, '[rclone]', 'remote = "a:b"'], 'keep one of'],
    ['an unknown setting', [...S3, 'buket = "x"'], 'buket'],
    ['no credentials', S3.slice(0, 3), 'secret_access_key'],
    ['a bucket that is none', ['[s3]', 'bucket = "a/b"', ...S3.slice(2)], 's3.bucket'],
    ['a prefix without its slash', [...S3, 'prefix = "vms"'], 'ends with a slash'],
    ['a prefix that leads elsewhere', [...S3, 'prefix = "../"'], 'prefix'],
    ['an endpoint that is no URL', [...S3, 'endpoint = "s3.example.org"'], 'is a URL'],
    ['an endpoint that is a file', [...S3, 'endpoint = "file:///etc/passwd"'], 'is a URL'],
    ['no days of a lock', [...S3, 'object_lock_days = 0'], 'object_lock_days'],
    ['an unknown lock', [...S3, 'object_lock_mode = "legal"'], 'object_lock_mode'],
    ['a path in the place of a remote', ['[rclone]', 'remote = "/mnt/backups"'], 'NAME:PATH'],
  ])('refuse %s, say what is wrong, and show no secret', (_what, lines, words) => {
    const text = complaint(...lines);
    expect(text).toContain(words);
    expect(text).toContain('storage.toml');
    expect(text).not.toContain('hidden-secret');
  });

  test('do not show a secret in a line that is no TOML', () => {
    expect(complaint('[s3]', 'secret_access_key = hidden-secret')).not.toContain('hidden-secret');
  });

  test('refuse a home that has a store in a folder', async () => {
    mkdirSync(join(home, 'qubes-backup'));
    writeFileSync(join(home, 'qubes-backup', 'format'), 'x');
    const { backEnd } = open(...S3, 'endpoint = "http://127.0.0.1:1"');
    await expect(backEnd.create('format', new Uint8Array(1))).rejects.toThrow('is a store itself');
  });
});
