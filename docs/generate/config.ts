/** `npm run docs:config`: docs/config.schema.json, and docs/config.example.toml with every setting. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'smol-toml';
import { jsonSchema, resolve } from '../../dom0/config/json-schema.ts';
import type { JsonSchema } from '../../dom0/config/json-schema.ts';
import { wrapped } from './text.ts';

export const SCHEMA_FILE = join(import.meta.dirname, '..', 'config.schema.json');
export const EXAMPLE_FILE = join(import.meta.dirname, '..', 'config.example.toml');

/** The schema as editors read it. */
export function schemaText(): string {
  return `${JSON.stringify(jsonSchema(), undefined, 2)}\n`;
}

/** A setting, or a table of settings, and where it is. */
export interface Setting {
  /** Keys; `*` is any name, and `[]` after a key an array of tables. */
  readonly path: readonly string[];
  readonly schema: JsonSchema;
  /** The settings of a table, in their order; of a setting, nothing. */
  readonly settings: readonly Setting[];
}

/** All settings. What a level of settings may have is told once, for `[backup]`. */
export function settings(
  schema: JsonSchema = jsonSchema(),
  path: readonly string[] = [],
): readonly Setting[] {
  return Object.entries(schema.properties ?? {}).map(([key, value]) => {
    const own = resolve(value) ?? {};
    const isArray = own.items?.properties !== undefined;
    const at = [...path, isArray ? `${key}[]` : key];
    return { path: at, schema: own, settings: settings(isArray ? own.items : own, at) };
  });
}

const INTRODUCTION = `# Every setting of qubes-backup, as it is by default or with an example: an annotated copy for
# /etc/qubes-backup/config.toml. A line that begins with #? is a setting: remove these two characters to set it.
# "qubes-backup config check" says whether a file is right; the manual page qubes-backup.toml(5) has the same.
`;

/** A file with every setting and what it is for. */
export function exampleText(): string {
  const all = settings();
  const isTable = ({ settings: below, schema }: Setting) =>
    below.length > 0 || Boolean(schema.additionalProperties);
  const plain = all.filter((one) => !isTable(one)).flatMap(exampleOf);
  return [INTRODUCTION, ...plain, ...all.filter(isTable).flatMap(exampleTable)].join('\n');
}

function exampleTable({ path, schema, settings: below }: Setting): string[] {
  const name = path.join('.');
  const about = comment(schema.description ?? '');
  if (schema.additionalProperties) return [about, `#?[${name}.NAME]`, ''];
  const header = name.endsWith('[]') ? `[[${name.slice(0, -2)}]]` : `[${name}]`;
  const plain = below.filter(({ settings: deeper }) => deeper.length === 0);
  const tables = below.filter(({ settings: deeper }) => deeper.length > 0);
  return [about, `#?${header}`, '', ...plain.flatMap(exampleOf), ...tables.flatMap(exampleTable)];
}

function exampleOf({ path, schema }: Setting): string[] {
  const value = schema.default ?? schema.examples?.[0];
  if (value === undefined)
    throw new Error(`the setting ${path.join('.')} has neither a default nor an example`);
  return [
    comment(`${schema.description ?? ''}${rangeOf(schema)}`),
    `#?${stringify({ [path.at(-1) ?? '']: value }).trim()}`,
    '',
  ];
}

/** ` From 1 to 8.`, or nothing where there is no such range. */
export function rangeOf({ minimum, maximum }: JsonSchema): string {
  if (minimum === undefined || maximum === undefined || !(maximum < Number.MAX_SAFE_INTEGER)) return '';
  return ` From ${minimum} to ${maximum}.`;
}

function comment(text: string): string {
  return wrapped(text, 100)
    .map((line) => `# ${line}`)
    .join('\n');
}

if (import.meta.main) {
  writeFileSync(SCHEMA_FILE, schemaText());
  writeFileSync(EXAMPLE_FILE, exampleText());
}
