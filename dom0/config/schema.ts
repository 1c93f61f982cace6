/**
 * Every setting of the configuration: what it may be, and what it is for. From here come the JSON Schema for editors, the annotated
 * example and the manual page; a key without a description fails a test.
 */

import { resolve } from 'node:path';
import * as z from 'zod';
import { byteString, utf8 } from '../../shared/bytes.ts';
import { patternProblem } from '../../shared/exclude-pattern.ts';
import {
  MAX_CHOSEN,
  MAX_CHOSEN_PATH,
  MAX_JOBS,
  MAX_PATTERNS,
  MAX_PATTERN_LIST,
} from '../../shared/limits.ts';
import { drillCommand } from '../../shared/protocol/disposable.ts';
import { isWithin } from '../domains/dom0-files.ts';
import { VOLUME_MODES } from '../domains/domains.ts';
import { NOTIFY } from '../schedule/desktop.ts';
import { hooksSchema } from '../schedule/hooks.ts';
import { keepRules } from '../retention/policy.ts';
import { quorumSchema, storageSchema } from './stores.ts';

/** What holds for a VM where no level says otherwise. */
export const DEFAULTS = {
  compress: true,
  checkpoint_seconds: 60,
  recheck_mib: 256,
  spot_check_mib: 32,
  anomaly_percent: 50,
  anomaly_files: 100,
  stale_days: 8,
  builtin_excludes: true,
  cachedir_tag: true,
  nodump: false,
  volume_excludes: true,
};

/** The same of each volume. */
export const DEFAULT_MODES = { private: 'files', root: 'none' } as const;

const mebibytes = (min: number) =>
  z
    .int()
    .min(min)
    .max(1024 * 1024);

const absolutePath = z.string().startsWith('/', { error: 'is no absolute path' });

const excludePattern = z.string().check((context) => {
  const problem = patternProblem(byteString(utf8(context.value)));
  if (problem === undefined) return;
  const message = `the pattern ${JSON.stringify(context.value)} ${problem}`;
  context.issues.push({ code: 'custom', input: context.value, message });
});

/** A path of dom0 that is backed up: in its shortest form, and not all there is. */
const dom0Path = absolutePath
  .refine((path) => path !== '/' && path === resolve(path) && !path.includes('\0'), {
    error: 'must be a path without ".", "..", double slashes and a slash at its end',
  })
  .refine((path) => utf8(path).length <= MAX_CHOSEN_PATH, { error: `more than ${MAX_CHOSEN_PATH} bytes` });

/** How each volume is backed up. A root volume is a whole disk: nobody can read its files. */
const volumes = z.strictObject({
  private: z
    .enum([...VOLUME_MODES, 'none'])
    .optional()
    .meta({
      description:
        'The private volume: as files, as blocks (the raw device as one sparse file), or not at all. On Qubes OS that of a VM that ' +
        'boots a system of its own other than Linux (Windows) is read as blocks by default.',
      default: DEFAULT_MODES.private,
    }),
  root: z.enum(['blocks', 'none']).optional().meta({
    description:
      'The root volume of a VM that has its own. On Qubes OS that is templates and standalone VMs, and the default is blocks.',
    default: DEFAULT_MODES.root,
  }),
});

/** The disposables that read and write a VM's data on Qubes OS. */
const disposable = z.strictObject({
  template: z
    .string()
    .min(1)
    .max(31)
    .optional()
    .meta({
      description:
        "The template for disposables that they are made of. By default one of ours for the VM's template.",
      examples: ['debian-13-dvm'],
    }),
  memory_mib: z
    .int()
    .min(400)
    .max(1024 * 1024)
    .optional()
    .meta({
      description: 'MiB of memory. By default that of the template for disposables.',
      examples: [1000],
    }),
  vcpus: z
    .int()
    .min(1)
    .max(1024)
    .optional()
    .meta({ description: 'Virtual CPUs. By default those of the template for disposables.', examples: [2] }),
});

