/** The command `browse` of the command line. */

import type { Command, Option } from 'commander';
import { browseSnapshots } from './commands/browse.ts';
import type { BrowseOptions } from './commands/browse.ts';
import type { Work } from './run.ts';

const HELP = `
  Snapshots on the left, the tree of one on the right. Arrow keys, Page Up, Page Down, Home and End choose (or h, j, k, l).
  Enter, Right   show a snapshot, open a folder; Enter on a file extracts it
  Left           close a folder, or go to the one around it; Tab changes sides
  x              extract what is chosen, a folder with all below it
  v              the versions of what is chosen; Enter extracts one of them
  q, Ctrl-C      leave

  qubes-backup browse work
  qubes-backup browse work@2026-11-20 --to /tmp/found
  qubes-backup browse work --into-vm personal`;

/** Adds it to `program`; `run` runs what it does. */
export function addBrowseCommand(program: Command, run: (work: Work) => Promise<void>, volume: Option): void {
  program
    .command('browse <vm[@snapshot]>')
    .description('look through snapshots on the terminal, and extract what is found')
    .option('--to <folder>', 'extract below this folder, unless another is typed')
    .option(
      '--into-vm <vm>',
      'extract into ~/QubesIncoming/dom0/VM-SNAPSHOT of this VM, unless another is typed',
    )
    .option('--overwrite', 'replace files that are in the way, in a folder', false)
    .addOption(volume)
    .addHelpText('after', HELP)
    .action((target: string, options: BrowseOptions) => run((app) => browseSnapshots(app, target, options)));
}
