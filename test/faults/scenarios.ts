/** What is done when a process dies: each command, on a home as the ones before it leave one. */

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { Home } from '../support/home.ts';
import { InProcessDomains } from '../support/in-process-domains.ts';
import { Random } from '../support/random.ts';
import { SECOND_KEY, VM, perform, storeIn } from './commands.ts';
import type { CommandName } from './commands.ts';

/** A home, and what its volume was at each snapshot that its store has. */
interface Template {
  readonly home: string;
  /** Folders by number. */
  readonly snapshots: ReadonlyMap<number, string>;
}

/** Travels between processes. */
export interface Scenario {
  readonly name: string;
  readonly command: CommandName;
  readonly template: Template;
}

/** Bytes of the files of a volume. Whole chunks, and objects, of different sizes. */
const SIZES = [0, 100, 5_000, 40_000, 70_000, 120_000];

/** Makes the homes in `folder`; `seed` decides what is in them. */
export async function makeScenarios(folder: string, seed: number): Promise<readonly Scenario[]> {
  const maker = new Maker(folder, new Random(seed));
  const empty = maker.fresh();
  const initialised = await maker.after(empty, 'init');
  const backedUp = await maker.after(initialised, 'backup');
  const changed = maker.changed(backedUp);
  const twice = maker.aged(await maker.after(changed, 'backup'));
  const forgotten = await maker.after(twice, 'forget');
  const scenario = (name: string, command: CommandName, template: Template) => ({ name, command, template });
  return [
    scenario('init', 'init', empty),
    scenario('first backup', 'backup', initialised),
    scenario('next backup', 'backup', changed),
    scenario('checkpoints', 'checkpointed', initialised),
    scenario('restore', 'restore', changed),
    scenario('check', 'check', twice),
    scenario('forget', 'forget', twice),
    scenario('purge', 'purge', forgotten),
    scenario('key add', 'key add', changed),
  ];
}

class Maker {
  readonly #folder: string;
  readonly #random: Random;
  #made = 0;

  constructor(folder: string, random: Random) {
    this.#folder = folder;
    this.#random = random;
  }

  #copy(of: string): string {
    const copy = join(this.#folder, `${this.#made++}`);
    mkdirSync(copy);
    execFileSync('cp', ['-a', `${of}/.`, copy]); // Node's own copy loses nanoseconds.
    return copy;
  }

  fresh(): Template {
    const folder = join(this.#folder, `${this.#made++}`);
    mkdirSync(folder);
    const home = new Home({ folder });
    home.identify(VM);
    mkdirSync(join(home.volume(VM), 'folder/deep'), { recursive: true });
    for (const [at, size] of SIZES.entries()) {
      const bytes = at % 2 === 0 ? this.#random.bytes(size) : this.#random.text(size);
      home.write(VM, at < 3 ? `file-${at}` : `folder/deep/file-${at}`, bytes);
    }
    symlinkSync('../file-1', join(home.volume(VM), 'folder/link'));
    chmodSync(join(home.volume(VM), 'file-2'), 0o604);
    for (const name of ['key-file', SECOND_KEY]) createKeyFile(join(folder, name)).bytes.fill(0);
    return { home: folder, snapshots: new Map() };
  }

  /** A home with a run of `command` more. */
  async after({ home, snapshots }: Template, command: CommandName): Promise<Template> {
    const next = this.#copy(home);
    await perform(command, next, new InProcessDomains(next));
    if (command === 'forget') return { home: next, snapshots: new Map([...snapshots].slice(-1)) };
    if (command !== 'backup') return { home: next, snapshots };
    const tree = this.#copy(volumeIn(next));
    return { home: next, snapshots: new Map([...snapshots, [snapshots.size + 1, tree]]) };
  }

  /** A home whose VM did something. */
  changed({ home, snapshots }: Template): Template {
    const next = this.#copy(home);
    const volume = new Home({ folder: next, existing: true });
    volume.write(VM, 'file-1', this.#random.bytes(3_000));
    volume.write(VM, 'folder/new', this.#random.bytes(30_000));
    rmSync(join(volumeIn(next), 'folder/deep/file-3'));
    return { home: next, snapshots };
  }

  /** A home whose store is a day older: what is dead in it may go. */
  aged({ home, snapshots }: Template): Template {
    const next = this.#copy(home);
    const file = join(storeIn(next), 'ledger/clock');
    const { age, at } = JSON.parse(readFileSync(file, 'utf8')) as { age: number; at: number };
    rmSync(file); // It is read-only.
    writeFileSync(file, `${JSON.stringify({ age, at: at - 86_400_000 })}\n`);
    return { home: next, snapshots };
  }
}

const volumeIn = (home: string) => join(home, 'vms', VM, 'private');
