/**
 * `npm run bench:storage [-- --mib 512] [--runs N]`: how fast qubes.BackupPut takes objects of 8 MiB, as a process, caller to last
 * acknowledgement. On a folder against `dd` with a sync after each 8 MiB on the same disk, interleaved; and on an S3 bucket (Swift
 * on this machine, where its packages are installed) over a line of 20 ms each way and 20 MiB/s.
 */

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { put } from '../shared/protocol/storage.ts';
import { startSwift } from '../test/support/swift/start.ts';
import { openLink } from './support/link.ts';
import { median } from './support/statistics.ts';
import { StorageService, acknowledged } from './support/storage-service.ts';
import { print } from './support/terminal.ts';

const MiB = 1 << 20;
const OBJECT = 8 * MiB;
const LATENCY = 20;
const RATE = 20 * MiB;

const { values } = parseArgs({
  options: { mib: { type: 'string', default: '512' }, runs: { type: 'string', default: '3' } },
});
const count = Math.ceil(Number(values.mib) / 8);
const runs = Number(values.runs);

async function main(): Promise<void> {
  print(
    `${availableParallelism()} x ${cpus()[0]?.model ?? '?'}, Node ${process.version}, ${runs} runs, medians`,
  );
  print('');
  print('| put to | MiB/s | against | MiB/s | share |');
  print('|---|---|---|---|---|');
  const work = mkdtempSync(join(process.env['BENCH_FOLDER'] ?? tmpdir(), 'qib-storage-'));
  try {
    await benchFolder(work);
    if (existsSync('/usr/bin/swift-proxy-server') && existsSync('/usr/bin/memcached')) await benchS3(work);
    else print('| S3: Swift is not installed | | | | |');
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function benchFolder(work: string): Promise<void> {
  const source = join(work, 'source');
  writeFileSync(source, Buffer.concat(newObjects(count)));
  const [ours, theirs]: [number[], number[]] = [[], []];
  for (let run = 0; run < runs; run++) {
    theirs.push(dd(source, join(work, `dd-${run}`)));
    const home = newHome(work, `folder-${run}`, '');
    ours.push(await rateOf(home, count));
    rmSync(home, { recursive: true });
  }
  row('a folder', ours, 'dd, oflag=dsync bs=8M', median(theirs));
}

async function benchS3(work: string): Promise<void> {
  const swift = await startSwift();
  const { hostname, port } = new URL(swift.url);
  const link = await openLink({ host: hostname, port: Number(port) }, { latency: LATENCY, rate: RATE });
  try {
    const rates: number[] = [];
    for (let run = 0; run < runs; run++) {
      const { bucket, accessKeyId, secretAccessKey } = await swift.newBucket();
      const settings = [
        '[s3]',
        `bucket = "${bucket}"`,
        `endpoint = "http://127.0.0.1:${link.port}"`,
        `access_key_id = "${accessKeyId}"`,
        `secret_access_key = "${secretAccessKey}"`,
        'path_style = true',
      ];
      rates.push(await rateOf(newHome(work, `s3-${run}`, settings.join('\n')), Math.min(count, 32)));
    }
    row('S3 over a line', rates, `the line: ${LATENCY} ms, ${RATE / MiB} MiB/s`, RATE / MiB);
  } finally {
    await link.close();
    await swift.stop();
  }
}

function row(what: string, rates: readonly number[], against: string, other: number): void {
  const rate = median([...rates]);
  const share = ((rate / other) * 100).toFixed(0);
  print(`| ${what} | ${rate.toFixed(1)} | ${against} | ${other.toFixed(1)} | ${share} % |`);
}

function newHome(work: string, name: string, settings: string): string {
  const home = join(work, name);
  mkdirSync(home);
  writeFileSync(join(home, 'storage.toml'), settings);
  return home;
}

function newObjects(some: number): Buffer[] {
  return Array.from({ length: some }, () => randomBytes(OBJECT));
}

/** MiB a second. */
function dd(source: string, target: string): number {
  execFileSync('sync');
  const start = performance.now();
  execFileSync('dd', [`if=${source}`, `of=${target}`, 'bs=8M', 'oflag=dsync'], { stdio: 'ignore' });
  const seconds = (performance.now() - start) / 1000;
  rmSync(target);
  return (count * 8) / seconds;
}

/** MiB a second from the first object to the last acknowledgement, the start of the service not counted. */
async function rateOf(home: string, some: number): Promise<number> {
  const objects = newObjects(some);
  execFileSync('sync');
  const service = new StorageService(home, put);
  const { session } = service;
  await session.send('object', randomBytes(8192)); // Everything is loaded, claimed and created before the clock starts.
  await acknowledged(session, 1);
  const start = performance.now();
  const sending = (async () => {
    for (const object of objects) await session.send('object', object);
  })();
  await Promise.all([sending, acknowledged(session, some)]);
  const seconds = (performance.now() - start) / 1000;
  await service.finish();
  return (some * 8) / seconds;
}

await main();
