/** `npm run docs:json`: docs/json.md and docs/json.schema.json, made of the schemas of the events of `--json`. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { EVENTS, EVENT_GROUPS } from '../../dom0/events/events.ts';
import type { EventSpec } from '../../dom0/events/kit.ts';

export const JSON_PAGE = join(import.meta.dirname, '..', 'json.md');
export const JSON_SCHEMA_FILE = join(import.meta.dirname, '..', 'json.schema.json');

/** As far as it is looked at here. */
interface Schema {
  readonly type?: string;
  readonly format?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly description?: string;
}

/** One event as JSON Schema, with `event` among its fields. */
function schemaOf(name: string, { schema }: EventSpec): object {
  const own = z.toJSONSchema(schema) as Schema & { $schema?: string };
  delete own.$schema; // It is said once, of the whole file.
  const named = (one: Schema): object => ({
    ...one,
    properties: { event: { const: name }, ...one.properties },
    required: ['event', ...(one.required ?? [])],
  });
  const { anyOf, ...rest } = own;
  return anyOf === undefined ? named(rest) : { ...rest, anyOf: anyOf.map(named) };
}

/** Every event, for programs that check what they read. */
export function jsonSchemaText(): string {
  const schema = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'A line of qubes-backup --json',
    anyOf: [...EVENTS].map(([name, spec]) => ({
      title: name,
      description: spec.about,
      ...schemaOf(name, spec),
    })),
  };
  return `${JSON.stringify(schema, undefined, 2)}\n`;
}

/** The page as the schemas of this version make it. */
export function jsonPage(): string {
  return `# What \`--json\` prints

Generated from \`dom0/events/\` by \`npm run docs:json\`; a test fails when it is old, and others hold what every command prints against it. The
same as JSON Schema: [json.schema.json](json.schema.json).

With \`--json\` each line of stdout is one JSON object. Its \`event\` says which of those below it is; it has the fields that are named there, and no
others. Lines for people are left out; notes and warnings are on stderr all the same, and secrets are never in an event. Paths are escaped, and all else
that another VM said is printable ASCII.

A command may print several events, and \`warning\`, \`error\`, \`progress\` and \`note\` come with any. What counts is the exit status: 0 complete, 1 failed,
2 a wrong command line or configuration, 3 finished with warnings, 4 \`verify\` found differences, 5 another run is under way. Events and fields may be
added in later versions; a program should ignore those that it does not know.

${EVENT_GROUPS.map(([title, events]) => groupText(title, events)).join('\n')}`;
}

function groupText(title: string, events: Readonly<Record<string, EventSpec>>): string {
  return [`## ${title}\n`, ...Object.entries(events).map(([name, spec]) => eventText(name, spec))].join('\n');
}

function eventText(name: string, { about, schema }: EventSpec): string {
  const json = z.toJSONSchema(schema) as Schema;
  const shapes = (json.anyOf ?? [json]).map(tableText);
  return `### \`${name}\`\n\n${about}\n\n${shapes.join('\nor\n\n')}`;
}

function tableText(schema: Schema): string {
  const rows = fieldsOf(schema, '').map(([name, type, about]) => `| \`${name}\` | ${type} | ${about} |`);
  return rows.length === 0
    ? 'No other fields.\n'
    : `${['| field | is | |', '|---|---|---|', ...rows].join('\n')}\n`;
}

/** Fields with those of the objects in them. */
function fieldsOf({ properties = {}, required = [] }: Schema, prefix: string): [string, string, string][] {
  return Object.entries(properties).flatMap(([key, own]) => {
    const name = `${prefix}${key}`;
    const optional = required.includes(key) ? '' : ', or not there';
    const inner = objectIn(own);
    return [
      [name, `${typeOf(own)}${optional}`, cell(aboutOf(own))],
      ...(inner === undefined ? [] : fieldsOf(inner, `${name}${own.type === 'array' ? '[]' : ''}.`)),
    ] as [string, string, string][];
  });
}

/** What a field means: said of it, or of what it is where it is not null. */
function aboutOf({ description, anyOf = [] }: Schema): string {
  return description ?? anyOf.find((one) => one.description !== undefined)?.description ?? '';
}

/** The one object that a field is or lists. */
function objectIn(schema: Schema): Schema | undefined {
  const one = schema.anyOf?.find(({ type }) => type !== 'null') ?? schema.items ?? schema;
  return one.properties === undefined ? undefined : one;
}

function typeOf(schema: Schema): string {
  const { type, format, items } = schema;
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return [...new Set(choices.map(typeOf))].join(' or ');
  if (schema.const !== undefined) return code(schema.const);
  if (schema.enum !== undefined) return schema.enum.map(code).join(', ');
  if (type === 'array') return `list of ${items === undefined ? 'anything' : typeOf(items)}`;
  if (type === 'string') return format === 'date-time' ? 'time' : 'text';
  return type ?? 'any JSON';
}

const code = (value: unknown) => `\`${JSON.stringify(value)}\``;
const cell = (text: string) => text.replaceAll('|', '\\|');

if (import.meta.main) {
  writeFileSync(JSON_PAGE, jsonPage());
  writeFileSync(JSON_SCHEMA_FILE, jsonSchemaText());
}
