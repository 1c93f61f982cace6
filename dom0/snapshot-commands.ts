/** The commands of the command line that say something of snapshots: `tag`, `untag`, `note`, `acknowledge`. */

import type { Command } from 'commander';
import { acknowledge, noteSnapshot, tagSnapshot, untagSnapshot } from './commands/marks.ts';
import type { Work } from './run.ts';

const SNAPSHOT = 'a number, "latest", or the start of a local date and time';

const TAG_HELP = `
  SNAPSHOT is ${SNAPSHOT}.
  "forget --keep-tag TAG", and "tags" in a table [backup.keep], keep what is so marked.

  qubes-backup tag work latest before-upgrade         mark the newest snapshot
  qubes-backup note work 12 "thesis handed in"        and say more of another`;

const ACKNOWLEDGE_HELP = `
  When a backup finds that much was deleted or rewritten, nothing of that VM is forgotten until you say so. Look first:

  qubes-backup diff work@6 @7                         what happened between two snapshots
  qubes-backup acknowledge work                       all is well: forget again`;

/** Adds them to `program`; `run` runs what they do. */
export function addSnapshotCommands(program: Command, run: (work: Work) => Promise<void>): void {
  program
    .command('tag <vm> <snapshot> <tag...>')
    .description('mark a snapshot, for people and for the rules of "forget"')
    .addHelpText('after', TAG_HELP)
    .action((vm: string, snapshot: string, tags: string[]) =>
      run((app) => tagSnapshot(app, vm, snapshot, tags)),
    );
  program
    .command('untag <vm> <snapshot> <tag...>')
    .description('take tags off a snapshot')
    .addHelpText('after', '\n  qubes-backup untag work latest before-upgrade')
    .action((vm: string, snapshot: string, tags: string[]) =>
      run((app) => untagSnapshot(app, vm, snapshot, tags)),
    );
  program
    .command('note <vm> <snapshot> <text>')
    .description('say something of a snapshot; an empty text takes it back')
    .addHelpText('after', '\n  qubes-backup note work 12 "thesis handed in"')
    .action((vm: string, snapshot: string, text: string) =>
      run((app) => noteSnapshot(app, vm, snapshot, text)),
    );
  program
    .command('acknowledge <vm>')
    .description('let "forget" work on a VM again, after a warning that much was deleted or rewritten')
    .addHelpText('after', ACKNOWLEDGE_HELP)
    .action((vm: string) => run((app) => acknowledge(app, vm)));
}
