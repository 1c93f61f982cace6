/** The command line `qubes-backup`: parses it, runs one command, turns the outcome into an exit status. */

import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import * as z from 'zod';
import { messageOf } from '../shared/errors.ts';
import { MAX_JOBS } from '../shared/limits.ts';
import { CONSOLE } from '../shared/write-all.ts';
import { backup } from './commands/backup.ts';
import type { BackupOptions } from './commands/backup.ts';
import { estimate } from './commands/backup-estimate.ts';
import { check } from './commands/check.ts';
import { diff, verify } from './commands/diff.ts';
import { extract } from './commands/extract.ts';
import { find } from './commands/find.ts';
import type { FindOptions } from './commands/find.ts';
import { history } from './commands/history.ts';
import { init } from './commands/init.ts';
import { list } from './commands/list.ts';
import { ls } from './commands/ls.ts';
import type { LsOptions } from './commands/ls.ts';
import { rootFingerprint } from './commands/root.ts';
import { VOLUME_NAMES } from './domains/domains.ts';
import type { VolumeName } from './domains/domains.ts';
import { STATUS } from './exit-status.ts';
import { addDrillCommands } from './drill-commands.ts';
import { addDoctorCommand } from './doctor-commands.ts';
import { addBrowseCommand } from './browse-command.ts';
import { addCompletionCommands } from './completion-commands.ts';
import { addConfigCommands } from './config-commands.ts';
import { addKeyCommands } from './key-commands.ts';
import type { Secret } from './keys/secret.ts';
import { newPassphrase, readSecrets } from './new-secret.ts';
import { parsePercent } from './percent.ts';
import { addRestoreCommand } from './restore-command.ts';
import { addLogCommands } from './log-commands.ts';
import { addRetentionCommands } from './retention-commands.ts';
import { addScheduleCommands } from './schedule-commands.ts';
import { addSnapshotCommands } from './snapshot-commands.ts';
import { runSteps } from './steps.ts';
import { setup } from './commands/setup.ts';
import { run as runWith, runPlain } from './run.ts';
import type { GlobalOptions, RunPlain, Work } from './run.ts';
import { addStatusCommands } from './status-commands.ts';
import { addStorageCommands } from './storage-commands.ts';
import { addUnlockCommands } from './unlock-commands.ts';
import { parseFingerprint } from './words.ts';

// The launcher forbids to compile text as code; so zod need not try.
z.config({ jitless: true });

/** What a repository can be opened with. */
const INIT_HELP = `
  Without a secret in a file, a passphrase is generated and shown. --passphrase-file, --key-file and --paper-file may be
  given together: each opens the repository by itself.

  qubes-backup init
  qubes-backup --key-file /mnt/usb/backup.key --paper-file words.txt init`;

const BACKUP_HELP = `
  Only what changed is read, only what is new is stored. What a run finds wrong is a warning that names it, and status 3.

  qubes-backup backup --all --jobs 2
  qubes-backup backup work vault --audit`;

const LIST_HELP = `
  qubes-backup list
  qubes-backup --json list work`;

const LS_HELP = `
  VM@SNAPSHOT takes latest (the default), a number, or the start of a local date and time.

  qubes-backup ls work home/user
  qubes-backup ls --recursive work@2026-11 home/user/Documents
  qubes-backup ls --skipped work@12`;

const FIND_HELP = `
  qubes-backup find work --name '*.pdf' --size +10M --newer 2026-11-01
  qubes-backup find work@3 home/user --type d --name 'photos*'`;

const DIFF_HELP = `
  + added, - removed, M modified, m metadata only, T of another type.

  qubes-backup diff work@3 @5
  qubes-backup diff work live --content`;

const HISTORY_HELP = `
  qubes-backup history work home/user/notes.txt`;

const VERIFY_HELP = `
  Ends with status 4 if the volume differs from the snapshot.

  qubes-backup verify work
  qubes-backup verify work@2026-11-21 --volume root`;

const CHECK_HELP = `
  Says which snapshots and files need what is damaged; --json names all of them. Exit status 1 says that there are faults,
  3 that a VM has no backup, or no recent one.

  qubes-backup check --read-data 5%
  qubes-backup check --read-data 100% --repair`;

const FINGERPRINT_HELP = `
  Eight words that name the newest root. Note them now and then, apart from this machine: on a new one, --expect-root refuses
  whatever is older.

  qubes-backup root fingerprint`;

/** What the options of `extract` differ in. */
const EXTRACT_HELP = `
  --to       keeps all but chattr flags; owners and attributes as far as this user may set them
  --tar      keeps all; unpack with
             tar --xattrs --xattrs-include='*' --acls --numeric-owner -xpf FILE, or bsdtar -xpf FILE
  --into-vm  keeps contents, modes, times and symlinks; the files belong to the VM's user

  qubes-backup extract work home/user/notes.txt --to /tmp/found
  qubes-backup extract work@3 / --tar work.tar
  qubes-backup extract work home/user/Documents --into-vm personal`;

