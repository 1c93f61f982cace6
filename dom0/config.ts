/** The configuration: a TOML file, or the local driver's defaults below one folder. */

import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse } from 'smol-toml';
import { z } from 'zod';
import { byteString, utf8 } from '../shared/bytes.ts';
import { BackupError, messageOf, systemCode } from '../shared/errors.ts';
import { patternProblem } from '../shared/exclude-pattern.ts';
import { MAX_JOBS, MAX_PATTERNS, MAX_PATTERN_LIST } from '../shared/limits.ts';
import type { ExcludeRules } from '../shared/protocol/disposable.ts';
import { DEFAULT_EXCLUDES } from './default-excludes.ts';
import { VOLUME_MODES, VOLUME_NAMES } from './domains/domains.ts';
import type { VolumeMode, VolumeName } from './domains/domains.ts';
import type { UnattendedConfig } from './keys/unattended.ts';
import { keepRules } from './retention/policy.ts';
import type { KeepRules } from './retention/policy.ts';
import { quorumSchema, storageSchema, storeConfig } from './storage-config.ts';
import type { LimitOptions, StoreConfig } from './storage-config.ts';

/** dom0's own folder on Qubes OS. */
const QUBES_STATE = '/var/lib/qubes-backup/state';
const DEFAULT_CONFIG = '/etc/qubes-backup/config.toml';

const MiB = 1024 * 1024;

const sandbox = z.enum(['auto', 'bubblewrap', 'unshare', 'none']);

const excludePattern = z.string().check((context) => {
  const problem = patternProblem(byteString(utf8(context.value)));
  if (problem === undefined) return;
  const message = `the pattern ${JSON.stringify(context.value)} ${problem}`;
  context.issues.push({ code: 'custom', input: context.value, message });
});

/**
 * How VMs are backed up. What a VM's own table does not set comes from its template's, then from `[backup]`, and then from
 * DEFAULTS.
 */
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
  /** MiB of stored objects that each run fetches and verifies. */
  spot_check_mib: z
    .int()
    .min(0)
    .max(1024 * 1024)
    .optional(),
  /** Patterns of gitignore(5) of what is left out; those of a template and of a VM follow the common ones. */
  exclude: z
    .array(excludePattern)
    .max(MAX_PATTERNS)
    .refine((patterns) => utf8(patterns.join('')).length <= MAX_PATTERN_LIST, {
      error: `more than ${MAX_PATTERN_LIST} bytes of patterns`,
    })
    .optional(),
  /** Begin with DEFAULT_EXCLUDES. */
  builtin_excludes: z.boolean().optional(),
  /** Leave out what is in a directory with a CACHEDIR.TAG. */
  cachedir_tag: z.boolean().optional(),
  /** Leave out what has the chattr flag `d`. */
  nodump: z.boolean().optional(),
  /** Follow the file .qubes-backup-exclude of a volume. */
  volume_excludes: z.boolean().optional(),
});

/** How each volume is backed up; `none` leaves it out. A root volume is a whole disk: nobody can read its files. */
const volumes = z.strictObject({
  private: z.enum([...VOLUME_MODES, 'none']).optional(),
  root: z.enum(['blocks', 'none']).optional(),
});

const DEFAULT_MODES = { private: 'files', root: 'none' } as const;

const DEFAULTS = {
  compress: true,
  checkpoint_seconds: 60,
  recheck_mib: 256,
  spot_check_mib: 32,
  builtin_excludes: true,
  cachedir_tag: true,
  nodump: false,
  volume_excludes: true,
};

/** The disposables that read and write a VM's data on Qubes OS. */
const disposable = z.strictObject({
  /** The DVM template they are made of; default: the one of ours for the VM's own template. */
  template: z.string().min(1).max(31).optional(),
  memory_mib: z
    .int()
    .min(400)
    .max(1024 * 1024)
    .optional(),
  vcpus: z.int().min(1).max(1024).optional(),
});

const settings = backup.extend({
  volumes: volumes.optional(),
  disposable: disposable.optional(),
  /** What `forget` keeps. One table holds as a whole: what it leaves out does not come from another. */
  keep: keepRules.optional(),
});

