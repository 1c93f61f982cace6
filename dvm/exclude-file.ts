/**
 * The patterns that a VM itself adds: the file `.qubes-backup-exclude` at the root of its volume. Whoever writes it may be
 * hostile, so its size, its lines and the time that its patterns take are capped. It can leave more out, never less.
 */

import { byteString } from '../shared/bytes.ts';
import type { ByteString } from '../shared/bytes.ts';
import { patternProblem } from '../shared/exclude-pattern.ts';
import { MAX_EXCLUDE_FILE, MAX_EXCLUDE_FILE_PATTERNS } from '../shared/limits.ts';
import { ExcludePatterns } from './exclude-patterns.ts';
import type { ReasonedPattern } from './exclude-patterns.ts';

export const EXCLUDE_FILE = '.qubes-backup-exclude' as ByteString;

/** Milliseconds that matching may take: so many at the start, and so many for each path. */
const GRACE = 5_000;
const PER_PATH = 0.5;

const BYTE_ORDER_MARK = '\xef\xbb\xbf';

/** Takes what is wrong with the file. */
type Complain = (detail: string) => void;

export class ExcludeFile {
  readonly #complain: Complain;
  readonly #clock: () => number;
  #patterns: ExcludePatterns;
  #spent = 0;
  #paths = 0;

  /** `content` is at most MAX_EXCLUDE_FILE + 1 bytes of the file; `clock` answers milliseconds. */
  constructor(content: Uint8Array, complain: Complain, clock: () => number = () => performance.now()) {
    this.#complain = complain;
    this.#clock = clock;
    this.#patterns = new ExcludePatterns(parse(content, complain));
  }

  /** As {@link ExcludePatterns.reasonFor}; undefined from when the patterns took too long on. */
  reasonFor(path: ByteString, isDirectory: boolean): ByteString | undefined {
    const started = this.#clock();
    const reason = this.#patterns.reasonFor(path, isDirectory);
    this.#paths += 1;
    this.#spent += this.#clock() - started;
    if (this.#spent > GRACE + this.#paths * PER_PATH) {
      this.#patterns = new ExcludePatterns([]);
      this.#spent = -Infinity;
      this.#complain('its patterns take too long: from here on it is not followed');
    }
    return reason;
  }
}

/** The lines that are patterns; all others are told of in one complaint. */
function parse(content: Uint8Array, complain: Complain): ReasonedPattern[] {
  if (content.length > MAX_EXCLUDE_FILE) {
    complain(`it is larger than ${MAX_EXCLUDE_FILE} bytes: it is not followed`);
    return [];
  }
  const patterns: ReasonedPattern[] = [];
  const wrong: string[] = [];
  const text = byteString(content);
  const lines = (text.startsWith(BYTE_ORDER_MARK) ? text.slice(BYTE_ORDER_MARK.length) : text).split('\n');
  for (const [index, line] of lines.entries()) {
    const pattern = trimEnd(line);
    if (pattern === '' || pattern.startsWith('#')) continue;
    const problem = patternProblem(pattern);
    if (problem !== undefined) wrong.push(`line ${index + 1} ${problem}`);
    else if (patterns.length === MAX_EXCLUDE_FILE_PATTERNS)
      wrong.push(`line ${index + 1} is more than the ${MAX_EXCLUDE_FILE_PATTERNS} patterns that count`);
    else patterns.push({ pattern, reason: `${EXCLUDE_FILE} line ${index + 1}` as ByteString });
  }
  const [first] = wrong;
  if (first !== undefined) {
    const others = wrong.length > 1 ? `, and ${wrong.length - 1} more lines are wrong` : '';
    complain(`${first}${others}: these lines are not followed`);
  }
  return patterns;
}

/** Without a carriage return before the line's end and, as in git, without spaces unless a backslash precedes the last. */
function trimEnd(line: string): ByteString {
  let end = line.endsWith('\r') ? line.length - 1 : line.length;
  while (end > 0 && line[end - 1] === ' ') end -= 1;
  let backslashes = 0;
  while (backslashes < end && line[end - 1 - backslashes] === '\\') backslashes += 1;
  // The library trims again, and knows an escaped space; `\ ` has to reach it whole.
  return line.slice(0, backslashes % 2 === 1 && line[end] === ' ' ? end + 1 : end) as ByteString;
}
