/** The configuration: a TOML file, or the local driver's defaults below one folder. */

import { join, resolve } from 'node:path';
import { BackupError } from '../shared/errors.ts';
import type { ExcludeRules } from '../shared/protocol/disposable.ts';
import { readConfigFile } from './config/file.ts';
import type { ConfigChoice } from './config/file.ts';
import { sentence } from './config/problems.ts';
import { DEFAULTS, DEFAULT_MODES } from './config/schema.ts';
import type { Disposable, Sandbox, Settings, Values } from './config/schema.ts';
import { storeConfig } from './config/stores.ts';
import type { LimitOptions, StoreConfig } from './config/stores.ts';
import { DEFAULT_EXCLUDES } from './default-excludes.ts';
import type { Dom0Paths } from './domains/dom0-files.ts';
import { VOLUME_NAMES } from './domains/domains.ts';
import type { VolumeMode, VolumeName } from './domains/domains.ts';
import type { UnattendedConfig } from './keys/unattended.ts';
import type { AnomalyLimit } from './retention/anomaly.ts';
import type { Notify } from './schedule/desktop.ts';
import type { Hooks } from './schedule/hooks.ts';
import type { KeepRules } from './retention/policy.ts';

/** dom0's own folder on Qubes OS. */
const QUBES_STATE = '/var/lib/qubes-backup/state';
/** What of dom0 is backed up there unless the configuration says otherwise: homes, policies, our own settings, salt. */
const QUBES_DOM0_PATHS = ['/etc/qubes', '/etc/qubes-backup', '/home', '/srv'];

const MiB = 1024 * 1024;

export interface BackupSettings {
  readonly compress: boolean;
  /** Milliseconds. */
  readonly checkpointEvery: number;
  /** Bytes. */
  readonly recheckBytes: number;
  readonly spotCheckBytes: number;
  /** Milliseconds after which a VM without a newer backup is a finding. */
  readonly staleAfter: number;
  readonly anomalyLimit: AnomalyLimit;
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
  /** See Vm. */
  readonly asBlocks?: readonly VolumeName[];
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
  readonly hooks: Hooks;
  /** What opens the repository for a request of a VM; undefined where none is answered. */
  readonly requests?: { readonly keyFile: string };
  /** VMs that are backed up at the same time. */
  readonly jobs: number;
  readonly notify: Notify;
  /** What of dom0 itself is backed up, and what of it never is. */
  readonly dom0: Dom0Paths;
  /** True if a VM has settings of its own. */
  names(vm: string): boolean;
  backup(vm: Configured): BackupSettings;
  /** The volumes of a VM to back up, in the order of a snapshot. */
  volumes(vm: Configured): VolumePlan[];
  /** What `forget` keeps of a VM; undefined if nothing says so. */
  keep(vm: Configured): KeepRules | undefined;
  /** What `drill` runs on the restored VM, if anything. */
  drillCommand(vm: Configured): readonly string[] | undefined;
  disposable(vm: Configured): DisposableChoice;
}

/** What the command line says of the configuration. */
export interface ConfigOptions extends ConfigChoice {
  readonly sandbox: Sandbox | undefined;
  readonly limits?: LimitOptions;
}

/** The configuration of `file`, or with `localHome` the defaults there (and of `HOME/config.toml` if it exists). Throws `usage`. */
export function loadConfig(options: ConfigOptions): Config {
  const file = readConfigFile(options);
  if (file.values === undefined)
    throw new BackupError(
      'usage',
      `the configuration ${file.path} is wrong: ${file.problems.map(sentence).join('; ')}`,
    );
  return describe(file.values, options);
}

function describe(config: Values, options: ConfigOptions): Config {
  const driver = driverOf(config, options);
  const stateFolder = config.state ?? (driver.kind === 'local' ? join(driver.home, 'state') : QUBES_STATE);
  const stores = config.storage.map((table) => storeConfig(table, options.limits ?? {}));
  const levelsOf = ({ name, template }: Configured): readonly Level[] => [
    { source: `[vm.${name}]`, settings: own(config.vm, name) },
    { source: `[template.${template ?? ''}]`, settings: own(config.template, template ?? '') },
    { source: '[backup]', settings: config.backup },
  ];
  return {
    driver,
    stores,
    quorum: config.quorum,
    stateFolder,
    cacheSize: config.cache_mib * MiB,
    unattended: definedOf({ keyFile: config.key_file, passphraseCommand: config.passphrase_command }),
    hooks: config.hooks,
    ...(config.requests === undefined ? {} : { requests: { keyFile: config.requests.key_file } }),
    jobs: config.jobs,
    notify: config.notify,
    dom0: {
      chosen: config.dom0.paths ?? (driver.kind === 'qubes' ? QUBES_DOM0_PATHS : []),
      hidden: [
        ...[stateFolder, config.key_file, config.requests?.key_file].filter((path) => path !== undefined),
        ...(config.passphrase_command ?? []).filter((word) => word.startsWith('/')),
        ...stores.flatMap(({ folder }) => (folder === undefined ? [] : [folder])),
        ...(driver.kind === 'local' ? ['state', 'storage'].map((name) => join(driver.home, name)) : []),
      ],
    },
    names: (vm) => Object.hasOwn(config.vm, vm),
    backup(vm) {
      const levels = levelsOf(vm);
      const pick = <K extends keyof typeof DEFAULTS>(key: K) =>
        levels.find(({ settings }) => settings[key] !== undefined)?.settings[key] ?? DEFAULTS[key];
      return {
        compress: pick('compress'),
        checkpointEvery: pick('checkpoint_seconds') * 1000,
        recheckBytes: pick('recheck_mib') * MiB,
        spotCheckBytes: pick('spot_check_mib') * MiB,
        staleAfter: pick('stale_days') * 86_400_000,
        anomalyLimit: { percent: pick('anomaly_percent'), files: pick('anomaly_files') },
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
        const mode = ofVm?.[name] ?? common ?? defaultMode(vm, name);
        if (mode === 'none') return [];
        return [{ name, mode, explicit: name === 'private' || ofVm?.[name] !== undefined }];
      });
    },
    keep(vm) {
      return levelsOf(vm).find(({ settings: { keep } }) => keep !== undefined)?.settings.keep;
    },
    drillCommand(vm) {
      return levelsOf(vm).find(({ settings }) => settings.drill_command !== undefined)?.settings
        .drill_command;
    },
    disposable(vm) {
      const levels = levelsOf(vm).map(({ settings: { disposable: choice } }) => choice ?? {});
      const { template, memory_mib: memory, vcpus } = Object.assign({}, ...levels.toReversed()) as Disposable;
      return definedOf({ template, memory, vcpus });
    },
  };
}

/** How a volume is backed up of which the configuration says nothing. */
export function defaultMode(
  { asBlocks = [] }: Pick<Configured, 'asBlocks'>,
  name: VolumeName,
): VolumeMode | 'none' {
  return asBlocks.includes(name) ? 'blocks' : DEFAULT_MODES[name];
}

function definedOf<T extends object>(values: T): Partial<{ [K in keyof T]: Exclude<T[K], undefined> }> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<{
    [K in keyof T]: Exclude<T[K], undefined>;
  }>;
}

function driverOf({ driver, home, sandbox }: Values, { sandbox: chosen }: ConfigOptions): Driver {
  if (driver === 'qubes' || home === undefined) return { kind: 'qubes' };
  return { kind: 'local', home: resolve(home), sandbox: chosen ?? sandbox };
}

/** One table of settings for a VM, and what a person calls it. */
interface Level {
  readonly source: string;
  readonly settings: Settings;
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