const schema = z.strictObject({
  /** Where VMs come from: `local` is folders and sandboxed processes below `home`, `qubes` is Qubes OS. */
  driver: z.enum(['local', 'qubes']),
  /** Of the local driver. */
  home: z.string().min(1).optional(),
  sandbox: sandbox.default('auto'),
  /** dom0's own folder; default: `state` in the home, or /var/lib/qubes-backup/state. */
  state: z.string().startsWith('/').optional(),
  storage: storageSchema,
  quorum: quorumSchema,
  /** MiB of sealed records and trees kept in dom0. */
  cache_mib: z
    .int()
    .min(1)
    .max(1024 * 1024)
    .default(1024),
  /** What opens the repository if nobody presents a secret: a key file, and a program that prints the passphrase. */
  key_file: z.string().startsWith('/').optional(),
  passphrase_command: z.tuple([z.string().min(1)], z.string()).optional(),
  /** What VMs may ask for themselves; without this table no request is answered. */
  requests: z.strictObject({ key_file: z.string().startsWith('/') }).optional(),
  /** VMs that are backed up at the same time. */
  jobs: z.int().min(1).max(MAX_JOBS).default(1),
  backup: settings.default({}),
  /** Exceptions for the VMs of a template, by its name. */
  template: z.record(z.string(), settings).default({}),
  /** Exceptions per VM. */
  vm: z.record(z.string(), settings).default({}),
});

export type Sandbox = z.output<typeof sandbox>;

export interface BackupSettings {
  readonly compress: boolean;
  /** Milliseconds. */
  readonly checkpointEvery: number;
  /** Bytes. */
  readonly recheckBytes: number;
  readonly spotCheckBytes: number;
  readonly excludes: ExcludeRules;
}

/** A volume that is to be backed up. */
export interface VolumePlan {
  readonly name: VolumeName;
  readonly mode: VolumeMode;
  /** The VM must have it: its own table names it, or it is the private one. */
  readonly explicit: boolean;
}

/** What of a VM decides about its settings. */
export interface Configured {
  readonly name: string;
  readonly template: string | null;
}

/** Where VMs come from, and what that needs to know. */
export type Driver =
  { readonly kind: 'local'; readonly home: string; readonly sandbox: Sandbox } | { readonly kind: 'qubes' };

/** What is set of the disposables for a VM's data. */
export interface DisposableChoice {
  readonly template?: string;
  /** MiB. */
  readonly memory?: number;
  readonly vcpus?: number;
}

export interface Config {
  readonly driver: Driver;
  /** At least one. The first is the primary one, as long as no other was chosen. */
  readonly stores: readonly StoreConfig[];
  /** Stores that must have a backup, so that it counts as complete. */
  readonly quorum: number | 'all';
  /** dom0's own folder. */
  readonly stateFolder: string;
  /** Bytes. */
  readonly cacheSize: number;
  /** What opens the repository if nobody presents a secret. */
  readonly unattended: UnattendedConfig;
  /** What opens the repository for a request of a VM; undefined where none is answered. */
  readonly requests?: { readonly keyFile: string };
  /** VMs that are backed up at the same time. */
  readonly jobs: number;
  backup(vm: Configured): BackupSettings;
  /** The volumes of a VM to back up, in the order of a snapshot. */
  volumes(vm: Configured): VolumePlan[];
  /** What `forget` keeps of a VM; undefined if nothing says so. */
  keep(vm: Configured): KeepRules | undefined;
  disposable(vm: Configured): DisposableChoice;
}

/** What the command line says of the configuration. */
export interface ConfigOptions {
  readonly file: string | undefined;
  readonly localHome: string | undefined;
  readonly sandbox: Sandbox | undefined;
  readonly limits?: LimitOptions;
}

/** The configuration of `file`, or with `localHome` the defaults there (and of `HOME/config.toml` if it exists). */
export function loadConfig(options: ConfigOptions): Config {
  const { file, localHome } = options;
  if (localHome !== undefined) {
    const defaults = { driver: 'local', home: resolve(localHome) };
    const own = file === undefined ? readToml(join(localHome, 'config.toml'), false) : readToml(file, true);
    return describe(
      { ...defaults, ...own, home: defaults.home },
      file ?? join(localHome, 'config.toml'),
      options,
    );
  }
  return describe(readToml(file ?? DEFAULT_CONFIG, true), file ?? DEFAULT_CONFIG, options);
}

