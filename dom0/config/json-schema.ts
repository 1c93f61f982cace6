/** The configuration's settings as JSON Schema: for editors, and to look up what may be where. */

import * as z from 'zod';
import type { Path } from './lines.ts';
import { schema } from './schema.ts';

/** As much of JSON Schema as zod makes of the settings. */
export interface JsonSchema {
  readonly $ref?: string;
  readonly $defs?: Readonly<Record<string, JsonSchema>>;
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly examples?: readonly unknown[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly JsonSchema[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: JsonSchema | false;
  readonly items?: JsonSchema;
}

let made: JsonSchema | undefined;

/** Of what a person writes, so without what defaults add. Made when it is first asked for: most commands never ask. */
export function jsonSchema(): JsonSchema {
  return (made ??= makeJsonSchema());
}

function makeJsonSchema(): JsonSchema {
  const generated = z.toJSONSchema(schema, {
    io: 'input',
    // zod leaves out examples of what it transforms, as they may be of either side; ours are what a person writes.
    override({ zodSchema, jsonSchema }) {
      const { examples } = z.globalRegistry.get(zodSchema) ?? {};
      if (Array.isArray(examples)) jsonSchema.examples = examples;
    },
  });
  return { title: 'Configuration of qubes-backup', ...generated } as JsonSchema;
}

/** What may be at `path`; undefined if nothing may. */
export function schemaAt(path: Path): JsonSchema | undefined {
  let found: JsonSchema | undefined = jsonSchema();
  for (const key of path) {
    if (found === undefined) return undefined;
    found = resolve(
      typeof key === 'number'
        ? found.items
        : (ownOf(found, key) ?? (found.additionalProperties || undefined)),
    );
  }
  return found;
}

/** A schema that stands for another one, with what it says of it. */
export function resolve(schema: JsonSchema | undefined): JsonSchema | undefined {
  if (schema?.$ref === undefined) return schema;
  const { $ref, ...rest } = schema;
  return { ...jsonSchema().$defs?.[$ref.replace('#/$defs/', '')], ...rest };
}

function ownOf({ properties = {} }: JsonSchema, key: PropertyKey): JsonSchema | undefined {
  return typeof key === 'string' && Object.hasOwn(properties, key) ? properties[key] : undefined;
}
