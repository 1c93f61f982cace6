/** A real OpenStack Swift with its S3 layer (server.py), for the tests of one file. */

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll } from 'vitest';
import type { S3Options } from '../../../storagevm/remote/s3.ts';
import { attributes, isInstalled } from '../needs.ts';
import type { Missing } from '../needs.ts';
import { makeTemp, removeTree } from '../temp.ts';

const ACCESS_KEY = 'test:tester';
/** Debian's packages are for Debian's interpreter. */
const PYTHON = '/usr/bin/python3';

/** Why there can be no Swift here. */
export function swiftMissing(): Missing {
  const missing = ['swift-proxy-server', 'swift-object-server', 'memcached'].find(
    (program) => !isInstalled(program),
  );
  if (missing !== undefined) return `${missing} is not installed (packages swift-*, memcached)`;
  return attributes();
}

export interface Swift {
  /** http://127.0.0.1:PORT */
  readonly url: string;
  /** A new bucket, and how to reach it. */
  newBucket(): Promise<S3Options>;
}

let running: Promise<Swift> | undefined;

/** The Swift of this test file: started at the first call, gone with the file's last test. */
export function theSwift(): Promise<Swift> {
  running ??= startSwift();
  return running;
}

let stop: (() => Promise<void>) | undefined;
afterAll(async () => {
  await running?.catch(() => undefined);
  await stop?.();
});

async function startSwift(): Promise<Swift> {
  const folder = makeTemp('qib-swift-');
  const secret = randomBytes(20).toString('hex');
  const child = spawn(PYTHON, ['-W', 'ignore', join(import.meta.dirname, 'server.py'), folder, ACCESS_KEY], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(child, 'close');
  stop = async () => {
    child.stdin.end();
    await ended;
    removeTree(folder);
  };
  child.stdin.write(`${secret}\n`);
  const lines = createInterface({ input: child.stdout });
  const first = await Promise.race([once(lines, 'line'), ended.then(() => undefined)]);
  if (first === undefined)
    throw new Error(`Swift did not start: ${readFileSync(join(folder, 'log'), 'utf8').slice(-2000)}`);
  const url = String(first[0]);
  return { url, newBucket: () => newBucket(url, secret) };
}

async function newBucket(url: string, secret: string): Promise<S3Options> {
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
