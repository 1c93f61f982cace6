/**
 * Patterns of gitignore(5), held against paths on the way down a volume. By the package `ignore`, on bytes as git does it:
 * `?` is one byte, case counts, and a name of any bytes can be matched.
 */

import ignore from 'ignore';
import type { Ignore } from 'ignore';
import type { ByteString } from '../shared/bytes.ts';
import { MAX_MATCHED_DEPTH, MAX_MATCHED_PATH } from '../shared/limits.ts';

/** What the library remembers of one set of rules before it starts anew: it keeps every path it was ever asked. */
const MAX_REMEMBERED = 8192;
const MAX_REMEMBERED_BYTES = 4 * 1024 * 1024;

export interface ReasonedPattern {
  /** UTF-8 bytes; patternProblem() has nothing against it. */
  readonly pattern: ByteString;
  /** Why a path that it matches is left out. */
  readonly reason: ByteString;
}

/** An ordered list of patterns of which the last that matches decides. */
export class ExcludePatterns {
  readonly #rules: Ignore;
  readonly #count: number;
  #current: Ignore;
  #remembered = 0;
  #rememberedBytes = 0;

  constructor(patterns: readonly ReasonedPattern[]) {
    this.#rules = ignore({ ignoreCase: false }).add(
      patterns.map(({ pattern, reason }) => ({ pattern, mark: reason })),
    );
    this.#count = patterns.length;
    this.#current = this.#rules;
  }

  /**
   * Why `path`, which is not the root and of which no parent is left out, is left out. Paths above MAX_MATCHED_PATH or
   * MAX_MATCHED_DEPTH match nothing: what two `**` may try grows with the square of the depth.
   */
  reasonFor(path: ByteString, isDirectory: boolean): ByteString | undefined {
    if (this.#count === 0 || path.length > MAX_MATCHED_PATH || isDeep(path)) return undefined;
    if (this.#remembered >= MAX_REMEMBERED || this.#rememberedBytes >= MAX_REMEMBERED_BYTES) this.#forget();
    this.#remembered += 1;
    this.#rememberedBytes += path.length;
    const { rule } = this.#current.test(isDirectory ? `${path}/` : path);
    return rule?.mark as ByteString | undefined;
  }

  /** The same compiled rules without the library's memory of paths. */
  #forget(): void {
    this.#current = ignore({ ignoreCase: false }).add(this.#rules);
    this.#remembered = 0;
    this.#rememberedBytes = 0;
  }
}

/** True if `path` has more than MAX_MATCHED_DEPTH components. */
function isDeep(path: ByteString): boolean {
  let depth = 1;
  for (let at = path.indexOf('/'); at !== -1; at = path.indexOf('/', at + 1)) depth += 1;
  return depth > MAX_MATCHED_DEPTH;
}
