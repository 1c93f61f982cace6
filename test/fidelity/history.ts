/**
 * One VM's history from a seed: a random tree, then generation after generation of random edits, each backed up by
 * dom0's own code over all services in this process. Of some generations everything is remembered by the checker; in
 * the end those snapshots are restored by the real path, digest verified, and must be what the volume was.
 */

import { spawnSync } from 'node:child_process';
import { lstatSync, mkdirSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { backup } from '../../dom0/commands/backup.ts';
import { init } from '../../dom0/commands/init.ts';
import { restore } from '../../dom0/commands/restore.ts';
import { messageOf } from '../../shared/errors.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { DEEP_FOLDER, rsyncDifferences, surveyDifferences, surveyTree } from '../support/checker.ts';
import type { Facts, TreeSurvey } from '../support/checker.ts';
import type { Event } from '../support/home.ts';
import { InProcessDomains } from '../support/in-process-domains.ts';
import { runOver } from '../support/in-process.ts';
import { isInstalled } from '../support/needs.ts';
import { Random } from '../support/random.ts';
import { removeTree } from '../support/temp.ts';
import { generateTree } from '../support/tree-generator.ts';
import { runCommand } from './command-line.ts';
import type { HomeFolder } from './command-line.ts';
import { Editor } from './editor.ts';
import type { Abilities, Kind } from './editor.ts';
import { listItems } from './volume-files.ts';

export interface HistoryOptions {
  readonly seed: number;
  /** Generations of edits after the first backup. */
  readonly generations: number;
  /** Edits in each. */
  readonly edits: number;
  /** How many snapshots to restore, or `each` right after it was made. */
  readonly restores: number | 'each';
  /** An empty folder, for the home of the local driver. The volume and what is restored lie in its `vms`. */
  readonly folder: string;
  readonly abilities: Abilities;
  /** Ends with this generation, of which only the first so many edits are made: to find the edit that breaks. */
  readonly cut?: { readonly generation: number; readonly edits: number };
}

/** The backup that broke its promise, or the snapshot that was restored wrongly. */
export class BrokenHistory extends Error {
  readonly generation: number;
  /** Of that generation. */
  readonly edits: readonly string[];

  constructor(seed: number, generation: number, edits: readonly string[], what: readonly string[]) {
    const shown = what.slice(0, 20).join('\n  ');
    const numbered = edits.map((edit, i) => `\n  ${i + 1}. ${edit}`).join('');
    super(
      `seed ${seed}, generation ${generation}:\n  ${shown}\n edits of generation ${generation}:${numbered}`,
    );
    this.generation = generation;
    this.edits = edits;
  }
}

/** What one generation was about; `none` is a run without any change. */
type Theme = Kind | 'none';

/** What a generation looked like. */
interface Remembered {
  /** Since the generation before. */
  readonly edits: readonly string[];
  readonly survey: TreeSurvey;
  /** A copy, made by rsync and held against the survey. */
  readonly copy: string;
}

/** Plays one history. Throws {@link BrokenHistory}. */
export async function playHistory(options: HistoryOptions): Promise<void> {
  await new History(options).play();
}

class History {
  readonly #options: HistoryOptions;
  readonly #home: HomeFolder;
  readonly #volume: string;
  readonly #domains: InProcessDomains;
  readonly #random: Random;
  readonly #editor: Editor;
  readonly #remembered = new Map<number, Remembered>();
  #generation = 0;
  #edits: readonly string[] = [];
  #stamps = new Map<string, Stamp>();

  constructor(options: HistoryOptions) {
    const { folder, seed, abilities } = options;
    this.#options = options;
    this.#home = { folder, keyFile: join(folder, 'key-file') };
    this.#volume = join(folder, 'vms/work/private');
    mkdirSync(this.#volume, { recursive: true });
    // Random edits may well rename or delete half of the files at once; here every other warning is a fault.
    writeFileSync(join(folder, 'config.toml'), '[backup]\nanomaly_percent = 100\n');
    // Every entry counts as older than its snapshot by so much that its time stamps can be trusted.
    this.#domains = new InProcessDomains(folder, () => Date.now() + 10_000);
    this.#random = new Random(seed);
    this.#editor = new Editor(this.#volume, this.#random, abilities);
  }

  async play(): Promise<void> {
    const { seed, generations, restores, cut, abilities } = this.#options;
    generateTree(this.#volume, { seed, entries: 110, maxFile: 260_000, maxTarget: abilities.longestTarget });
    await this.#over((app) => init(app, () => Promise.resolve([createKeyFile(this.#home.keyFile)])));
    await this.#backUp();
    const kept = new Set<number>();
    const random = new Random(~seed); // Apart: the edits are the same whatever is restored.
    if (restores !== 'each')
      while (kept.size < Math.min(restores, generations)) kept.add(1 + random.below(generations));
    for (let generation = 1; generation <= generations; generation++) {
      const last = cut?.generation === generation;
      await this.#advance(generation, last ? cut.edits : this.#options.edits);
      if (restores === 'each' || kept.has(generation) || last) this.#remember();
      if (restores === 'each' || last) await this.#restore(generation, false);
      if (last) return;
    }
    let turn = 0;
    for (const generation of this.#remembered.keys()) await this.#restore(generation, turn++ === 0);
    this.#command('check', '--read-data', '100%');
  }

  async #advance(generation: number, count: number): Promise<void> {
    this.#generation = generation;
    const theme = this.#theme(generation);
    const before = theme === 'metadata' ? surveyTree(this.#volume) : undefined;
    this.#edits = theme === 'none' ? [] : this.#editor.edit(theme, count);
    const unexplained = before && this.#unexplainedBytes(before);
    const touched = this.#newStamps();
    const made = await this.#backUp();
    const facts = `(theme ${theme}: ${JSON.stringify(made)})`;
    const number = (field: string) => Number(made[field]);
    if (number('readBytes') > touched)
      this.#broken(`read more than the changed files, ${touched} bytes ${facts}`);
    if (theme === 'none' && number('changedFiles') !== 0)
      this.#broken(`an unchanged volume has changes ${facts}`);
    if (unexplained !== undefined && number('readBytes') > unexplained)
      this.#broken(`read content for a change of metadata; ${unexplained} bytes had to be ${facts}`);
    // Later on, a run that reads anything also moves chunks out of mostly dead packs, which stores content.
    const isQuiet = theme === 'none' || unexplained === 0 || generation <= 3;
    if (isQuiet && number('storedContentObjects') !== 0)
      this.#broken(`stored content without any that is new ${facts}`);
  }

  /** The first four generations show, each by itself, what must store nothing; later ones are mostly of everything. */
  #theme(generation: number): Theme {
    const first: readonly Theme[] = ['touch', 'names', 'metadata', 'none'];
    return (
      first[generation - 1] ?? this.#random.pick<Theme>([...ANYTHING, 'touch', 'names', 'metadata', 'none'])
    );
  }

  /** Takes the new time stamps; answers the bytes of files that have others than before, or other names. */
  #newStamps(): number {
    const before = this.#stamps;
    this.#stamps = stampsOf(this.#volume);
    let bytes = APART_BYTES;
    for (const [path, stamp] of this.#stamps) if (before.get(path)?.text !== stamp.text) bytes += stamp.size;
    return bytes;
  }

  /**
   * Bytes of files whose ctime is new although nothing that the checker knows of is, or nothing that a write does not
   * change as well.
   */
  #unexplainedBytes(before: TreeSurvey): number {
    const after = surveyTree(this.#volume);
    const stamps = stampsOf(this.#volume);
    // The blocks of a file that was just written become others when the file system gets to writing them.
    const told = (facts: Facts | undefined) => JSON.stringify({ ...facts, occupied: undefined });
    let bytes = 0;
    for (const [path, stamp] of stamps) {
      const [one, two] = [before.get(path), after.get(path)];
      const mayBeWritten = told(one) === told(two) || lostPrivileges(one, two);
      if (this.#stamps.get(path)?.text !== stamp.text && mayBeWritten) bytes += stamp.size;
    }
    return bytes;
  }

  async #backUp(): Promise<Event> {
    if (this.#generation === 0) this.#newStamps();
    const events = await this.#over((app) => backup(app, ['work']));
    const made = events.find(({ event }) => event === 'backup');
    if (made === undefined) throw new Error('no backup was reported');
    return made;
  }

  #remember(): void {
    // On the same file system: not every one has the same range of times.
    const copy = join(realpathSync(join(this.#options.folder, 'vms')), `../copy-${this.#generation}`);
    mkdirSync(copy);
    const survey = surveyTree(this.#volume);
    if (isInstalled('rsync')) copyTree(this.#volume, copy);
    this.#remembered.set(this.#generation, { edits: this.#edits, survey, copy });
  }

  /** Restores the snapshot of a generation and compares it with what the volume was. `apart`: by processes in sandboxes. */
  async #restore(generation: number, apart: boolean): Promise<void> {
    const remembered = this.#remembered.get(generation);
    if (remembered === undefined) throw new Error(`generation ${generation} was not remembered`);
    const [snapshot, name] = [`work@${generation + 1}`, `restored-${generation}`];
    if (apart) this.#command('restore', snapshot, '--as', name);
    else await this.#over((app) => restore(app, snapshot, name));
    const restored = join(this.#options.folder, 'vms', name, 'private');
    const differences = [
      ...surveyDifferences(remembered.survey, surveyTree(restored)),
      ...rsyncDifferences(remembered.copy, restored),
    ];
    if (differences.length > 0) {
      this.#generation = generation;
      this.#edits = remembered.edits;
      this.#broken(...differences);
    }
    for (const folder of [join(restored, '..'), remembered.copy]) removeTree(folder);
    this.#remembered.delete(generation);
  }

  /** Runs a command of dom0 in this process; nothing may have been worth a warning. */
  async #over(command: Parameters<typeof runOver>[2]): Promise<readonly Event[]> {
    const { output, app } = await runOver(this.#domains, this.#home, command);
    const warned = output.lines.filter((line) => line.startsWith('warning'));
    if (app.warnings > 0 || warned.length > 0) this.#broken(...warned);
    return output.events;
  }

  /** Runs the command line: every part a process of its own. */
  #command(...args: readonly string[]): void {
    try {
      runCommand(this.#home, ...args);
    } catch (error) {
      this.#broken(messageOf(error));
    }
  }

  #broken(...what: readonly string[]): never {
    throw new BrokenHistory(this.#options.seed, this.#generation, this.#edits, what);
  }
}

/** True if a setuid or setgid bit or a capability is gone: writing takes them away. */
function lostPrivileges(before: Facts | undefined, after: Facts | undefined): boolean {
  const bits = (facts: Facts | undefined) => parseInt(facts?.['mode'] ?? '0', 8) & 0o6000;
  const isCapable = (facts: Facts | undefined) =>
    facts?.['attributes']?.includes('security.capability') === true;
  return (bits(before) & ~bits(after)) !== 0 || (isCapable(before) && !isCapable(after));
}

const ANYTHING: readonly Theme[] = Array<Theme>(16).fill('any');

/** What the deep and the huge folder hold at most, which have no stamps. */
const APART_BYTES = 64 * 1024;

/** What tells a file's state. */
interface Stamp {
  readonly text: string;
  readonly size: number;
}

/** Of all files, by path. */
function stampsOf(volume: string): Map<string, Stamp> {
  const root = Buffer.from(volume);
  const files = listItems(root).filter(({ stat }) => stat.isFile());
  return new Map(
    files.map(({ path }) => {
      const { ino, size, mtimeNs, ctimeNs } = lstatSync(path, { bigint: true });
      const text = `${ino} ${size} ${mtimeNs} ${ctimeNs}`;
      return [path.subarray(root.length + 1).toString('latin1'), { text, size: Number(size) }];
    }),
  );
}

/**
 * By rsync, which is held to it. It goes twice: a directory that becomes sticky gets an access list without the rights of
 * group and others, so that it is never open before it is sticky, and the group's own stay away until the next run.
 */
function copyTree(from: string, to: string): void {
  const options = ['-aHAXS', '--modify-window=-1', `--exclude=/${DEEP_FOLDER}`];
  for (let run = 1; run <= 2; run++) {
    const ended = spawnSync('rsync', [...options, `${from}/`, `${to}/`]);
    if (ended.status !== 0) throw new Error(`rsync failed: ${ended.stderr.toString('latin1')}`);
  }
  const differences = rsyncDifferences(from, to);
  if (differences.length > 0) throw new Error(`rsync made no faithful copy: ${differences.join('\n')}`);
}
