/**
 * The policy of a machine: all files of its folders, with what they include (`parser.py` of qubes-core-qrexec). Fail closed: one
 * error in any file, and nothing is allowed.
 */

import { readFile, readdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { BackupError, messageOf, systemCode } from '../../shared/errors.ts';
import { MAX_POLICY_FILE } from '../../shared/limits.ts';
import { parseRule, policyError } from './policy-parser.ts';
import type { Rule } from './policy-parser.ts';

const FILE_NAME = /^[0-9a-z_.-]+$/;
/** Files that include others are at most so deep, and all files have at most so many rules. */
const MAX_DEPTH = 8;
const MAX_RULES = 20_000;

/** Where Qubes OS has its policy: what is in an earlier folder replaces a file of the same name in a later one. */
export const QUBES_POLICY = {
  folders: ['/run/qubes/policy.d', '/etc/qubes/policy.d'],
  legacy: '/etc/qubes-rpc/policy',
} as const;

export interface PolicyFolders {
  /** Those that are missing have no rules, if one is there. */
  readonly folders: readonly string[];
  /** Files of the format before R4.1, one for each service, which `!compat-4.0` brings in. */
  readonly legacy?: string;
}

/**
 * Reads all `*.policy` files of `folder` in the order of their names. Throws `policy-denied`, because a policy that
 * cannot be read allows nothing.
 */
export function loadPolicy(folder: string): Promise<readonly Rule[]> {
  return loadPolicyOf({ folders: [folder] });
}

/** See {@link loadPolicy}. */
export async function loadPolicyOf(where: PolicyFolders): Promise<readonly Rule[]> {
  try {
    return await new Loader(where).load();
  } catch (cause) {
    if (cause instanceof BackupError) throw cause;
    const folders = where.folders.join(' and ');
    throw new BackupError(
      'policy-denied',
      `the policy in ${folders} cannot be read, so every call is denied: ${messageOf(cause)}`,
      { cause },
    );
  }
}

/** What is being read: a file, its lines' columns before those written in it, and what paths in it are relative to. */
interface Place {
  readonly file: string;
  readonly base: string;
  readonly depth: number;
  /** `SERVICE ARGUMENT`, if each line has the other three columns only. */
  readonly prefix: string | undefined;
}

class Loader {
  readonly #where: PolicyFolders;
  readonly #rules: Rule[] = [];

  constructor(where: PolicyFolders) {
    this.#where = where;
  }

  async load(): Promise<readonly Rule[]> {
    const files = new Map<string, string>();
    let missing: unknown;
    let found = 0;
    for (const folder of this.#where.folders) {
      try {
        for (const name of await policyFiles(folder))
          if (!files.has(name)) files.set(name, join(folder, name));
        found += 1;
      } catch (error) {
        if (systemCode(error) !== 'ENOENT') throw error;
        missing = error;
      }
    }
    if (found === 0) throw missing;
    for (const [, file] of [...files].sort(([a], [b]) => (a < b ? -1 : 1)))
      await this.#read({ file, base: dirname(file), depth: 0, prefix: undefined });
    return this.#rules;
  }

  async #read(place: Place): Promise<void> {
    const { file, depth, prefix } = place;
    if (depth > MAX_DEPTH) throw policyError(file, 'files include one another too deep');
    if ((await stat(file)).size > MAX_POLICY_FILE) throw policyError(file, 'the file is too large');
    const lines = (await readFile(file, 'utf8')).split('\n');
    for (const [index, text] of lines.entries()) {
      const where = `${file}:${index + 1}`;
      const line = prefix === undefined ? text.trim() : modern(text.trim());
      if (line === '' || line.startsWith('#')) continue;
      if (line.startsWith('!')) await this.#follow(line.split(/\s+/), where, place);
      else this.#add(parseRule(prefix === undefined ? line : `${prefix} ${line}`, where));
    }
  }

  async #follow([directive, ...parameters]: readonly string[], where: string, place: Place): Promise<void> {
    const { base, prefix } = place;
    const depth = place.depth + 1;
    const [path, argument, third] = parameters;
    if (directive === '!include' && path !== undefined && parameters.length === 1)
      return this.#read({ file: resolve(base, path), base, depth, prefix });
    if (prefix !== undefined) throw policyError(where, 'the directive may not stand here');
    if (directive === '!include-dir' && path !== undefined && parameters.length === 1) {
      const folder = resolve(base, path);
      for (const name of (await policyFiles(folder)).sort())
        await this.#read({ file: join(folder, name), base, depth, prefix });
    } else if (directive === '!include-service' && third !== undefined && parameters.length === 3)
      await this.#read({
        file: resolve(base, third),
        base,
        depth,
        prefix: `${path ?? ''} ${argument ?? ''}`,
      });
    else if (directive === '!compat-4.0' && parameters.length === 0) await this.#denyLegacy(where);
    else throw policyError(where, `${JSON.stringify(directive)} is no directive, or has other parameters`);
  }

  /** What has a file of the old format is denied from here on: that format is not read. */
  async #denyLegacy(where: string): Promise<void> {
    const { legacy } = this.#where;
    const names = legacy === undefined ? [] : await readdir(legacy).catch(noneIfMissing);
    for (const name of names) {
      const [, service, argument] = /^([A-Za-z0-9._-]+)(?:\+([A-Za-z0-9._+-]*))?$/.exec(name) ?? [];
      if (service === undefined) continue;
      const file = `${legacy ?? ''}/${name}, brought in by ${where}, which is of a format that is not read`;
      this.#add(parseRule(`${service} ${argument === undefined ? '*' : `+${argument}`} * * deny`, file));
    }
  }

  #add(rule: Rule): void {
    this.#rules.push(rule);
    if (this.#rules.length > MAX_RULES) throw policyError(rule.where, 'there are too many rules');
  }
}

/** Names of the policy files of a folder. */
async function policyFiles(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.policy') && !name.startsWith('.'));
  const wrong = names.find((name) => !FILE_NAME.test(name));
  if (wrong !== undefined)
    throw policyError(join(folder, wrong), 'the file name has other than lower-case letters, digits, "_.-"');
  return names;
}

/** As Qubes OS rewrites lines of a file that is included for one service. */
function modern(line: string): string {
  return line.replaceAll('$include:', '!include ').replaceAll('$', '@').replaceAll(',', ' ');
}

function noneIfMissing(error: unknown): string[] {
  if (systemCode(error) === 'ENOENT') return [];
  throw error;
}
