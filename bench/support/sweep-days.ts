/**
 * `sweep-days.ts HOME FROM TO`: lets the days FROM to TO from now pass in the store of a storage VM, each with its sweep, and prints as JSON what the
 * longest of them took in seconds, how many objects are left, and the peak of this process's memory in MiB.
 */

import { join } from 'node:path';
import { DirectoryBackEnd } from '../../storagevm/directory.ts';
import { Ledger } from '../../storagevm/ledger/ledger.ts';
import { Store } from '../../storagevm/store.ts';
import { peakOf } from './storage-service.ts';

const DAY = 24 * 3600;

const [home = '', from = '', to = ''] = process.argv.slice(2);
const folder = join(home, 'qubes-backup');
let now = Date.now() + Number(from) * DAY * 1000;
const ledger = new Ledger(join(folder, 'ledger'), () => now);
const settings = { quota: undefined, reserve: 0, grace: 30 * DAY };
const store = new Store(new DirectoryBackEnd(folder), ledger, settings);

let longest = 0;
for (let day = Number(from); day < Number(to); day++) {
  now += DAY * 1000;
  await ledger.clock.advance();
  const start = performance.now();
  await store.sweepABit(Infinity);
  longest = Math.max(longest, (performance.now() - start) / 1000);
}
let left = 0;
for await (const batch of store.list()) left += batch.length;
process.stdout.write(JSON.stringify({ longest, left, peak: peakOf(undefined) }));