/** What a level may set: what a VM's own table does not set comes from its template's, then from `[backup]`. */
const settings = z
  .strictObject({
    compress: z.boolean().optional().meta({
      description: 'Whether contents are compressed. Off, sizes say less about contents.',
      default: DEFAULTS.compress,
    }),
    checkpoint_seconds: z.int().min(1).max(86_400).optional().meta({
      description:
        'Seconds between checkpoints of a running backup: an interrupted run loses at most this much.',
      default: DEFAULTS.checkpoint_seconds,
    }),
    recheck_mib: mebibytes(0).optional().meta({
      description: 'MiB of unchanged files that each run reads again, in turn.',
      default: DEFAULTS.recheck_mib,
    }),
    spot_check_mib: mebibytes(0).optional().meta({
      description: 'MiB of stored objects that each run fetches and verifies.',
      default: DEFAULTS.spot_check_mib,
    }),
    anomaly_percent: z.number().min(0).max(100).optional().meta({
      description:
        'Percent of the files of the last snapshot that, deleted or rewritten, freeze forget until a person acknowledges it; 100 is never.',
      default: DEFAULTS.anomaly_percent,
    }),
    anomaly_files: z.int().min(1).optional().meta({
      description: 'How many files that must be at least.',
      default: DEFAULTS.anomaly_files,
    }),
    stale_days: z.int().min(1).max(36_500).optional().meta({
      description: 'Days after which a VM without a newer backup is a finding of check and status.',
      default: DEFAULTS.stale_days,
    }),
    exclude: z
      .array(excludePattern)
      .max(MAX_PATTERNS)
      .refine((patterns) => utf8(patterns.join('')).length <= MAX_PATTERN_LIST, {
        error: `more than ${MAX_PATTERN_LIST} bytes of patterns`,
      })
      .optional()
      .meta({
        description:
          "Patterns of gitignore(5), relative to the volume's root, of what is left out. Those of the VM's template and of the VM follow the common ones; the last that matches decides, and ! takes in again.",
        examples: [['*.iso', '/home/*/Downloads/']],
      }),
    builtin_excludes: z.boolean().optional().meta({
      description: 'Whether caches and trash of users are left out, by built-in patterns that come first.',
      default: DEFAULTS.builtin_excludes,
    }),
    cachedir_tag: z.boolean().optional().meta({
      description: 'Whether what is in a directory with a valid CACHEDIR.TAG is left out.',
      default: DEFAULTS.cachedir_tag,
    }),
    nodump: z.boolean().optional().meta({
      description: 'Whether what has the chattr flag d is left out.',
      default: DEFAULTS.nodump,
    }),
    volume_excludes: z.boolean().optional().meta({
      description: 'Whether the file .qubes-backup-exclude of a volume may leave out more.',
      default: DEFAULTS.volume_excludes,
    }),
    volumes: volumes.optional().meta({ description: 'Which volumes are backed up, and how.' }),
    disposable: disposable
      .optional()
      .meta({ description: "Qubes OS: the disposables that read and write a VM's data." }),
    drill_command: drillCommand.optional().meta({
      description:
        "A program and its arguments by which drill has a restored VM judged, in a disposable without network and in the volume's root folder: status 0 is good.",
      examples: [['sh', '-c', 'test -s home/user/accounts.ods']],
    }),
    keep: keepRules.optional().meta({
      description:
        'What forget keeps; without such a table, everything. One table holds as a whole: what it leaves out does not come from another level.',
    }),
  })
  .meta({ id: 'settings' });

function areApart(paths: readonly string[]): boolean {
  return paths.every((path, i) => paths.every((other, j) => i === j || !isWithin(path, other)));
}

/** What one key says that another one contradicts. Runs whatever else is wrong, so it believes nothing of `value`. */
function contradictions(value: unknown, context: z.RefinementCtx): void {
  const { driver, home, quorum, storage } = (
    typeof value === 'object' && value !== null ? value : {}
  ) as Record<string, unknown>;
  const add = (key: string, message: string) => context.addIssue({ code: 'custom', path: [key], message });
  if (driver === 'qubes' && home !== undefined) add('home', 'is of the driver "local", and this is "qubes"');
  if (driver === 'local' && home === undefined) add('home', 'is missing: the driver "local" needs it');
  if (typeof quorum === 'number' && Array.isArray(storage) && quorum > storage.length)
    add('quorum', `is ${quorum}, more than the number of stores (${storage.length})`);
}

