/** Starts a real OpenStack Swift with its S3 layer (server.py). Needs what swift.ts looks for. */

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { CreateBucketCommand, PutBucketVersioningCommand, S3Client } from '@aws-sdk/client-s3';
import type { S3Options } from '../../../storagevm/remote/s3-connection.ts';

const ACCESS_KEY = 'test:tester';
/** Debian's packages are for Debian's interpreter. */
const PYTHON = '/usr/bin/python3';

export interface Swift {
  /** http://127.0.0.1:PORT */
  readonly url: string;
  /** A new bucket, and how to reach it; with `versions` it keeps what is written over or deleted. */
  newBucket(versions?: boolean): Promise<S3Options>;
  stop(): Promise<void>;
}

export async function startSwift(): Promise<Swift> {
  const folder = mkdtempSync(join(tmpdir(), 'qib-swift-'));
  const secret = randomBytes(20).toString('hex');
  const child = spawn(PYTHON, ['-W', 'ignore', join(import.meta.dirname, 'server.py'), folder, ACCESS_KEY], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(child, 'close');
  const stop = async () => {
    child.stdin.end();
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  child.stdin.write(`${secret}\n`);
  const lines = createInterface({ input: child.stdout });
  const first = await Promise.race([once(lines, 'line'), ended.then(() => undefined)]);
  if (first === undefined) {
    const log = readFileSync(join(folder, 'log'), 'utf8').slice(-2000);
    await stop();
    throw new Error(`Swift did not start: ${log}`);
  }
  const url = String(first[0]);
  return { url, newBucket: (versions = false) => newBucket(url, secret, versions), stop };
}

async function newBucket(url: string, secret: string, versions: boolean): Promise<S3Options> {
  const options: S3Options = {
    bucket: `bucket-${randomBytes(6).toString('hex')}`,
    endpoint: url,
    region: 'us-east-1',
    prefix: 'backups/',
    accessKeyId: ACCESS_KEY,
    secretAccessKey: secret,
    pathStyle: true,
    lock: undefined,
  };
  const client = clientOf(options);
  await client.send(new CreateBucketCommand({ Bucket: options.bucket }));
  if (versions)
    await client.send(
      new PutBucketVersioningCommand({
        Bucket: options.bucket,
        VersioningConfiguration: { Status: 'Enabled' },
      }),
    );
  client.destroy();
  return options;
}

/** A client of its own, to do to a bucket what no back end does. */
export function clientOf({ endpoint = '', region, accessKeyId, secretAccessKey }: S3Options): S3Client {
  return new S3Client({
    endpoint,
    region,
    credentials: { accessKeyId, secretAccessKey },
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  });
}
