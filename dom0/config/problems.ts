/** What is wrong in a configuration: all of it at once, with lines, and with what was probably meant. */

import type * as z from 'zod';
import { nearest } from '../nearest.ts';
import { jsonSchema, resolve, schemaAt } from './json-schema.ts';
import type { JsonSchema } from './json-schema.ts';
import { valueAt } from './lines.ts';
import type { Lines, Path } from './lines.ts';

export interface Problem {
  /** The key, as it is written in TOML; empty of the whole file. */
  readonly key: string;
  /** From 1 on; undefined of what is missing. */
  readonly line: number | undefined;
  readonly message: string;
}

/**
 * Issues of the schema of settings as problems, in the order of lines. `raw`: what was checked; `lines`: of the file that it is from,
 * where there is one.
 */
export function problemsOf(
  issues: readonly z.core.$ZodIssue[],
  raw: unknown,
  lines: Lines | undefined,
): Problem[] {
  // What is missing is missing in the table above it.
  const of = (path: Path, message: string) => ({
    key: keyOf(path),
    line: lines?.of(path) ?? (path.length > 1 ? lines?.of(path.slice(0, -1)) : undefined),
    message,
  });
  const problems = issues.flatMap((issue): Problem[] =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => of([...issue.path, key], `unknown key${meantKey(issue.path, key)}`))
      : [of(issue.path, messageOf(issue, valueAt(raw, issue.path)))],
  );
  return problems.sort((a, b) => (a.line ?? 0) - (b.line ?? 0));
}

function messageOf(issue: z.core.$ZodIssue, given: unknown): string {
  const values = issue.code === 'invalid_value' ? issue.values.map(String) : [];
  if (given === undefined && (issue.code === 'invalid_type' || issue.code === 'invalid_value'))
    return `is missing${values.length === 0 ? '' : `: give ${values.join(' or ')}`}`;
  return `${issue.message}${typeof given === 'string' ? nearest(given, values) : ''}`;
}

/** What an unknown key of the table at `path` may have meant: a key of another table, or one of this table by another name. */
function meantKey(path: Path, key: string): string {
  const tables = [...tablesWith(key, jsonSchema(), [])];
  if (tables.includes('')) return '; it belongs before the first [table] of the file';
  if (tables.length > 0) return `; it belongs in ${tables.join(' or ')}`;
  return nearest(key, Object.keys(schemaAt(path)?.properties ?? {}));
}

/** The headers of the tables that know `key`, below `path`, where `schema` holds; the empty one of the file itself. */
function* tablesWith(key: string, schema: JsonSchema | undefined, path: readonly string[]): Iterable<string> {
  const { properties = {}, additionalProperties, items } = resolve(schema) ?? {};
  if (Object.hasOwn(properties, key)) yield path.length === 0 ? '' : `[${path.join('.')}]`;
  for (const [name, below] of Object.entries(properties)) yield* tablesWith(key, below, [...path, name]);
  if (additionalProperties) yield* tablesWith(key, additionalProperties, [...path, 'NAME']);
  if (items !== undefined) yield* tablesWith(key, items, path);
}

/** A problem as a sentence: `line 12: vm.work.exlude: unknown key; did you mean exclude?` */
export function sentence({ key, line, message }: Problem): string {
  return [line === undefined ? '' : `line ${line}: `, key === '' ? '' : `${key}: `, message].join('');
}

const BARE_KEY = /^[\w-]+$/;

/** A path as a dotted key of TOML; what is in an array has its index, from 0 on. */
export function keyOf(path: Path): string {
  return path
    .map((part) => (BARE_KEY.test(String(part)) ? String(part) : JSON.stringify(String(part))))
    .join('.');
}
