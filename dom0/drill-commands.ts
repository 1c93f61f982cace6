/** The command `drill` of the command line. */

import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { MAX_VMS } from '../shared/limits.ts';
import { drill } from './commands/drill.ts';
import type { DrillOptions } from './commands/drill.ts';
import type { Work } from './run.ts';

const HELP = `
  Each snapshot is restored into a temporary VM without network, which a second disposable must find to be that snapshot, and which
  is removed in any case. A command of the configuration may then judge it, with the volume as its working folder, read-only:

  [vm.work]
  drill_command = ["sh", "-c", "test -s home/user/accounts.ods"]

  qubes-backup drill work                 the newest snapshot of work
  qubes-backup drill --random 2           those of the two VMs that were not drilled for longest`;

/** Adds it to `program`; `run` runs what it does. */
export function addDrillCommands(program: Command, run: (work: Work) => Promise<void>): void {
  program
    .command('drill [vm[@snapshot]...]')
    .description('show that VMs can be restored, by restoring them for a moment')
    .option('--random <n>', 'so many of all VMs, those first that were not drilled for longest', parseCount)
    .option('--snapshot <snapshot>', 'of the one VM that is named: this one instead of the newest')
    .addHelpText('after', HELP)
    .action((targets: string[], options: DrillOptions) => run((app) => drill(app, targets, options)));
}

/** How many VMs. */
export function parseCount(text: string): number {
  const count = Number(text);
  if (/^\d{1,5}$/.test(text) && count >= 1 && count <= MAX_VMS) return count;
  throw new InvalidArgumentError('give a number from 1 on');
}
