/** The command `restore` of the command line. */

import type { Command } from 'commander';
import { requireUsage } from './app.ts';
import type { App } from './app.ts';
import { restoreAll } from './commands/restore-all.ts';
import type { RestoreAllOptions } from './commands/restore-all.ts';
import { restoreConfig } from './commands/restore-config.ts';
import { restore } from './commands/restore.ts';
import type { RestoreOptions } from './commands/restore.ts';
import type { Work } from './run.ts';

/** What a restore does where not all is there that a VM had. */
const HELP = `
  A template that is not there is asked for or, without a terminal or with --yes, replaced by the nearest of its family; a
  network VM, by none. What a VM does not have as it had is named as a warning. Devices are named, never assigned.
  --all restores templates first, then VMs that give network, then the others; it does not touch a VM that is there.

  qubes-backup restore work --as work-old
  qubes-backup restore work@2026-11-20 --replace
  qubes-backup restore --all --include-sys`;

interface Options extends Omit<RestoreOptions & RestoreAllOptions, 'yes'> {
  readonly as?: string;
  readonly all: boolean;
  readonly onlyConfig: boolean;
}

/** Adds it to `program`; `run` runs what it does. */
export function addRestoreCommand(program: Command, run: (work: Work) => Promise<void>): void {
  program
    .command('restore [vm[@snapshot]]')
    .description('restore a VM; it gets its name only when its content is proven right')
    .option('--as <name>', 'under another name')
    .option('--replace', 'in the place of the VM of that name, which is kept under a dated name')
    .option('--template <name>', 'with this template, whatever it had')
    .option('--netvm <name>', 'with this network VM, whatever it had; none for no network')
    .option('--only-config', 'only show the configuration that it had, and how the VM differs now', false)
    .option('--all', 'the newest snapshot of every VM that is not there', false)
    .option('--include-sys', 'with --all: also VMs whose names begin with sys-')
    .addHelpText('after', HELP)
    .action((target: string | undefined, options: Options) =>
      run((app, { yes }) => start(app, target, { ...options, yes })),
    );
}

async function start(
  app: App,
  target: string | undefined,
  options: Options & { readonly yes: boolean },
): Promise<void> {
  const { as, all, onlyConfig, replace, template, netvm, includeSys } = options;
  requireUsage(all === (target === undefined), 'name the VM to restore, or give --all');
  const ofOne = [as, replace, template, netvm].every((option) => option === undefined);
  if (onlyConfig) {
    requireUsage(target !== undefined && ofOne, '--only-config is for one VM, and sets nothing');
    await restoreConfig(app, target);
    return;
  }
  if (target !== undefined) {
    requireUsage(includeSys === undefined, '--include-sys is for --all');
    await restore(app, target, as, options);
    return;
  }
  requireUsage(ofOne, '--as, --replace, --template and --netvm are for one VM, not for --all');
  await restoreAll(app, options);
}
