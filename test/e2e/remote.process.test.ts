/** The main job with a storage VM whose store is elsewhere: a bucket of Swift's S3 layer, a WebDAV server by rclone. */

import { GetObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { copyFile, cp, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect } from 'vitest';
import { compareTrees } from '../support/checker.ts';
import { Home } from '../support/home.ts';
import { program, testNeeding } from '../support/needs.ts';
import type { Missing } from '../support/needs.ts';
import { theRemotes } from '../support/rclone.ts';
import { clientOf } from '../support/swift/start.ts';
import { swiftMissing, theSwift } from '../support/swift/swift.ts';
import type { S3Options } from '../../storagevm/remote/s3-connection.ts';
import { generateTree } from '../support/tree-generator.ts';

/** A place for a store, not used before. */
interface Place {
  /** Writes what the owner of the storage VM configured to its folder. */
  configure(folder: string): Promise<void>;
  /** Copies everything that is there to a folder. */
  copyTo(folder: string): Promise<void>;
}

function settingsOf(options: S3Options): string {
  return [
    '[s3]',
    `bucket = "${options.bucket}"`,
    `endpoint = "${options.endpoint ?? ''}"`,
    `prefix = "${options.prefix}"`,
    `access_key_id = "${options.accessKeyId}"`,
    `secret_access_key = "${options.secretAccessKey}"`,
    'path_style = true',
    '',
  ].join('\n');
}

async function newBucket(): Promise<Place> {
  const options = await (await theSwift()).newBucket();
  return {
    configure: (folder) => writeFile(join(folder, 'storage.toml'), settingsOf(options)),
    copyTo: async (folder) => {
      const client = clientOf(options);
      const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: options.bucket }));
      for (const { Key = '' } of Contents) {
        const { Body } = await client.send(new GetObjectCommand({ Bucket: options.bucket, Key }));
        const file = join(folder, Key.slice(options.prefix.length));
        await mkdir(dirname(file), { recursive: true });
        await writeFile(file, await Body!.transformToByteArray());
      }
      client.destroy();
    },
  };
}

let paths = 0;

async function newDavFolder(): Promise<Place> {
  const { folder: served, config } = await theRemotes();
  const path = `store-${(paths += 1)}`;
  return {
    configure: async (folder) => {
      await copyFile(config, join(folder, 'rclone.conf'));
      await writeFile(join(folder, 'storage.toml'), `[rclone]\nremote = "dav:${path}"\n`);
    },
    copyTo: (folder) => cp(join(served, path), folder, { recursive: true }),
  };
}

const places: readonly [string, () => Promise<Place>, Missing][] = [
  ['S3', newBucket, swiftMissing()],
  ['rclone', newDavFolder, program('rclone') ?? program('setpriv')],
];

for (const [kind, newPlace, missing] of places)
  describe(`a storage VM with its store on ${kind}`, () => {
    testNeeding(missing)(
      'R43: backup, incremental backup, restore of each, check; and a copy of the place is a store in a folder',
      async () => {
        const home = new Home();
        const place = await newPlace();
        const config = join(home.folder, 'storage-config', 'main');
        mkdirSync(config, { recursive: true });
        await place.configure(config);
        generateTree(home.volume('work'), { seed: 1, entries: 60 });
        writeFileSync(join(home.volume('work'), 'large'), Buffer.alloc(3 << 20, 'some text '));
        await home.expectRun(0, 'init');
        await home.expectRun(0, 'backup', 'work');
        const first = join(home.folder, 'first');
        renameSync(home.volume('work'), first);
        cpSync(first, home.volume('work'), {
          recursive: true,
          preserveTimestamps: true,
          verbatimSymlinks: true,
        });
        home.write('work', 'new', 'what the second snapshot has');
        await home.expectRun(0, 'backup', 'work');
        await home.expectRun(0, 'restore', 'work@1', '--as', 'work-one');
        await home.expectRun(0, 'restore', 'work', '--as', 'work-two');
        expect(compareTrees(first, home.volume('work-one'))).toEqual([]);
        expect(compareTrees(home.volume('work'), home.volume('work-two'))).toEqual([]);
        await home.expectRun(0, 'check', '--read-data', '100');
        expect(readdirSync(home.store).sort()).toEqual(['ledger', 'remote', 'remote-lock']);

        const other = new Home();
        cpSync(home.keyFile, other.keyFile);
        mkdirSync(dirname(other.store), { recursive: true });
        await place.copyTo(other.store);
        expect(existsSync(join(other.store, 'owner'))).toBe(true);
        await other.expectRun(0, 'restore', 'work@1');
        expect(compareTrees(first, other.volume('work'))).toEqual([]);
      },
    );
  });

describe('a storage VM', () => {
  testNeeding(swiftMissing())('whose credentials are wrong says so, and no secret', async () => {
    const home = new Home();
    const options = await (await theSwift()).newBucket();
    const config = join(home.folder, 'storage-config', 'main');
    mkdirSync(config, { recursive: true });
    writeFileSync(
      join(config, 'storage.toml'),
      settingsOf({ ...options, secretAccessKey: 'a-wrong-secret' }),
    );
    const result = await home.run('init');
    expect(result.code).toBe(1);
    expect(result.stderr + result.stdout).toContain('does not accept the credentials');
    expect(result.stderr + result.stdout).not.toContain('a-wrong-secret');
  });
});
