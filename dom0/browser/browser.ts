/**
 * What the browser of snapshots does with keys: snapshots on the left, the tree of one on the right, or the versions of a path. It knows
 * no terminal, and of a snapshot only what its source says: names and texts that a disposable escaped.
 */

import { messageOf } from '../../shared/errors.ts';
import { formatCount } from '../../shared/format.ts';
import { MAX_TEXT } from '../../shared/limits.ts';
import type { ListEntry } from '../../shared/protocol/browse.ts';
import { List } from './list.ts';
import { closed, isFolder, opened, parentOf, rowsOf } from './tree.ts';
import type { TreeRow } from './tree.ts';

export interface SnapshotRow {
  readonly number: number;
  /** When it was taken, and what is to be known of it. */
  readonly text: string;
}

/** A run of snapshots in which a path was the same. */
export interface VersionRow {
  /** The newest snapshot of it. */
  readonly snapshot: number;
  /** False where the path was not there. */
  readonly there: boolean;
  readonly text: string;
}

/** What is in a folder. */
export interface Listing {
  readonly entries: readonly ListEntry[];
  /** Entries that are there and not among them. */
  readonly more: number;
}

/** Where it is all from, and how a path gets out. What these throw is shown. */
export interface Source {
  /** `path` is escaped, as ListEntry has it; empty for the volume's root. */
  list(snapshot: number, path: string): Promise<Listing>;
  /** Newest first. */
  versions(path: string): Promise<readonly VersionRow[]>;
  /** Extracts `path` and all below it; answers what to tell. */
  extract(snapshot: number, path: string, where: string): Promise<string>;
}

export interface BrowserOptions {
  readonly vm: string;
  /** Newest first, at least one. */
  readonly snapshots: readonly SnapshotRow[];
  readonly source: Source;
  /** What an extraction goes to (`the folder`), and which is meant unless a person types another one. */
  readonly destination: { readonly kind: string; readonly chosen: string };
}

export type Pane = 'snapshots' | 'tree' | 'versions';

/** A line that is asked for. */
interface Question {
  readonly text: string;
  readonly act: (answer: string) => Promise<void>;
  answer: string;
}

/** A key as readline names it, and what it types. */
export interface Key {
  readonly name: string;
  readonly text: string;
  readonly ctrl: boolean;
}

export class Browser {
  readonly vm: string;
  readonly snapshots: List<SnapshotRow>;
  readonly tree = new List<TreeRow>([]);
  readonly #source: Source;
  #destination: BrowserOptions['destination'];
  #pane: Pane = 'snapshots';
  #shown: SnapshotRow | undefined;
  #versions: { readonly path: string; readonly list: List<VersionRow> } | undefined;
  #question: Question | undefined;
  #message = '';
  #working: Promise<void> | undefined;
  #onChange: () => void = () => undefined;

  constructor({ vm, snapshots, source, destination }: BrowserOptions) {
    this.vm = vm;
    this.snapshots = new List(snapshots);
    this.#source = source;
    this.#destination = destination;
  }

  get pane(): Pane {
    return this.#pane;
  }

  /** The snapshot whose tree is shown. */
  get shown(): SnapshotRow | undefined {
    return this.#shown;
  }

  get versions(): { readonly path: string; readonly list: List<VersionRow> } | undefined {
    return this.#versions;
  }

  /** What there is to say, or the question that waits for its answer. */
  get message(): string {
    const { text, answer } = this.#question ?? { text: this.#message, answer: undefined };
    return answer === undefined ? text : `${text}: ${answer}_`;
  }

