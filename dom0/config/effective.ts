/** What the configuration comes to: each setting with its value, and where that is from. */

import { defaultMode } from '../config.ts';
import type { Configured } from '../config.ts';
import { VOLUME_NAMES } from '../domains/domains.ts';
import type { ConfigFile } from './file.ts';
import { jsonSchema, resolve, schemaAt } from './json-schema.ts';
import type { JsonSchema } from './json-schema.ts';
import { valueAt } from './lines.ts';
import type { Path } from './lines.ts';

export interface EffectiveSetting {
  readonly path: Path;
  readonly value: unknown;
  /** The table that sets it, as its header is written; undefined of a default. */
  readonly table: string | undefined;
  readonly line: number | undefined;
}

/** What the file sets, in the order of the schema; with `defaults`, also what it does not. */
export function settingsOfFile(file: ConfigFile, defaults: boolean): EffectiveSetting[] {
  return leaves(jsonSchema(), [], file.raw).flatMap(({ path, schema }) => {
    const value = valueAt(file.raw, path);
    if (value !== undefined) return [setting(file, path, path, value)];
    return defaults && schema.default !== undefined ? [preset(path, schema)] : [];
  });
}

/**
 * What holds for one VM. The nearest level that sets a key decides: its own table, its template's, `[backup]`. Patterns to exclude of all
 * levels hold, and of tables `keep` the nearest as a whole.
 */
export function settingsOfVm(file: ConfigFile, vm: Configured, defaults: boolean): EffectiveSetting[] {
  const levels: Path[] = [['vm', vm.name], ['template', vm.template ?? ''], ['backup']];
  const found = (key: Path) => levels.filter((level) => valueAt(file.raw, [...level, ...key]) !== undefined);
  return leaves(schemaAt(['backup']), [], undefined).flatMap(({ path, schema }) => {
    const [table = ''] = path;
    const setting_ = (level: Path) =>
      setting(file, path, [...level, ...path], valueAt(file.raw, [...level, ...path]));
    if (table === 'exclude') return found(path).reverse().map(setting_);
    const candidates = table === 'keep' ? found(['keep']).slice(0, 1) : found(path);
    const [nearest] = candidates.filter((level) => found(path).includes(level));
    if (nearest !== undefined) return [setting_(nearest)];
    return defaults && schema.default !== undefined ? [preset(path, presetOf(vm, path, schema))] : [];
  });
}

/** The default of a VM's setting. */
function presetOf(vm: Configured, [table, key]: Path, schema: JsonSchema): JsonSchema {
  const volume = VOLUME_NAMES.find((name) => name === key);
  return table === 'volumes' && volume !== undefined ? { default: defaultMode(vm, volume) } : schema;
}

function setting(file: ConfigFile, path: Path, at: Path, value: unknown): EffectiveSetting {
  return { path, value, table: headerOf(at.slice(0, -1)), line: file.lines.of(at) };
}

function preset(path: Path, schema: JsonSchema): EffectiveSetting {
  return { path, value: schema.default, table: undefined, line: undefined };
}

/** The header of a table as a person calls it: `[vm.work]`; of the file itself, nothing. */
function headerOf(path: Path): string {
  return path.length === 0
    ? ''
    : `[${path
        .filter((key) => typeof key !== 'number')
        .map(String)
        .join('.')}]`;
}

/** The settings below `path` that are no tables: those of the schema, and of tables with names of their own those that `raw` has. */
function leaves(
  given: JsonSchema | undefined,
  path: Path,
  raw: unknown,
): { readonly path: Path; readonly schema: JsonSchema }[] {
  const schema = resolve(given) ?? {};
  const here = valueAt(raw, path);
  const below = (keys: Iterable<PropertyKey>, of: (key: PropertyKey) => JsonSchema | undefined) =>
    [...keys].flatMap((key) => leaves(of(key), [...path, key], raw));
  const { properties, items, additionalProperties } = schema;
  if (properties !== undefined) return below(Object.keys(properties), (key) => properties[String(key)]);
  if (additionalProperties) return below(Object.keys(here ?? {}), () => additionalProperties);
  if (items?.properties !== undefined && Array.isArray(here)) return below(here.keys(), () => items);
  return [{ path, schema }];
}
