/**
 * `npm run bench:objects [-- --objects 1000000]`: a store of many objects of the smallest size there is, through the services' own processes:
 * put them all, list them, publish a live list of three quarters, apply it, and remove the rest after its grace. Prints rates and
 * the peak resident memory (VmHWM) of each process.
 */

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { objectIdOf } from '../shared/ids.ts';
import { encodeLiveList, livePrefix } from '../shared/live-list.ts';
import { NODE_OPTIONS } from '../shared/node-options.ts';
import { LIST_ROW, MIN_OBJECT, list, put, setRoot } from '../shared/protocol/storage.ts';
import { TestRepository } from '../test/storagevm/fixtures.ts';
import { StorageService, acknowledged } from './support/storage-service.ts';
import { print } from './support/terminal.ts';

/** Days from now until a live list may name all that was put dead, until it is applied, and until what is dead is gone. */
const AGED = 9;
const APPLIED = 10;
const REMOVED = 43;

const { values } = parseArgs({ options: { objects: { type: 'string', default: '1000000' } } });
const count = Number(values.objects);

async function main(): Promise<void> {
  print(`${availableParallelism()} x ${cpus()[0]?.model ?? '?'}, Node ${process.version}, one run`);
  print('');
  print(
    `| ${count.toLocaleString('en')} objects of ${MIN_OBJECT.toLocaleString('en')} bytes | seconds | objects/s | peak, MiB |`,
  );
  print('|---|---|---|---|');
  const home = mkdtempSync(join(process.env['BENCH_FOLDER'] ?? tmpdir(), 'qib-objects-'));
  try {
    writeFileSync(join(home, 'storage.toml'), '');
    const prefixes = await putAll(home);
    await listAll(home);
    sweep(home, 'take in what was put', 0, AGED);
    await publish(home, prefixes.subarray(0, Math.ceil(count * 0.76)));
    sweep(home, 'apply the live list', AGED, APPLIED);
    sweep(home, 'remove what is dead', APPLIED, REMOVED);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

/** Answers the prefix of each object's name. */
async function putAll(home: string): Promise<BigUint64Array> {
  const service = new StorageService(home, put);
  const prefixes = new BigUint64Array(count);
  const start = performance.now();
  const sending = (async () => {
    for (let i = 0; i < count; i++) {
      const bytes = randomBytes(MIN_OBJECT);
      prefixes[i] = livePrefix(objectIdOf(bytes));
      await service.session.send('object', bytes);
    }
  })();
  await Promise.all([sending, acknowledged(service.session, count)]);
  row('put', count, start, await service.finish());
  return prefixes;
}

async function listAll(home: string): Promise<void> {
  const service = new StorageService(home, list);
  const start = performance.now();
  await service.session.send('start', {});
  let rows = 0;
  for (let page = await service.session.receive(); page !== undefined; page = await service.session.receive())
    rows += page.value.length / LIST_ROW;
  if (rows !== count) throw new Error(`${rows} objects were listed`);
  row('list', rows, start, await service.finish());
}

async function publish(home: string, live: BigUint64Array): Promise<void> {
  const catalog = randomBytes(MIN_OBJECT);
  const parts = [...encodeLiveList(live)];
  const objects = [catalog, ...parts];
  const putting = new StorageService(home, put);
  for (const bytes of objects) await putting.session.send('object', bytes);
  await acknowledged(putting.session, objects.length);
  await putting.finish();
  const root = new TestRepository().root(undefined, {
    catalog: objectIdOf(catalog),
    live: parts.map((part) => objectIdOf(part)),
  });
  const service = new StorageService(home, setRoot);
  const start = performance.now();
  await service.session.send('expect', { current: root.body.previous });
  await service.session.send('root', root.bytes);
  const answer = await service.session.receive();
  if (answer?.name !== 'done') throw new Error(`setRoot answered ${answer?.name ?? 'nothing'}`);
  row('setRoot with a live list', count, start, await service.finish());
}

function sweep(home: string, what: string, from: number, to: number): void {
  const child = join(import.meta.dirname, 'support/sweep-days.ts');
  const output = execFileSync(
    process.execPath,
    [...NODE_OPTIONS.storagevm, child, home, String(from), String(to)],
    {
      encoding: 'utf8',
    },
  );
  const { longest, left, peak } = JSON.parse(output) as Record<'longest' | 'left' | 'peak', number>;
  print(
    `| ${what}: the longest day, ${left.toLocaleString('en')} left | ${longest.toFixed(1)} | ${rate(count, longest)} | ${peak.toFixed(0)} |`,
  );
}

function row(what: string, objects: number, start: number, peak: number): void {
  const seconds = (performance.now() - start) / 1000;
  print(`| ${what} | ${seconds.toFixed(1)} | ${rate(objects, seconds)} | ${peak.toFixed(0)} |`);
}

function rate(objects: number, seconds: number): string {
  return Math.round(objects / seconds).toLocaleString('en');
}

await main();