const run = (work: Work) => runWith(program.opts<GlobalOptions>(), work);
const runWithout: RunPlain = (work) => runPlain(program.opts<GlobalOptions>(), work);

/** The command line as such; importing this file runs nothing. */
export const program = new Command('qubes-backup')
  .description('Incremental, encrypted backups of VMs, split by trust.')
  .configureHelp({ showGlobalOptions: true })
  .configureOutput(CONSOLE)
  .option('--config <file>', 'configuration (TOML); default /etc/qubes-backup/config.toml')
  .option('--local <home>', 'the local driver, with VMs, storage and state under HOME')
  .option('--verbose', 'show what services say as well', false)
  .option('--json', 'one JSON object a line on stdout', false)
  .option('--yes', 'answer yes where it asks whether to go on; secrets are asked for all the same', false)
  .option('--passphrase-file <file>', 'read the passphrase from a file (or /dev/fd/N)')
  .option('--key-file <file>', 'open the repository with a key file; init creates it')
  .option('--paper-file <file>', 'open it with the 24 words of a paper key; init creates it')
  .option(
    '--accept-root <words>',
    'accept the root of this fingerprint, though it is older or forked',
    parseRoot,
  )
  .option(
    '--expect-root <words>',
    'refuse a root that does not come after the one of this fingerprint',
    parseRoot,
  )
  .option(
    '--limit-upload <kib>',
    'KiB a second to each store, whatever is configured; 0 is no limit',
    parseKib,
  )
  .option('--limit-download <kib>', 'KiB a second from each store', parseKib)
  .addOption(
    new Option('--sandbox <kind>', 'how services are confined').choices([
      'auto',
      'bubblewrap',
      'unshare',
      'none',
    ]),
  )
  .showHelpAfterError('(run "qubes-backup --help" for the commands)')
  .exitOverride();

program
  .command('setup')
  .description('from nothing to a first backup, by questions; can be left and started again')
  .addHelpText('after', '\n  qubes-backup setup\n  qubes-backup --local ~/backup setup')
  .option('--units <folder>', 'write the units of a schedule there, and tell systemd nothing')
  .action(({ units }: { units?: string }) => setup(program.opts<GlobalOptions>(), units));
program
  .command('init')
  .description('create a repository in the empty stores')
  .addHelpText('after', INIT_HELP)
  .option('--own-passphrase', 'choose the passphrase instead of having one generated', false)
  .action(({ ownPassphrase }: { ownPassphrase: boolean }) =>
    run((app, options) => init(app, () => secretsForInit(options, ownPassphrase))),
  );
program
  .command('backup [vm...]')
  .description('take a snapshot of the named VMs')
  .addHelpText('after', BACKUP_HELP)
  .option('--all', 'every VM that is included in backups', false)
  .option('--audit', 'have a second, independent reader prove each snapshot before it is taken', false)
  .option('--tag <tag>', 'mark the snapshots with a tag; may be given several times', collect, [])
  .option('--reread', 'read and store every file again, trusting no earlier backup', false)
  .option(
    '--jobs <n>',
    `VMs that are backed up at the same time, 1 to ${MAX_JOBS}; default: as configured, else 1`,
    parseJobs,
  )
  .option('--dry-run', 'only say what would be read, as far as that is known before', false)
  .action(
    async (vms: string[], options: BackupOptions & { all: boolean; dryRun: boolean; tag: string[] }) => {
      const { dryRun, tag: tags, ...others } = options;
      if (dryRun) await run((app) => estimate(app, vms, options.all));
      else
        await runSteps(program.opts<GlobalOptions>(), 'backup', () => [
          (app) => backup(app, vms, { ...others, tags }),
        ]);
    },
  );
program
  .command('list [vm]')
  .description('list snapshots')
  .addHelpText('after', LIST_HELP)
  .action((vm: string | undefined) => run((app) => list(app, vm)));
program
  .command('ls <vm[@snapshot]> [path]')
  .description('list what a snapshot holds')
  .addHelpText('after', LS_HELP)
  .option('-r, --recursive', 'with everything below', false)
  .option('--skipped', 'what the backup left out, and why, at any depth', false)
  .addOption(volumeOption())
  .action((target: string, path: string | undefined, options: LsOptions) =>
    run((app) => ls(app, target, path ?? '', options)),
  );
program
  .command('find <vm[@snapshot]> [path]')
  .description('find entries at and below a path; they must meet every condition')
  .addHelpText('after', FIND_HELP)
  .option('--name <glob>', 'the name matches, or that of another --name', collect, [])
  .option('--path <glob>', 'the whole path matches, or that of another --path', collect, [])
  .option('--type <types>', 'any of f,d,l,p,s,c,b, or x for what was left out')
  .option('--size <size>', 'files of more (+10M), less (-1k) or exactly (4096) so many bytes', collect, [])
  .option('--newer <time>', 'modified after a local time (2026-11-03, 2026-11-03 14:30)')
  .option('--older <time>', 'modified before it')
  .option('--doubtful', 'changed while they were read, or could not be read', false)
  .addOption(volumeOption())
  .action((target: string, path: string | undefined, options: FindOptions) =>
    run((app) => find(app, target, path ?? '', options)),
  );