function describe(raw: Record<string, unknown>, file: string, options: ConfigOptions): Config {
  const result = schema.safeParse(raw);
  if (!result.success) {
    const issues = result.error.issues.map((issue) => `${issue.path.join('.') || 'file'}: ${issue.message}`);
    throw new BackupError('usage', `the configuration ${file} is wrong: ${issues.join('; ')}`);
  }
  const config = result.data;
  if (config.quorum !== 'all' && config.quorum > config.storage.length)
    throw new BackupError(
      'usage',
      `the configuration ${file} is wrong: quorum = ${config.quorum}, but there are ${config.storage.length} stores`,
    );
  const driver = driverOf(config, file, options);
  const levelsOf = ({ name, template }: Configured): readonly Level[] => [
    { source: `[vm.${name}]`, settings: own(config.vm, name) },
    { source: `[template.${template ?? ''}]`, settings: own(config.template, template ?? '') },
    { source: '[backup]', settings: config.backup },
  ];
  return {
    driver,
    stores: config.storage.map((table) => storeConfig(table, options.limits ?? {})),
    quorum: config.quorum,
    stateFolder: config.state ?? (driver.kind === 'local' ? join(driver.home, 'state') : QUBES_STATE),
    cacheSize: config.cache_mib * MiB,
    unattended: definedOf({ keyFile: config.key_file, passphraseCommand: config.passphrase_command }),
    ...(config.requests === undefined ? {} : { requests: { keyFile: config.requests.key_file } }),
    jobs: config.jobs,
    backup(vm) {
      const levels = levelsOf(vm);
      const pick = <K extends keyof typeof DEFAULTS>(key: K) =>
        levels.find(({ settings }) => settings[key] !== undefined)?.settings[key] ?? DEFAULTS[key];
      return {
        compress: pick('compress'),
        checkpointEvery: pick('checkpoint_seconds') * 1000,
        recheckBytes: pick('recheck_mib') * MiB,
        spotCheckBytes: pick('spot_check_mib') * MiB,
        excludes: {
          lists: excludeLists(levels, pick('builtin_excludes')),
          cachedirTag: pick('cachedir_tag'),
          nodump: pick('nodump'),
          volumeFile: pick('volume_excludes'),
        },
      };
    },
    volumes(vm) {
      const [ofVm, ...general] = levelsOf(vm).map(({ settings: { volumes: modes } }) => modes);
      return VOLUME_NAMES.flatMap((name) => {
        const common = general.find((modes) => modes?.[name] !== undefined)?.[name];
        const mode = ofVm?.[name] ?? common ?? DEFAULT_MODES[name];
        if (mode === 'none') return [];
        return [{ name, mode, explicit: name === 'private' || ofVm?.[name] !== undefined }];
      });
    },
    keep(vm) {
      return levelsOf(vm).find(({ settings: { keep } }) => keep !== undefined)?.settings.keep;
    },
    disposable(vm) {
      const levels = levelsOf(vm).map(({ settings: { disposable: choice } }) => choice ?? {});
      const { template, memory_mib: memory, vcpus } = Object.assign({}, ...levels.toReversed()) as Choice;
      return definedOf({ template, memory, vcpus });
    },
  };
}

type Choice = z.output<typeof disposable>;

function definedOf<T extends object>(values: T): Partial<{ [K in keyof T]: Exclude<T[K], undefined> }> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<{
    [K in keyof T]: Exclude<T[K], undefined>;
  }>;
}

function driverOf(config: z.output<typeof schema>, file: string, { sandbox: chosen }: ConfigOptions): Driver {
  const wrong = (what: string) => new BackupError('usage', `the configuration ${file} is wrong: ${what}`);
  if (config.driver === 'qubes') {
    if (config.home !== undefined) throw wrong('home: is of the driver "local", and this is "qubes"');
    return { kind: 'qubes' };
  }
  if (config.home === undefined) throw wrong('home: is missing');
  return { kind: 'local', home: resolve(config.home), sandbox: chosen ?? config.sandbox };
}

/** One table of settings for a VM, and what a person calls it. */
interface Level {
  readonly source: string;
  readonly settings: z.output<typeof settings>;
}

/** The table of `name`, which may be any text (`__proto__`). */
function own(tables: Record<string, Level['settings']>, name: string): Level['settings'] {
  return (Object.hasOwn(tables, name) ? tables[name] : undefined) ?? {};
}

/** From the most general to the VM's own, of which later ones win. `levels` is in the other order. */
function excludeLists(levels: readonly Level[], builtin: boolean): ExcludeRules['lists'] {
  const lists = builtin ? [{ source: 'the built-in excludes', patterns: [...DEFAULT_EXCLUDES] }] : [];
  for (const { source, settings } of levels.toReversed())
    if (settings.exclude !== undefined) lists.push({ source, patterns: settings.exclude });
  return lists;
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
