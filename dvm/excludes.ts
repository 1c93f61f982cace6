/**
 * What a walk leaves out, and why: patterns of the configuration, directories tagged as caches, what chattr(1) marked
 * `nodump`, and patterns that the VM adds in a file on its volume. Decided on the way down: nothing below a directory that
 * is left out is looked at. A reason depends on rule and path alone, so an unchanged tree stays the same blobs.
 */

import { byteString, utf8 } from '../shared/bytes.ts';
import type { ByteString } from '../shared/bytes.ts';
import { MAX_EXCLUDE_FILE } from '../shared/limits.ts';
import type { ExcludeRules } from '../shared/protocol/disposable.ts';
import type { Access } from './access.ts';
import { FILE_FLAGS, TYPE } from './entry.ts';
import type { Entry, EntryType } from './entry.ts';
import { EXCLUDE_FILE, ExcludeFile } from './exclude-file.ts';
import { ExcludePatterns } from './exclude-patterns.ts';
import { attempt } from './walk.ts';
import type { Found, Noter } from './walk.ts';

/** A path that is not part of the backup, nor is anything below it. */
export interface Skipped {
  readonly path: ByteString;
  readonly type: typeof TYPE.skipped;
  readonly reason: ByteString;
}

/** An entry of a directory by its name; undefined if there is none. Throws LibcError. */
export type LookUp = (name: ByteString) => { readonly type: EntryType; readonly access: Access } | undefined;

/** Why everything in a directory but the entry `kept` is left out. */
export interface AllBut {
  readonly reason: ByteString;
  readonly kept: ByteString;
}

const CACHE_TAG = 'CACHEDIR.TAG' as ByteString;
/** The tag stays, so that the restored directory is a cache as well. */
const CACHE: AllBut = { reason: CACHE_TAG, kept: CACHE_TAG };

/** https://bford.info/cachedir/ */
const SIGNATURE = 'Signature: 8a477f597d28d172789f06886806bc55';

export class Excludes {
  readonly #rules: ExcludeRules;
  readonly #note: Noter;
  readonly #configured: ExcludePatterns;
  #file: ExcludeFile | undefined;

  constructor(rules: ExcludeRules, note: Noter) {
    this.#rules = rules;
    this.#note = note;
    this.#configured = new ExcludePatterns(
      rules.lists.flatMap(({ source, patterns }) =>
        patterns.map((text) => {
          const pattern = byteString(utf8(text));
          return { pattern, reason: `pattern "${pattern}" of ${source}` as ByteString };
        }),
      ),
    );
  }

  /** Why an entry other than the root is left out. To be asked in path order, after enter() for its directory. */
  reasonFor({
    path,
    type,
    stat,
    flags,
  }: Pick<Found, 'path' | 'type' | 'stat' | 'flags'>): ByteString | undefined {
    const isDirectory = type === TYPE.directory;
    const configured = this.#configured.reasonFor(path, isDirectory);
    if (configured !== undefined) return configured;
    if (this.#rules.nodump && ((flags ?? stat.attributes) & FILE_FLAGS.noDump) !== 0)
      return 'nodump' as ByteString;
    return this.#file?.reasonFor(path, isDirectory);
  }

  /** What is left out of the directory `path` as a whole. To be asked before anything in it is. */
  enter(path: ByteString, lookUp: LookUp): AllBut | undefined {
    if (path === '') {
      // The volume itself is no cache, whatever it holds: a backup of nothing would pass for a backup.
      if (this.#rules.volumeFile) this.#file = this.#readFile(lookUp);
      return undefined;
    }
    return this.#rules.cachedirTag && this.#isCache(path, lookUp) ? CACHE : undefined;
  }

  #isCache(path: ByteString, lookUp: LookUp): boolean {
    const tag = `${path}/${CACHE_TAG}` as ByteString;
    const start = attempt(() => readStart(lookUp, CACHE_TAG, SIGNATURE.length), tag, this.#note);
    return start instanceof Uint8Array && byteString(start) === SIGNATURE;
  }

  #readFile(lookUp: LookUp): ExcludeFile | undefined {
    const complain = (detail: string) => this.#note('exclude-file', EXCLUDE_FILE, detail);
    const content = attempt(
      () => readStart(lookUp, EXCLUDE_FILE, MAX_EXCLUDE_FILE + 1),
      EXCLUDE_FILE,
      this.#note,
    );
    if (content === 'no file') complain('it is not a regular file: it is not followed');
    return content instanceof Uint8Array ? new ExcludeFile(content, complain) : undefined;
  }
}

/** The entry that stands for a left-out path in a tree: its reason and nothing else. */
export function skippedEntry({ path, reason }: Skipped): Entry {
  const never = { seconds: 0, nanoseconds: 0 };
  return {
    path,
    type: TYPE.skipped,
    mode: 0,
    uid: 0,
    gid: 0,
    mtime: never,
    ctime: never,
    inode: 0,
    linked: false,
    doubtful: false,
    unreadable: false,
    attributes: [],
    size: 0,
    target: reason,
    device: [0, 0],
    flags: 0,
  };
}

/** The first `length` bytes of the regular file `name`, fewer if it is shorter. */
function readStart(lookUp: LookUp, name: ByteString, length: number): Uint8Array | 'no file' | undefined {
  const found = lookUp(name);
  if (found === undefined) return undefined;
  if (found.type !== TYPE.file) return 'no file';
  const file = found.access.open();
  try {
    const bytes = new Uint8Array(length);
    let filled = 0;
    while (filled < length) {
      const read = file.read(bytes.subarray(filled), filled);
      if (read === 0) break;
      filled += read;
    }
    return bytes.subarray(0, filled);
  } finally {
    file.close();
  }
}
