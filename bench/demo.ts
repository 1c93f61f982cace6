/**
 * `npm run demo [-- FOLDER]`: the main job on real data, through the command line as a person uses it. Copies
 * FOLDER (default: this project's node_modules) into a temporary home as the private volume of a VM; FOLDER
 * itself is only read. Exits 0 only if every promise was kept; removes its home, also after Ctrl-C.
 */

import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import { Stopped, run } from './support/command.ts';
import { NO_EXCLUDES } from './support/config.ts';
import type { Ended } from './support/command.ts';
import { compareTrees, copyTree, flipByte, makeWorkFolder, removeTree, survey } from './support/folders.ts';
import type { Survey } from './support/folders.ts';
import { banner, bold, count, facts, judge, print, quote, seconds, size } from './support/terminal.ts';

const PROJECT = resolve(import.meta.dirname, '..');
const COMMAND = join(PROJECT, 'bin', 'qubes-backup');
const MiB = 1024 * 1024;

/** Exit statuses of the command line. */
const COMPLETE = 0;
const FAILED = 1;
const WARNINGS = 3;

class Demo {
  readonly #source: string;
  readonly #work: string;
  readonly #home: string;
  readonly #volume: string;
  readonly #objects: string;
  readonly #passphrase: string;
  #sandbox: 'auto' | 'none' = 'auto';
  readonly #broken: string[] = [];
  #warned = false;
  #step = 0;

  constructor(source: string, work: string) {
    this.#source = source;
    this.#work = work;
    this.#home = join(work, 'home');
    this.#volume = join(this.#home, 'vms', 'work', 'private');
    this.#objects = join(this.#home, 'storage', 'main', 'qubes-backup', 'objects');
    this.#passphrase = join(work, 'passphrase');
  }