program
  .command('diff <vm[@snapshot]> <other>')
  .description('compare a snapshot with another of the same VM (@SNAPSHOT), or with its volume now ("live")')
  .addHelpText('after', DIFF_HELP)
  .option('--content', 'live: read all content, also where times and sizes are the same', false)
  .addOption(volumeOption())
  .action((target: string, other: string, { content, volume }: { content: boolean; volume?: VolumeName }) =>
    run((app) => diff(app, target, other, content, volume)),
  );
program
  .command('history <vm> <path>')
  .description('the versions of one path in all snapshots')
  .addHelpText('after', HISTORY_HELP)
  .addOption(volumeOption())
  .action((vm: string, path: string, { volume }: { volume?: VolumeName }) =>
    run((app) => history(app, vm, path, volume)),
  );
program
  .command('verify <vm[@snapshot]>')
  .description('read the whole volume as it is now and compare it with a snapshot')
  .addHelpText('after', VERIFY_HELP)
  .addOption(volumeOption())
  .action((target: string, { volume }: { volume?: VolumeName }) => run((app) => verify(app, target, volume)));
addBrowseCommand(program, run, volumeOption());
addRestoreCommand(program, run);
program
  .command('extract <vm[@snapshot]> <path...>')
  .description('extract files and folders, with the folders above them; "/" is all')
  .option('--to <folder>', 'below this folder, which is made if need be')
  .option('--tar <file>', 'as a pax tar file; - for stdout')
  .option('--into-vm <vm>', 'into ~/QubesIncoming/dom0/VM-SNAPSHOT of a VM, as a file copy')
  .option('--overwrite', 'replace files that are in the way (--to, --tar)', false)
  .addOption(volumeOption())
  .addHelpText('after', EXTRACT_HELP)
  .action(
    (
      target: string,
      paths: string[],
      options: {
        to?: string;
        tar?: string;
        intoVm?: string;
        overwrite: boolean;
        volume?: VolumeName;
      },
    ) =>
      run((app) => {
        const { to, tar, intoVm, overwrite, volume } = options;
        return extract(app, target, paths, { to, tar, intoVm, overwrite }, volume);
      }),
  );
program
  .command('check')
  .description('verify the stores, each by itself')
  .addHelpText('after', CHECK_HELP)
  .option(
    '--read-data <percent>',
    'also read and verify this share of the data, the next part each time',
    parsePercent,
    0,
  )
  .option(
    '--repair',
    'put again what one store lost and another has, and bring up to date what is behind',
    false,
  )
  .action(({ readData, repair }: { readData: number; repair: boolean }) =>
    run((app) => check(app, readData, repair)),
  );

program
  .command('root')
  .description('the state of the repository as a whole')
  .command('fingerprint')
  .description('show what to note of the newest root')
  .addHelpText('after', FINGERPRINT_HELP)
  .action(() => run(rootFingerprint));

addConfigCommands(program, runWithout);
addCompletionCommands(program, runWithout);
addKeyCommands(program, run);
addStorageCommands(program, run);
addRetentionCommands(program, run);
addDrillCommands(program, run);
addLogCommands(program, run);
addSnapshotCommands(program, run);
addStatusCommands(program, run);
addUnlockCommands(program, run);
addDoctorCommand(program, run);
addScheduleCommands(program, run, () => program.opts<GlobalOptions>());

/** Which volume a command looks at. */
function volumeOption(): Option {
  return new Option('--volume <name>', 'another volume than the private one').choices(VOLUME_NAMES);
}

/** One secret for each slot that the options ask for, else a passphrase that is shown or typed. */
async function secretsForInit(options: GlobalOptions, own: boolean): Promise<readonly Secret[]> {
  const secrets = readSecrets(options, true);
  return secrets.length > 0 ? secrets : [await newPassphrase(own)];
}

/** Gathers the values of an option that may be given several times. */
function collect(value: string, earlier: readonly string[]): string[] {
  return [...earlier, value];
}

function parseJobs(text: string): number {
  const jobs = Number(text);
  if (/^\d$/.test(text) && jobs >= 1 && jobs <= MAX_JOBS) return jobs;
  throw new InvalidArgumentError(`give a number from 1 to ${MAX_JOBS}`);
}

function parseKib(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('give whole KiB a second');
}

function parseRoot(text: string): string {
  try {
    return parseFingerprint(text);
  } catch (error) {
    throw new InvalidArgumentError(messageOf(error));
  }
}

if (import.meta.main) {
  try {
    await program.parseAsync();
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? STATUS.complete : STATUS.usage;
  }
}
