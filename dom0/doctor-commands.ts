/** The command `doctor` of the command line. */

import type { Command } from 'commander';
import { doctor } from './commands/doctor.ts';
import type { Work } from './run.ts';

const HELP = `
  Looks at dom0's state, the stores, the clock and the schedule; on Qubes OS at the policy, the storage VMs, the pools, and by
  starting one at the disposables of each template. Asks for no secret. Exit status 3: something needs attention.

  qubes-backup doctor`;

/** Adds it to `program`; `run` runs what it does. */
export function addDoctorCommand(program: Command, run: (work: Work) => Promise<void>): void {
  program
    .command('doctor')
    .description('look at all that a backup needs, and say what to do')
    .addHelpText('after', HELP)
    .action(() => run(doctor));
}
