/**
 * In which line of a TOML file a key is. The parser gives no places, so it is asked about parts of the text: what is TOML by itself,
 * and of which no shorter beginning is, is one statement (a table's header, a key with its value, a comment); and the statement up to
 * which a file must be read to have a key is the one that sets it. No rule of TOML is known here.
 */

import { TomlError, parse } from 'smol-toml';

/** Where a value is in a configuration: keys of tables and indices of arrays. */
export type Path = readonly PropertyKey[];

interface Statement {
  /** Of its first line, from 1 on. */
  readonly line: number;
  /** Characters of the text up to and with it. */
  readonly end: number;
}

export class Lines {
  readonly #text: string;
  #statements: readonly Statement[] | undefined;

  /** `text`: a whole TOML file, which the parser takes. */
  constructor(text: string) {
    this.#text = text;
  }

  /** The line, from 1 on, with which the statement begins that sets `path`; undefined if none does. */
  of(path: Path): number | undefined {
    this.#statements ??= [...statements(this.#text)];
    let first = 0;
    let after = this.#statements.length;
    while (first < after) {
      const middle = (first + after) >> 1;
      const read = parse(this.#text.slice(0, this.#statements[middle]?.end));
      if (valueAt(read, path) === undefined) first = middle + 1;
      else after = middle;
    }
    return this.#statements[first]?.line;
  }
}

/** What is at `path` of `value`; undefined if nothing is. */
export function valueAt(value: unknown, path: Path): unknown {
  let found: unknown = value;
  for (const key of path) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, key)) return undefined;
    found = (found as Record<PropertyKey, unknown>)[key];
  }
  return found;
}

function* statements(text: string): Iterable<Statement> {
  const lines = text.split(/(?<=\n)/);
  let line = 1;
  let end = 0;
  let open = '';
  for (const [index, next] of lines.entries()) {
    open += next;
    end += next.length;
    if (!isToml(open)) continue;
    yield { line, end };
    line = index + 2;
    open = '';
  }
}

function isToml(text: string): boolean {
  try {
    parse(text);
    return true;
  } catch (error) {
    if (error instanceof TomlError) return false;
    throw error;
  }
}
