/**
 * A machine that lives for hundreds of days: each has edits, a backup to three stores, often a fault; some have a `forget`, some a repair. Days pass in the stores
 * as well, so what is dead goes. Loads nothing of the test runner.
 */

import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { check } from '../../dom0/commands/check.ts';
import { forget } from '../../dom0/commands/forget.ts';
import { restore } from '../../dom0/commands/restore.ts';
import { storageSync } from '../../dom0/commands/storage.ts';
import type { Domains } from '../../dom0/domains/domains.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { VmHistory } from '../../dom0/repository/vm-history.ts';
import { isBackupError } from '../../shared/errors.ts';
import { openEmbeddedStore } from '../../storagevm/config.ts';
import { sweepStore } from '../../storagevm/owner.ts';
import { surveyDifferences, surveyTree } from '../support/checker.ts';
import { filesBelow } from '../support/files-below.ts';
import { Home } from '../support/home.ts';
import { InProcessDomains } from '../support/in-process-domains.ts';
import { Random } from '../support/random.ts';
import type { Command } from '../support/run-app.ts';
import { WrappedDomains, withSteps } from '../support/wrapped-domains.ts';
import { VM, perform, run } from './commands.ts';

const STORES = ['main', 'second', 'third'] as const;
type StoreName = (typeof STORES)[number];
const DAY = 86_400_000;
/** What is kept, of hundreds of days. */
const RULES = { last: 3, daily: 7, weekly: 4, monthly: 12 };
/** Files of the volume, about. */
const FILES = 40;

/** What one process holds. */
export interface Held {
  /** Bytes after a collection. */
  readonly heap: number;
  readonly descriptors: number;
  /** Files of dom0's state, and of all that stores have beside objects and roots. */
  readonly files: number;
}

export class Soak {
  readonly home: Home;
  /** What each snapshot that is kept was, by its number. */
  readonly states = new Map<number, string>();
  /** Faults of each kind, and how many runs failed by them. */
  readonly faults = new Map<string, { runs: number; failed: number }>();
  /** Snapshots that there were. */
  made = 0;
  readonly #folder: string;
  readonly #random: Random;
  #now = Date.now() + 60_000;
  #written = 0;

  /** `folder` is empty. */
  constructor(folder: string, seed: number) {
    this.#folder = folder;
    this.#random = new Random(seed);
    mkdirSync(join(folder, 'home'));
    this.home = new Home({ folder: join(folder, 'home') });
  }

