/** The command `logs` of the command line. */

import type { Command } from 'commander';
import { logs } from './commands/logs.ts';
import type { Work } from './run.ts';

/** Adds it to `program`; `run` runs what it does. */
export function addLogCommands(program: Command, run: (work: Work) => Promise<void>): void {
  program
    .command('logs')
    .description('show what the last run logged: warnings, errors, results, and what services said')
    .addHelpText('after', '\n  qubes-backup logs')
    .action(() =>
      run((app) => {
        logs(app);
        return Promise.resolve();
      }),
    );
}
