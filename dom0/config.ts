/** The configuration: a TOML file, or the local driver's defaults below one folder. */

import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse } from 'smol-toml';
import { z } from 'zod';
import { BackupError, messageOf, systemCode } from '../shared/errors.ts';

const DEFAULT_CONFIG = '/etc/qubes-backup/config.toml';

const MiB = 1024 * 1024;

const sandbox = z.enum(['auto', 'bubblewrap', 'unshare', 'none']);

/** How VMs are backed up; what is left out of a VM's own table comes from `[backup]`, and then from DEFAULTS. */
const backup = z.strictObject({
  /** Off: sizes say less about contents (R08). */
  compress: z.boolean().optional(),
  /** Seconds between checkpoints of a running backup. */
  checkpoint_seconds: z.int().min(1).max(86_400).optional(),
  /** MiB of unchanged files that each run reads again. */
  recheck_mib: z
    .int()
    .min(0)
    .max(1024 * 1024)
    .optional(),
});

const DEFAULTS = { compress: true, checkpoint_seconds: 60, recheck_mib: 256 };

const schema = z.strictObject({
  /** Where VMs come from: `local` is folders and sandboxed processes below `home`. */
  driver: z.literal('local'),
  home: z.string().min(1),
  sandbox: sandbox.default('auto'),
  /** Storage VMs by name; this version writes to one. */
  storage: z
    .array(z.strictObject({ vm: z.string().regex(/^[A-Za-z][A-Za-z0-9_-]{0,30}$/) }))
    .length(1)
    .default([{ vm: 'main' }]),
  /** MiB of sealed records and trees kept in dom0. */
  cache_mib: z
    .int()
    .min(1)
    .max(1024 * 1024)
    .default(1024),
  backup: backup.default({}),
  /** Exceptions per VM. */
  vm: z.record(z.string(), backup).default({}),
});

export type Sandbox = z.output<typeof sandbox>;

export interface BackupSettings {
  readonly compress: boolean;
  /** Milliseconds. */
  readonly checkpointEvery: number;
  /** Bytes. */
  readonly recheckBytes: number;
}

export interface Config {
  readonly home: string;
  readonly sandbox: Sandbox;
  readonly storageVm: string;
  /** dom0's own folder. */
  readonly stateFolder: string;
  /** Bytes. */
  readonly cacheSize: number;
  backup(vm: string): BackupSettings;
}

/** The configuration of `file`, or with `localHome` the defaults there (and of `HOME/config.toml` if it exists). */
export function loadConfig(options: {
  file: string | undefined;
  localHome: string | undefined;
  sandbox: Sandbox | undefined;
}): Config {
  const { file, localHome } = options;
  if (localHome !== undefined) {
    const defaults = { driver: 'local', home: resolve(localHome) };
    const own = file === undefined ? readToml(join(localHome, 'config.toml'), false) : readToml(file, true);
    return describe(
      { ...defaults, ...own, home: defaults.home },
      file ?? join(localHome, 'config.toml'),
      options.sandbox,
    );
  }
  return describe(readToml(file ?? DEFAULT_CONFIG, true), file ?? DEFAULT_CONFIG, options.sandbox);
}

function describe(raw: Record<string, unknown>, file: string, sandboxOption: Sandbox | undefined): Config {
  const result = schema.safeParse(raw);
  if (!result.success) {
    const issues = result.error.issues.map((issue) => `${issue.path.join('.') || 'file'}: ${issue.message}`);
    throw new BackupError('usage', `the configuration ${file} is wrong: ${issues.join('; ')}`);
  }
  const config = result.data;
  const home = resolve(config.home);
  return {
    home,
    sandbox: sandboxOption ?? config.sandbox,
    storageVm: config.storage[0]?.vm ?? 'main',
    stateFolder: join(home, 'state'),
    cacheSize: config.cache_mib * MiB,
    backup(vm) {
      const [own, common] = [config.vm[vm], config.backup];
      const pick = <K extends keyof typeof DEFAULTS>(key: K) => own?.[key] ?? common[key] ?? DEFAULTS[key];
      return {
        compress: pick('compress'),
        checkpointEvery: pick('checkpoint_seconds') * 1000,
        recheckBytes: pick('recheck_mib') * MiB,
      };
    },
  };
}

function readToml(file: string, required: boolean): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    if (!required && systemCode(cause) === 'ENOENT') return {};
    const hint = file === DEFAULT_CONFIG ? '; give --local HOME or --config FILE' : '';
    throw new BackupError(
      'usage',
      `cannot read the configuration ${file} (${systemCode(cause) ?? 'error'})${hint}`,
      { cause },
    );
  }
  try {
    return parse(text);
  } catch (cause) {
    throw new BackupError('usage', `the configuration ${file} is not TOML: ${messageOf(cause)}`, { cause });
  }
}
