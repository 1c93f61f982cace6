/** The commands `config …` of the command line. */

import type { Command } from 'commander';
import { configCheck, configShow } from './commands/config.ts';
import type { RunPlain } from './run.ts';

const CHECK_HELP = `
  Says all that is wrong, each with its line and what was probably meant, and ends with status 2; tables for VMs or templates
  that are not there are warnings, and end it with status 3. All settings are in qubes-backup.toml(5).

  qubes-backup config check
  qubes-backup --config new.toml config check`;

const SHOW_HELP = `
  The nearest table that sets a key decides: [vm.NAME], that of its template, [backup]. Patterns to exclude of all of them hold.

  qubes-backup config show                      what the file sets, and in which line
  qubes-backup config show --effective work     what holds for one VM, and where each value is from`;

/** Adds them to `program`; `run` runs what one of them does. */
export function addConfigCommands(program: Command, run: RunPlain): void {
  const config = program.command('config').description('the settings, and whether they are right');
  config
    .command('check')
    .description('check the configuration')
    .addHelpText('after', CHECK_HELP)
    .action(() => run(({ output, options, list }) => configCheck(output, options, list)));
  config
    .command('show [vm]')
    .description('show what is set, and where')
    .option('--effective', 'also what is so by default', false)
    .addHelpText('after', SHOW_HELP)
    .action((vm: string | undefined, { effective }: { effective: boolean }) =>
      run(({ output, options, list }) => configShow(output, options, list, { vm, effective })),
    );
}
