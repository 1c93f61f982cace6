/**
 * `npm run bench:blobs [-- --blobs 1300000]`: the history of a VM of so many blobs, which are 10 TiB if each is as large as a full one; here each
 * is as small as one can be. dom0's own code, each step in a process of its own, against the services of a storage VM in theirs: what a first
 * snapshot, one of nothing new, and one of a hundredth of new blobs all over cost, and what it costs to forget one, to name all that is needed in a live
 * list, and to look for all of it in the store.
 */

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { LocalDomains } from '../dom0/domains/local/local.ts';
import { forgetSnapshots } from '../dom0/repository/forget-snapshots.ts';
import { neededObjects, publishLiveList } from '../dom0/repository/live-objects.ts';
import type { Repository } from '../dom0/repository/repository.ts';
import { KIND } from '../dom0/seal/object.ts';
import type { BlobKind } from '../dom0/seal/object.ts';
import { Listing } from '../dom0/storage/listing.ts';
import { utf8 } from '../shared/bytes.ts';
import { DOM0_NODE_OPTIONS } from '../shared/node-options.ts';
import { put } from '../shared/protocol/storage.ts';
import { Machine, commitVolume, historyFor, writerFor } from '../test/support/repository-bench.ts';
import { peakOf } from './support/storage-service.ts';
import { count, print, size } from './support/terminal.ts';

/** Blobs that are sent before one waits for the store. */
const AHEAD = 512;
/** Of so many blobs one is replaced. */
const SHARE = 100;

const { values } = parseArgs({
  options: {
    blobs: { type: 'string', default: '1300000' },
    step: { type: 'string' },
    folder: { type: 'string' },
  },
});
const total = Number(values.blobs);

const STEPS: Readonly<Record<string, (machine: Machine) => Promise<void>>> = {
  'first snapshot': first,
  'snapshot of nothing new': async (machine) => snapshot(await open(machine), () => false),
  'snapshot with one blob in a hundred replaced, all over': async (machine) =>
    snapshot(await open(machine), (place) => place % SHARE === 50),
  'forget the snapshot between': async (machine) => forgetMiddle(await open(machine)),
  'publish a live list': async (machine) => publishLiveList(await open(machine), Date.now()),
  'look for all that is needed': async (machine) => lookForAll(await open(machine), machine),
};

function runAll(): void {
  const folder = mkdtempSync(join(process.env['BENCH_FOLDER'] ?? tmpdir(), 'qib-blobs-'));
  try {
    print(`${availableParallelism()} x ${cpus()[0]?.model ?? '?'}, Node ${process.version}, one run`);
    print('');
    print(`| ${count(total)} blobs | seconds | dom0's peak, MiB | sent to the store |`);
    print('|---|---|---|---|');
    for (const step of Object.keys(STEPS)) {
      const child = ['--folder', folder, '--blobs', String(total), '--step', step];
      const output = execFileSync(process.execPath, [...DOM0_NODE_OPTIONS, import.meta.filename, ...child], {
        encoding: 'utf8',
      });
      const { seconds, peak, sent } = JSON.parse(output) as Record<'seconds' | 'peak' | 'sent', number>;
      print(`| ${step} | ${seconds.toFixed(1)} | ${peak.toFixed(0)} | ${size(sent)} |`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function runStep(step: string, folder: string): Promise<void> {
  mkdirSync(join(folder, 'state'), { recursive: true });
  const domains = new LocalDomains({ home: folder, sandbox: 'none' });
  const store = join(folder, 'storage', 'main', 'qubes-backup');
  mkdirSync(join(store, '..'), { recursive: true });
  const machine = new Machine(store, join(folder, 'state'), [], (service) =>
    domains.callStorage('main', service),
  );
  let sent = 0;
  machine.wrap = (call, _store, service) => ({
    ...call,
    io: {
      ...call.io,
      write: (pieces) => {
        if (service === put.service) for (const { length } of pieces) sent += length;
        return call.io.write(pieces);
      },
    },
  });
  const start = performance.now();
  await STEPS[step]?.(machine);
  await machine.stores.close();
  const seconds = (performance.now() - start) / 1000;
  process.stdout.write(JSON.stringify({ seconds, peak: peakOf(undefined), sent }));
}

function open(machine: Machine): Promise<Repository> {
  machine.publishes = true;
  return machine.open();
}

async function first(machine: Machine): Promise<void> {
  await snapshot(await machine.create(), () => true);
}

/** Publishes a snapshot of a tree and `total` blobs, of which those are new whose place says so; all others are those of the snapshot before. */
async function snapshot(repository: Repository, isNew: (place: number) => boolean): Promise<void> {
  const writer = await writerFor(repository);
  const base = writer.baseLive;
  const sending = new Set<Promise<void>>();
  const live: number[] = [];
  const append = async (kind: BlobKind) => {
    const { number, durable } = await writer.append(kind, utf8(`blob ${live.length}`));
    live.push(number);
    const sent: Promise<void> = durable.then(() => void sending.delete(sent));
    sending.add(sent);
    if (sending.size >= AHEAD) await sending.values().next().value;
  };
  const before = base[Symbol.iterator]();
  for (let place = 0; place < total; place++) {
    const known = before.next();
    if (known.done !== true && !isNew(place)) live.push(known.value);
    else await append(KIND.content);
  }
  const top = writer.base?.volumes[0]?.top;
  if (top === undefined || live.some((_number, place) => isNew(place))) await append(KIND.tree);
  else live.push(top);
  await Promise.all(sending);
  await commitVolume(writer, live.at(-1) ?? 0, live);
}

async function forgetMiddle(repository: Repository): Promise<void> {
  await forgetSnapshots(repository, await historyFor(repository), new Set([2]), Date.now);
}

/** As `check` and `sync` do. */
async function lookForAll(repository: Repository, machine: Machine): Promise<void> {
  const present = await Listing.of(machine.storage);
  let objects = 0;
  for await (const id of neededObjects(repository)) {
    if (present.problemOf(id) !== undefined) throw new Error(`object ${id} is not there`);
    objects += 1;
  }
  if (objects < total) throw new Error(`only ${objects} objects are needed`);
}

if (values.step === undefined) runAll();
else await runStep(values.step, values.folder ?? '');