  /** Keys that do something now. */
  get help(): string {
    if (this.#question !== undefined) return 'Enter do it   Esc leave it';
    switch (this.#pane) {
      case 'snapshots':
        return 'Up, Down choose   Enter, Right show   q leave';
      case 'tree':
        return 'Right open   Left close   Enter open, extract   x extract   v versions   Tab snapshots   q leave';
      case 'versions':
        return 'Up, Down choose   Enter extract   Esc, Left back   q leave';
    }
  }

  /** The last piece of work, which never rejects; undefined if none is going on. */
  get working(): Promise<void> | undefined {
    return this.#working;
  }

  /** Has `tell` called when something is to be seen that no key brought about. */
  onChange(tell: () => void): void {
    this.#onChange = tell;
  }

  say(text: string): void {
    this.#message = text;
    this.#onChange();
  }

  /** Shows the tree of a snapshot. */
  show(snapshot: SnapshotRow): void {
    this.snapshots.choose(snapshot);
    this.#work(`Reading snapshot ${snapshot.number}...`, async () => {
      const listing = await this.#source.list(snapshot.number, '');
      this.#shown = snapshot;
      this.#pane = 'tree';
      this.tree.replace(rowsOf(listing.entries, 0));
      return leftOut(listing);
    });
  }

  /** What a key does. True if the person wants to leave. */
  key(key: Key): boolean {
    if (this.#question !== undefined) this.#answer(this.#question, key);
    else if (key.name === 'q' || (key.ctrl && key.name === 'd')) return true;
    else if (this.#listOf(this.#pane)?.key(key.name) !== true && this.#working === undefined)
      this.#act(key.name);
    return false;
  }

  #listOf(pane: Pane): List<unknown> | undefined {
    return pane === 'snapshots' ? this.snapshots : pane === 'tree' ? this.tree : this.#versions?.list;
  }

  #act(name: string): void {
    this.#message = '';
    if (name === 'tab' && this.#shown !== undefined && this.#pane !== 'versions')
      this.#pane = this.#pane === 'tree' ? 'snapshots' : 'tree';
    else if (this.#pane === 'snapshots') this.#actOnSnapshot(name);
    else if (this.#pane === 'tree') this.#actOnTree(name);
    else this.#actOnVersion(name);
  }

  #actOnSnapshot(name: string): void {
    const { chosen } = this.snapshots;
    if (!OPENS.includes(name) || chosen === undefined) return;
    if (chosen === this.#shown) this.#pane = 'tree';
    else this.show(chosen);
  }

  #actOnTree(name: string): void {
    const { chosen } = this.tree;
    const snapshot = this.#shown;
    if (CLOSES.includes(name)) this.#close(chosen);
    if (chosen === undefined || snapshot === undefined) return;
    const folder = isFolder(chosen);
    if (OPENS.includes(name) && folder) {
      if (!chosen.open) this.#open(snapshot, chosen);
      else if (name === 'return') this.#close(chosen);
    } else if (name === 'x' || name === 'return') this.#askToExtract(snapshot.number, chosen.entry.path);
    else if (name === 'v') this.#showVersions(chosen.entry.path);
  }

  #actOnVersion(name: string): void {
    const { list, path } = this.#versions ?? {};
    if (name === 'escape' || CLOSES.includes(name)) {
      this.#versions = undefined;
      this.#pane = 'tree';
    } else if (name === 'return' && list?.chosen !== undefined && path !== undefined) {
      const { there, snapshot } = list.chosen;
      if (there) this.#askToExtract(snapshot, path);
      else this.#message = `It was not there in snapshot ${snapshot}.`;
    }
  }

  #open(snapshot: SnapshotRow, folder: TreeRow): void {
    const { path } = folder.entry;
    if (this.#isCut(path)) return;
    this.#work(`Reading ${path}...`, async () => {
      const listing = await this.#source.list(snapshot.number, path);
      const [rows, open] = opened(this.tree.rows, folder, listing.entries);
      this.tree.replace(rows, this.tree.chosen === folder ? open : this.tree.chosen);
      return listing.entries.length === 0 ? 'It is empty.' : leftOut(listing);
    });
  }

  /** Closes a folder, or goes to the one that a row is in, or to the snapshots. */
  #close(row: TreeRow | undefined): void {
    if (row?.open === true) {
      this.tree.replace(...closed(this.tree.rows, row));
      return;
    }
    const parent = row === undefined ? undefined : parentOf(this.tree.rows, row);
    if (parent === undefined) this.#pane = 'snapshots';
    else this.tree.choose(parent);
  }

  #showVersions(path: string): void {
    if (this.#isCut(path)) return;
    this.#work(`Reading the versions of ${path}...`, async () => {
      this.#versions = { path, list: new List(await this.#source.versions(path)) };
      this.#pane = 'versions';
      return '';
    });
  }

  #askToExtract(snapshot: number, path: string): void {
    if (this.#isCut(path)) return;
    const { kind, chosen } = this.#destination;
    this.#question = {
      text: `Extract ${path} of snapshot ${snapshot} to ${kind}`,
      answer: chosen,
      act: async (answer) => {
        this.#destination = { kind, chosen: answer };
        this.say(await this.#source.extract(snapshot, path, answer));
      },
    };
  }

  /** True of a path of which only the beginning is known here; says what to do. */
  #isCut(path: string): boolean {
    if (path.length < MAX_TEXT) return false;
    this.#message = 'Its path is too long to be shown: extract the folder above it.';
    return true;
  }

  #answer(question: Question, { name, text, ctrl }: Key): void {
    if (name === 'escape') this.#question = undefined;
    else if (name === 'backspace') question.answer = question.answer.slice(0, -1);
    else if (ctrl && name === 'u') question.answer = '';
    else if (name === 'return' && question.answer !== '') {
      this.#question = undefined;
      this.#work('Extracting...', async () => {
        await question.act(question.answer);
        return this.#message;
      });
    } else if (PRINTING.test(text)) question.answer += text;
  }

  /** Says `what`, does `work`, and says what that answers, or how it failed. */
  #work(what: string, work: () => Promise<string>): void {
    this.#message = what;
    this.#working = work()
      .catch((error: unknown) => messageOf(error))
      .then((said) => {
        this.#working = undefined;
        this.say(said);
      });
  }
}

const OPENS = ['return', 'right', 'l'];
const CLOSES = ['left', 'h', 'backspace'];
/** One character that a person typed, and no control. */
const PRINTING = /^[^\p{C}]$/u;

function leftOut({ more }: Listing): string {
  return more === 0 ? '' : `${formatCount(more)} more entries are not shown: "ls" lists them all.`;
}