  /** True if all promises were kept. */
  async play(): Promise<boolean> {
    const original = await this.#prepare();
    await this.#createStore();
    const first = await this.#backUp('Back up the VM', original);
    const [victim] = survey(this.#objects).files; // The largest object of snapshot 1.
    if (victim === undefined) throw new Error('the store holds no object');
    await this.#backUpUnchanged(first);
    await this.#backUpChanged(this.#changeFiles(original));
    await this.#restore();
    await this.#tamper(victim.path);
    return this.#verdict();
  }

  async #prepare(): Promise<Survey> {
    this.#heading('Take a real folder as the private volume of a VM named "work"');
    const original = survey(this.#source);
    facts([
      ['folder', this.#source],
      [
        'holds',
        `${count(original.entries)} entries, ${count(original.files.length)} files, ${size(original.bytes)}`,
      ],
      ['home', `${this.#home} (temporary)`],
      ['left out', 'nothing: its config.toml switches the excludes off, so that every file can be compared'],
    ]);
    const { bavail, bsize } = statfsSync(this.#work);
    const needed = 4 * original.bytes + 256 * MiB;
    if (bavail * bsize < needed) {
      throw new Error(
        `${this.#work} has ${size(bavail * bsize)} free, ${size(needed)} are needed: set TMPDIR, or give a smaller folder`,
      );
    }
    mkdirSync(this.#volume, { recursive: true });
    await copyTree(this.#source, this.#volume);
    writeFileSync(join(this.#home, 'config.toml'), NO_EXCLUDES);
    writeFileSync(this.#passphrase, `${randomBytes(24).toString('base64')}\n`, { mode: 0o600 });
    return original;
  }

  async #createStore(): Promise<void> {
    this.#heading('Create a store, sealed under a passphrase');
    const tried = await this.#cli('init');
    if (tried.code === FAILED && (await this.#cli('--json', 'init')).stdout.includes('"code":"sandbox"')) {
      this.#sandbox = 'none';
      banner([
        'This machine forbids the namespaces that a sandbox is made of.',
        'The demo goes on with --sandbox none: same services, same policy, same bytes,',
        'but the parts are NOT isolated from this machine. Do not judge isolation by this run.',
      ]);
      this.#expect(COMPLETE, await this.#show('init'));
      return;
    }
    this.#shown('init', tried);
    this.#expect(COMPLETE, tried);
  }

  async #backUp(title: string, original: Survey): Promise<number> {
    this.#heading(title);
    const ended = await this.#show('backup', 'work');
    this.#expect(COMPLETE, ended);
    const stored = this.#storedBytes();
    facts([
      ['took', `${seconds(ended.took)}, ${size(original.bytes / (ended.took / 1000))}/s`],
      [
        'store now holds',
        `${size(stored)} (${((100 * stored) / Math.max(original.bytes, 1)).toFixed(0)} % of the data)`,
      ],
    ]);
    return stored;
  }

  /** Changes a little of everything; answers the bytes that were newly written. */
  #changeFiles(original: Survey): number {
    this.#heading('Change a few files');
    const at = (file: { path: string } | undefined) =>
      file && join(this.#volume, relative(this.#source, Buffer.from(file.path, 'latin1').toString('utf8')));
    const editable = original.files.filter((file) => file.size > 0 && !/[^\x20-\x7e]/.test(file.path));
    const [largest, ...rest] = editable;
    const middle = rest[Math.floor(rest.length / 2)];
    const told: [string, string][] = [];
    const added = randomBytes(100_000);
    writeFileSync(join(this.#volume, 'added by the demo'), added);
    told.push(['added', `a file of ${size(added.length)}`]);
    const [big, appended, removed, renamed] = [at(largest), at(middle), at(rest[0]), at(rest[1])];
    if (big !== undefined && largest !== undefined) {
      const mode = statSync(big).mode;
      flipByte(big);
      chmodSync(big, mode);
      told.push(['changed', `one byte in the middle of the largest file (${size(largest.size)})`]);
    }
    if (appended !== undefined && rest.length > 3) {
      chmodSync(appended, 0o644);
      appendFileSync(appended, 'appended by the demo\n');
      told.push(['appended', 'a line to another']);
    }
    if (removed !== undefined && rest.length > 3) {
      rmSync(removed);
      told.push(['removed', `a file of ${size(rest[0]?.size ?? 0)}`]);
    }
    if (renamed !== undefined && rest.length > 3) {
      renameSync(renamed, `${renamed}.renamed`);
      told.push(['renamed', `a file of ${size(rest[1]?.size ?? 0)}`]);
    }
    facts(told);
    return added.length;
  }

  /** Before anything is removed: a run after that stores again what is left of packs that are mostly dead. */
  async #backUpUnchanged(before: number): Promise<void> {
    this.#heading('Back up again, with nothing changed');
    this.#expect(COMPLETE, await this.#show('backup', 'work'));
    const idle = this.#storedBytes() - before;
    this.#judge(idle < MiB, `a second backup, with nothing changed, stored ${size(idle)}, less than 1 MiB`);
  }

  async #backUpChanged(added: number): Promise<void> {
    this.#heading('Back up again: only what changed moves');
    const before = this.#storedBytes();
    const ended = await this.#show('backup', 'work');
    this.#expect(COMPLETE, ended);
    const moved = this.#storedBytes() - before;
    facts([
      ['took', seconds(ended.took)],
      ['store grew by', size(moved)],
    ]);
    // One chunk is at most 2 MiB; some packs and the changed leaves of the tree come with it.
    this.#judge(
      moved < added + 8 * MiB,
      `the third backup stored ${size(moved)}, less than 8 MiB beyond what was added`,
    );
    this.#expect(COMPLETE, await this.#show('list'));
  }

  async #restore(): Promise<void> {
    this.#heading('Restore it beside the original');
    const ended = await this.#show('restore', 'work', '--as', 'work-restored');
    this.#expect(COMPLETE, ended);
    facts([['took', seconds(ended.took)]]);
    print();
    print('   Compare both with a tool that is not ours:');
    const { tool, differences } = await compareTrees(
      this.#volume,
      join(this.#home, 'vms', 'work-restored', 'private'),
    );
    quote(`${tool}\n${differences.slice(0, 10).join('\n')}`);
    this.#judge(
      differences.length === 0,
      ['the restored volume is the original', ...differences.slice(0, 3)].join('; '),
    );
  }

  async #tamper(victim: string): Promise<void> {
    this.#heading('Let the storage VM alter one byte');
    const healthy = await this.#show('check', '--read-data', '100');
    this.#expect(COMPLETE, healthy);
    this.#judge(healthy.code === COMPLETE, 'the untouched store is found sound');
    flipByte(victim);
    print(`   One bit pattern of ${relative(this.#objects, victim)} is now another.`);
    const checked = await this.#show('check', '--read-data', '100');
    this.#judge(checked.code === FAILED && checked.stderr !== '', 'check tells, and exits with 1');
    const restored = await this.#show('restore', 'work@1', '--as', 'work-tampered');
    this.#judge(restored.code === FAILED && restored.stderr !== '', 'restore refuses, and exits with 1');
    const vms = readdirSync(join(this.#home, 'vms')).sort();
    this.#judge(vms.join() === 'work,work-restored', `no half-restored VM is left: ${vms.join(', ')}`);
    flipByte(victim);
    const mended = await this.#cli('check', '--read-data', '100');
    this.#judge(mended.code === COMPLETE, 'with that byte as it was, check finds the store sound again');
  }

  #verdict(): boolean {
    print();
    if (this.#broken.length > 0) {
      print(bold(`BROKEN: ${count(this.#broken.length)} of the promises were not kept:`));
      for (const promise of this.#broken) print(`   ${promise}`);
    } else if (this.#warned) print(bold('Every promise was kept; some commands named warnings, see above.'));
    else print(bold('Every promise was kept.'));
    if (this.#sandbox === 'none') print('(Without sandboxes: this machine forbids them.)');
    return this.#broken.length === 0;
  }

  #heading(text: string): void {
    this.#step += 1;
    print();
    print(bold(`${this.#step}. ${text}`));
  }

  #cli(...args: string[]): Promise<Ended> {
    return run(COMMAND, [
      '--local',
      this.#home,
      '--passphrase-file',
      this.#passphrase,
      '--sandbox',
      this.#sandbox,
      ...args,
    ]);
  }

  async #show(...args: string[]): Promise<Ended> {
    const ended = await this.#cli(...args);
    this.#shown(args.join(' '), ended);
    return ended;
  }

  #shown(words: string, ended: Ended): void {
    print();
    print(`   $ qubes-backup ${words}`);
    quote(ended.stdout + ended.stderr);
    if (ended.code !== COMPLETE) print(`   exit status ${ended.code}`);
  }

  #judge(kept: boolean, text: string): void {
    if (!kept) this.#broken.push(text);
    judge(kept, text);
  }

  /** Without this step the rest says nothing: a failure ends the demo. */
  #expect(status: number, ended: Ended): void {
    if (ended.code === WARNINGS) this.#warned = true;
    else if (ended.code !== status) throw new Error(`the command ended with ${ended.code}, not ${status}`);
  }

  /** Bytes in the store's objects, counted on the disk. */
  #storedBytes(): number {
    return survey(this.#objects).bytes;
  }
}

async function main(): Promise<number> {
  const source = resolve(process.argv[2] ?? join(PROJECT, 'node_modules'));
  if (!statSync(source, { throwIfNoEntry: false })?.isDirectory()) {
    process.stderr.write(`${source} is no folder. Usage: npm run demo [-- FOLDER]\n`);
    return 2;
  }
  const work = makeWorkFolder();
  try {
    if (`${work}${sep}`.startsWith(source === sep ? sep : `${source}${sep}`)) {
      throw new Error(`the demo works in ${work}, inside that folder: set TMPDIR to another place`);
    }
    return (await new Demo(source, work).play()) ? 0 : 1;
  } catch (error) {
    if (error instanceof Stopped) return 130;
    process.stderr.write(`\nThe demo failed: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  } finally {
    await removeTree(work);
  }
}

process.exitCode = await main();
