/** The commands of the command line that show how VMs stand: `status`, `report`, and `adopt` for one that it shows as orphaned. */

import type { Command } from 'commander';
import { adopt } from './commands/adopt.ts';
import { report } from './commands/report.ts';
import { status } from './commands/status.ts';
import type { Work } from './run.ts';

const STATUS_HELP = `
  Exit status 3 says that something needs you: a VM without a recent backup, much that was deleted or rewritten, faults, a drill
  that failed, a store that lacks something. Checks and drills are those of this machine.

  qubes-backup status --json                                      for a script
  qubes-backup status --prometheus /var/lib/node_exporter/textfile/qubes-backup.prom`;

const REPORT_HELP = `
  One page with charts of each VM: its size, what each run added to the store, and how long it took. It needs no network and
  has no script. dom0 has no browser, so look at it in a VM; names of VMs are in it.

  qubes-backup report --html backups.html`;

const ADOPT_HELP = `
  A VM that is renamed gets another UUID, and is another VM for backups. This says that it is the same one:

  qubes-backup adopt work-old work                    work continues the snapshots of work-old, which is gone`;

/** Adds them to `program`; `run` runs what they do. */
export function addStatusCommands(program: Command, run: (work: Work) => Promise<void>): void {
  program
    .command('status')
    .description('show whether all is well: of each VM the last backup, check and drill, and the stores')
    .option(
      '--prometheus <file>',
      'also write the same as metrics, for the textfile collector of node_exporter',
    )
    .addHelpText('after', STATUS_HELP)
    .action(({ prometheus }: { prometheus?: string }) => run((app) => status(app, prometheus)));
  program
    .command('report')
    .description('write the history of all VMs as a page for a browser')
    .requiredOption('--html <file>', 'the file, which is replaced')
    .addHelpText('after', REPORT_HELP)
    .action(({ html }: { html: string }) => run((app) => report(app, html)));
  program
    .command('adopt <old> <new>')
    .description('have a VM continue the snapshots of one that is gone')
    .option('--id <id>', 'which of several VMs that had the old name, as "status --json" shows it')
    .addHelpText('after', ADOPT_HELP)
    .action((old: string, name: string, { id }: { id?: string }) => run((app) => adopt(app, old, name, id)));
}