export const schema = z
  .strictObject({
    driver: z.enum(['local', 'qubes']).meta({
      description:
        'Where VMs come from: qubes is Qubes OS, local is folders and sandboxed processes below home, on any Linux.',
      examples: ['qubes'],
    }),
    home: z
      .string()
      .min(1)
      .optional()
      .meta({
        description: 'Of the driver local: the folder with its VMs, its storage and its state.',
        examples: ['/srv/backup-home'],
      }),
    sandbox: z
      .enum(['auto', 'bubblewrap', 'unshare', 'none'])
      .default('auto')
      .meta({ description: 'Of the driver local: how services are confined.' }),
    state: absolutePath.optional().meta({
      description:
        "dom0's own folder. By default /var/lib/qubes-backup/state on Qubes OS, else the folder state in the home.",
      examples: ['/srv/state'],
    }),
    storage: storageSchema,
    quorum: quorumSchema,
    cache_mib: mebibytes(1).default(1024).meta({
      description: 'MiB of sealed records and trees kept in dom0, so that a run does not download them.',
    }),
    key_file: absolutePath.optional().meta({
      description: 'A key file that opens the repository if nobody presents a secret, by its absolute path.',
      examples: ['/etc/qubes-backup/unattended.key'],
    }),
    passphrase_command: z
      .tuple([z.string().min(1)], z.string())
      .optional()
      .meta({
        description:
          'A program and its arguments, run without a shell if nobody presents a secret: it prints the passphrase.',
        examples: [['/usr/local/bin/backup-passphrase', 'dom0']],
      }),
    hooks: hooksSchema,
    notify: z.enum(NOTIFY).default('problems').meta({
      description:
        'When those who are logged in are told on their desktop how a scheduled run ended, where notify-send is installed.',
    }),
    requests: z
      .strictObject({
        key_file: absolutePath.meta({
          description: 'A key file that opens the repository, by its absolute path.',
          examples: ['/etc/qubes-backup/requests.key'],
        }),
      })
      .optional()
      .meta({
        description: 'Qubes OS: what VMs may ask for themselves. Without this table no request is answered.',
      }),
    jobs: z
      .int()
      .min(1)
      .max(MAX_JOBS)
      .default(1)
      .meta({ description: 'How many VMs are backed up at the same time; --jobs says otherwise.' }),
    dom0: z
      .strictObject({
        paths: z
          .array(dom0Path)
          .max(MAX_CHOSEN)
          .refine(areApart, { error: 'one is inside another, or there twice' })
          .optional()
          .meta({
            description:
              'Files and folders by their absolute paths, through no symbolic link. By default on Qubes OS homes, policies, settings of ours and salt; else none.',
            examples: [['/etc/qubes', '/etc/qubes-backup', '/home', '/srv']],
          }),
      })
      .default({})
      .meta({ description: 'What of dom0 itself is backed up, as a VM of the name dom0.' }),
    backup: settings.default({}).meta({
      description: 'How VMs are backed up: what holds for all of them, unless a table below says otherwise.',
    }),
    template: z
      .record(z.string(), settings)
      .default({})
      .meta({ description: 'Exceptions for the VMs of a template, by its name: [template.debian-13].' }),
    vm: z
      .record(z.string(), settings)
      .default({})
      .meta({ description: 'Exceptions for one VM, by its name: [vm.vault].' }),
  })
  .superRefine(contradictions, { when: () => true });

export type Settings = z.output<typeof settings>;
export type Disposable = z.output<typeof disposable>;
/** What a whole file says. */
export type Values = z.output<typeof schema>;
export type Sandbox = z.output<typeof schema>['sandbox'];
