/** The commands `storage …` of the command line. */

import type { Command } from 'commander';
import { storageList, storagePrimary, storageSync } from './commands/storage.ts';
import type { Work } from './run.ts';

/** Adds them to `program`; `run` runs what one of them does. */
export function addStorageCommands(program: Command, run: (work: Work) => Promise<void>): void {
  const storage = program.command('storage').description('the stores that hold the backups');
  storage
    .command('list')
    .description('list the stores, and how each stands to the newest root')
    .addHelpText(
      'after',
      `
  qubes-backup storage list`,
    )
    .action(() => run(storageList));
  storage
    .command('sync [name]')
    .description('bring up to date the stores that missed backups, or the named one, whatever it lacks')
    .addHelpText(
      'after',
      `
  qubes-backup storage sync
  qubes-backup storage sync usb --refill`,
    )
    .option('--refill', 'fill the named store though it is empty and was not', false)
    .action((name: string | undefined, { refill }: { refill: boolean }) =>
      run((app) => storageSync(app, name, refill)),
    );
  storage
    .command('primary <name>')
    .description('make a store the primary one, which decides what is published')
    .addHelpText(
      'after',
      `
  qubes-backup storage primary usb`,
    )
    .action((name: string) => run((app) => storagePrimary(app, name)));
}