  async begin(): Promise<void> {
    const stores = STORES.flatMap((name) => ['[[storage]]', `vm = "${name}"`]);
    this.home.configure('[backup]', 'spot_check_mib = 0', ...stores);
    this.home.identify(VM);
    createKeyFile(this.home.keyFile).bytes.fill(0);
    for (const name of STORES) mkdirSync(this.#storage(name), { recursive: true });
    await perform('init', this.home.folder, this.#domains);
    for (let i = 0; i < FILES; i++) this.#edit(0);
  }

  /** One more day. */
  async live(day: number): Promise<void> {
    this.#now += DAY;
    for (const name of STORES) this.#age(name);
    for (let edits = 1 + this.#random.below(4); edits > 0; edits--) this.#edit(this.#random.below(10));
    await this.#faulty();
    await this.#note();
    if (day % 7 === 0) {
      await this.#run((app) => forget(app, [], { rules: RULES, yes: true }));
      await this.#note();
      for (const name of STORES) await this.#accept(name);
    }
    if (day % 10 === 0) await this.#mend();
  }

  /** Everything that is left is repaired; then a check of all must find nothing. */
  async end(): Promise<void> {
    await this.#mend();
    await this.#run((app) => check(app, 100));
  }

  /** Differences of what comes back; a line each. */
  async problems(): Promise<readonly string[]> {
    const problems: string[] = [];
    for (const [number, tree] of this.states) {
      await this.#run((app) => restore(app, `${VM}@${number}`, 'copy'));
      const copy = this.home.volume('copy');
      const found = surveyDifferences(surveyTree(tree), surveyTree(copy));
      problems.push(...found.map((line) => `snapshot ${number}: ${line}`));
      rmSync(join(copy, '..'), { recursive: true });
    }
    return problems;
  }

  /** The bytes of each store's objects. */
  sizes(): readonly number[] {
    return STORES.map((name) => objectBytes(this.#storage(name)));
  }

  /** What is dead goes from all stores. */
  async purge(): Promise<void> {
    const owner = { line: () => undefined, confirm: () => Promise.resolve(), progress: () => undefined };
    for (const name of STORES) {
      await this.#accept(name);
      await sweepStore(openEmbeddedStore(this.#storage(name)), owner, true);
    }
  }

  /** The bytes of a new store with the same snapshots, each backed up in its turn. */
  async freshSize(): Promise<number> {
    const folder = join(this.#folder, 'fresh');
    mkdirSync(folder);
    const home = new Home({ folder });
    home.configure('[backup]', 'spot_check_mib = 0');
    home.identify(VM);
    createKeyFile(home.keyFile).bytes.fill(0);
    const domains = new InProcessDomains(folder);
    await perform('init', folder, domains);
    const volume = home.volume(VM);
    for (const [, tree] of [...this.states].sort(([a], [b]) => a - b)) {
      for (const name of readdirSync(volume))
        if (!readdirSync(tree).includes(name)) rmSync(join(volume, name), { recursive: true });
      execFileSync('cp', ['-au', '--remove-destination', `${tree}/.`, volume]); // What is the same stays the same file.
      await perform('backup', folder, domains);
    }
    return objectBytes(join(folder, 'storage/main'));
  }

  /** What this process holds now, and what there is on disk beside backups. */
  held(): Held {
    collect();
    const { heapUsed, external } = process.memoryUsage(); // Before the lists of files below, which are long.
    const own = [this.home.state, ...STORES.map((name) => join(this.#storage(name), 'qubes-backup'))];
    const all = own.flatMap((folder) => filesBelow(folder).map(({ path }) => path));
    const files = all.filter((path) => !/\/(cache|objects|roots|marks|puts)\//.test(path));
    return {
      heap: heapUsed + external,
      descriptors: readdirSync('/proc/self/fd').length,
      files: files.length,
    };
  }

  /** Temporary files, and what a run makes for a moment. */
  leftovers(): readonly string[] {
    const all = filesBelow(this.home.folder).map(({ path }) => path.slice(this.home.folder.length + 1));
    const isLeft = (path: string) =>
      /\.tmp$|\/tmp\/|^state\/local\/(volatile|journal|promoted)\/|pending-root/.test(path) ||
      /^vms\/(?!work\/)/.test(path);
    return all.filter((path) => isLeft(path) && !path.startsWith(`vms/${VM}/private/`));
  }

  get #domains(): InProcessDomains {
    return new InProcessDomains(this.home.folder, () => this.#now);
  }

  #storage(name: StoreName): string {
    return join(this.home.folder, 'storage', name);
  }

  #run(command: Command, domains: Domains = this.#domains) {
    return run(domains, this.home.folder, command);
  }

  /** `kind`: below 6 a file is written, else one goes, gets another name, or a link is made. */
  #edit(kind: number): void {
    const volume = this.home.volume(VM);
    const names = readdirSync(volume);
    const fresh = join(volume, `f${this.#written++}`);
    const old = names.length === 0 ? fresh : join(volume, this.#random.pick(names));
    const bytes = () => {
      const size = 1 + this.#random.below(40_000);
      return this.#random.chance(0.5) ? this.#random.bytes(size) : this.#random.text(size);
    };
    if (kind < 3 || names.length < FILES / 2) writeFileSync(fresh, bytes());
    else if (kind < 6 || names.length > 2 * FILES) {
      rmSync(old);
      if (kind < 6) writeFileSync(old, bytes());
    } else if (kind === 6) rmSync(old);
    else if (kind === 7) renameSync(old, fresh);
    else symlinkSync('nowhere', fresh);
  }

  /** A backup in which something may go wrong. */
  async #faulty(): Promise<void> {
    const [kind, make] = this.#random.chance(0.4) ? NOTHING : this.#random.pick(FAULTS);
    const { domains = this.#domains, undo } = make({
      domains: this.#domains,
      random: this.#random,
      storage: (name) => this.#storage(name),
      state: this.home.state,
    });
    const row = this.faults.get(kind) ?? { runs: 0, failed: 0 };
    this.faults.set(kind, row);
    row.runs += 1;
    try {
      await perform('backup', this.home.folder, domains);
    } catch (error) {
      if (!isBackupError(error)) throw error;
      row.failed += 1;
    } finally {
      undo?.();
    }
  }

  /** Keeps what the volume is for a snapshot that is new, and drops it of those that are forgotten. */
  async #note(): Promise<void> {
    const numbers = new Set<number>();
    await this.#run(async (app) => {
      app.defer(() => app.storage.abort());
      const repository = await app.open();
      for (const vm of repository.vms)
        for (const { number, partial } of await (await VmHistory.read(repository, vm)).entries())
          if (!partial) numbers.add(number);
    });
    for (const [number, tree] of this.states) {
      if (numbers.has(number)) continue;
      rmSync(tree, { recursive: true });
      this.states.delete(number);
    }
    for (const number of numbers) {
      if (this.states.has(number)) continue;
      const tree = join(this.#folder, `was-${number}`);
      execFileSync('cp', ['-a', this.home.volume(VM), tree]); // Node's own copy loses nanoseconds.
      this.states.set(number, tree);
      this.made += 1;
    }
  }

  async #mend(): Promise<void> {
    await this.#run((app) => check(app, 100, true));
    await this.#run((app) => storageSync(app, undefined, false));
  }

  /** The owner accepts a list that leaves out much. */
  async #accept(name: StoreName): Promise<void> {
    const store = openEmbeddedStore(this.#storage(name));
    if ((await store.exists()) && (await store.ledger.readState()).waiting !== null) await store.acceptList();
  }

  /** A day passes in a store. */
  #age(name: StoreName): void {
    const file = join(this.#storage(name), 'qubes-backup/ledger/clock');
    const { age, at } = JSON.parse(readFileSync(file, 'utf8')) as { age: number; at: number };
    rmSync(file); // It is read-only.
    writeFileSync(file, JSON.stringify({ age, at: at - DAY }));
  }
}

/** Frees what nobody holds. The bytes of a buffer go with the collection after that of the buffer. */
function collect(): void {
  setFlagsFromString('--expose-gc');
  const collectOnce = runInNewContext('gc') as () => void;
  for (let i = 0; i < 3; i++) collectOnce();
}

interface Place {
  readonly domains: Domains;
  readonly random: Random;
  readonly storage: (name: StoreName) => string;
  readonly state: string;
}

/** What to use instead, and how to end it after the run. */
type MakeFault = (place: Place) => { readonly domains?: Domains; readonly undo?: () => void };

/** A service of that name dies at some read or write. */
const dying =
  (name: RegExp): MakeFault =>
  ({ domains, random }) => {
    let left = 1 + random.below(40);
    return {
      domains: new WrappedDomains(domains, (call, service) =>
        name.test(service)
          ? withSteps(call, () => {
              left -= 1;
              if (left === 0) call.kill();
            })
          : call,
      ),
    };
  };

/** A byte of some file below `folder` becomes another. */
function rot(random: Random, folder: string): void {
  const files = filesBelow(folder).filter(({ size }) => size > 0);
  if (files.length === 0) return;
  const { path, size } = random.pick(files);
  const bytes = readFileSync(path);
  bytes[random.below(size)]! ^= 1 << random.below(8);
  rmSync(path);
  writeFileSync(path, bytes);
}

const NOTHING: readonly [string, MakeFault] = ['nothing', () => ({})];
const FAULTS: readonly (readonly [string, MakeFault])[] = [
  ['the scan dies', dying(/Scan$/)],
  ['a session that stores dies', dying(/Put$/)],
  ['a session that reads dies', dying(/Get$/)],
  ['a session that publishes dies', dying(/SetRoot$/)],
  [
    'a store is away',
    ({ random, storage }) => {
      const folder = storage(random.pick(['second', 'third'] as const));
      renameSync(folder, `${folder}.away`);
      return { undo: () => renameSync(`${folder}.away`, folder) };
    },
  ],
  [
    'a byte of an object is wrong',
    ({ random, storage }) => {
      rot(random, join(storage('second'), 'qubes-backup/objects'));
      return {};
    },
  ],
  [
    'a byte of the newest root is wrong',
    ({ random, storage }) => {
      const folder = join(storage('third'), 'qubes-backup/roots');
      const file = join(folder, readdirSync(folder).sort().at(-1) ?? '');
      const bytes = readFileSync(file);
      bytes[random.below(bytes.length)]! ^= 1 << random.below(8);
      rmSync(file);
      writeFileSync(file, bytes);
      return {};
    },
  ],
  [
    'a byte of the cache is wrong',
    ({ random, state }) => {
      rot(random, join(state, 'cache'));
      return {};
    },
  ],
];

function objectBytes(storage: string): number {
  return filesBelow(join(storage, 'qubes-backup/objects')).reduce((sum, { size }) => sum + size, 0);
}
