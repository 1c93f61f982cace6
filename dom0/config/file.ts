/** Reads the file of the configuration: what it sets, or all that is wrong in it. */

import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { TomlError, parse } from 'smol-toml';
import { BackupError, systemCode } from '../../shared/errors.ts';
import { Lines } from './lines.ts';
import { problemsOf } from './problems.ts';
import type { Problem } from './problems.ts';
import { schema } from './schema.ts';
import type { Values } from './schema.ts';

export const DEFAULT_CONFIG = '/etc/qubes-backup/config.toml';

/** Which file, as the command line says. */
export interface ConfigChoice {
  readonly file: string | undefined;
  readonly localHome: string | undefined;
}

export interface ConfigFile {
  readonly path: string;
  /** What it sets, with defaults; undefined if there are problems. */
  readonly values: Values | undefined;
  readonly problems: readonly Problem[];
  /** What the file itself sets. */
  readonly raw: Readonly<Record<string, unknown>>;
  readonly lines: Lines;
}

/**
 * With `localHome`, HOME/config.toml need not exist, and driver and home need not be set. Throws `usage` if a file that is needed
 * cannot be read.
 */
export function readConfigFile({ file, localHome }: ConfigChoice): ConfigFile {
  const path = file ?? (localHome === undefined ? DEFAULT_CONFIG : join(localHome, 'config.toml'));
  const text = readText(path, file !== undefined || localHome === undefined);
  let raw: Record<string, unknown>;
  try {
    raw = parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [what = ''] = error.message.split('\n');
    const problem = { key: '', line: error.line, message: `column ${error.column}: ${what}` };
    return { path, values: undefined, problems: [problem], raw: {}, lines: new Lines('') };
  }
  const whole = localHome === undefined ? raw : { driver: 'local', ...raw, home: resolve(localHome) };
  const lines = new Lines(text);
  const { success, data, error } = schema.safeParse(whole);
  const problems = success ? [] : problemsOf(error.issues, whole, lines);
  return { path, values: data, problems, raw, lines };
}

function readText(path: string, required: boolean): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    if (!required && systemCode(cause) === 'ENOENT') return '';
    const hint = path === DEFAULT_CONFIG ? '; give --local HOME or --config FILE' : '';
    throw new BackupError(
      'usage',
      `cannot read the configuration ${path} (${systemCode(cause) ?? 'error'})${hint}`,
      { cause },
    );
  }
}
