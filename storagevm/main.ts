/** `qubes-backup-storage`: the command line of a storage VM's owner, run in that VM. dom0 has no part in it. */

import { createReadStream, createWriteStream } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import { isatty } from 'node:tty';
import { Presets, SingleBar } from 'cli-progress';
import { Command, InvalidArgumentError } from 'commander';
import { BackupError, isBackupError, messageOf } from '../shared/errors.ts';
import { printableText } from '../shared/format.ts';
import { CONSOLE } from '../shared/write-all.ts';
import { openEmbeddedStore, openStore } from './config.ts';
import { acceptList, listRoots, listTrash, restoreRoot, status, sweepStore, takeOver } from './owner.ts';
import type { Owner } from './owner.ts';
import type { Store } from './store.ts';

/** The command line as such; importing this file runs nothing. */
export const program = new Command('qubes-backup-storage')
  .description('look after the store of this storage VM')
  .option('--home <folder>', 'the home of a storage VM of the embedded driver: HOME/storage/NAME')
  .option('--yes', 'without asking', false)
  .configureHelp({ showGlobalOptions: true })
  .configureOutput(CONSOLE)
  .addHelpText(
    'after',
    `
  qubes-backup-storage status
  qubes-backup-storage restore-root 17        an older root is the newest again
  qubes-backup-storage --home ~/backup/storage/main trash`,
  )
  .exitOverride();

let bar: SingleBar | undefined;

function endBar(): void {
  bar?.stop();
  bar = undefined;
}

const owner: Owner = {
  line(text) {
    endBar();
    CONSOLE.writeOut(`${printableText(text)}\n`);
  },
  async confirm(question, answer) {
    if (program.opts<{ yes: boolean }>().yes) return;
    if (!isatty(0))
      throw new BackupError('usage', 'this needs an answer: run it on a terminal, or with --yes');
    const [input, output] = [
      createReadStream('', { fd: 0, autoClose: false }),
      createWriteStream('', { fd: 2, autoClose: false }),
    ];
    const terminal = createInterface({ input, output });
    const given = await terminal.question(question).finally(() => terminal.close());
    if (given.trim() !== answer) throw new BackupError('usage', 'nothing was changed');
  },
  progress(what, done, total) {
    if (!isatty(2)) return;
    if (bar === undefined) {
      const format = '{what}  {bar} {percentage}%  ETA {eta_formatted}';
      const look = { format, hideCursor: true, clearOnComplete: true, stream: process.stderr };
      bar = new SingleBar(look, Presets.shades_grey);
      bar.start(total, done, { what });
    }
    bar.update(done, { what });
    if (done === total) endBar(); // What comes next begins anew, and so does its estimate.
  },
};

function command(
  name: string,
  description: string,
  work: (store: Store, arg: number) => Promise<void>,
): Command {
  return program
    .command(name)
    .description(description)
    .action((arg: unknown) => work(open(), typeof arg === 'number' ? arg : 0));
}

function open(): Store {
  const { home } = program.opts<{ home?: string }>();
  return home === undefined ? openStore() : openEmbeddedStore(home);
}

function parseNumber(text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 1)
    throw new InvalidArgumentError('give the number of a root');
  return number;
}

command('status', 'what is in the store, what is dead, what waits for you', (store) => status(store, owner));
command('roots', 'the roots that the store keeps, oldest first', (store) => listRoots(store, owner));
command('trash', 'what is dead, and when it goes', (store) => listTrash(store, owner));
command('accept', 'let a live list that leaves out much be applied', (store) => acceptList(store, owner));
command('restore-root', 'make an older root the newest again, with all it needs', (store, number) =>
  restoreRoot(store, owner, number),
).argument('<number>', 'as "roots" shows it', parseNumber);
command('take-over', 'write to a place elsewhere that another storage VM owned', (store) =>
  takeOver(store, owner),
);
command('sweep', 'apply the newest live list, and remove what was dead long enough', (store) =>
  sweepStore(store, owner),
);
command('purge', 'empty the trash at once', (store) => sweepStore(store, owner, true));

if (import.meta.main) {
  try {
    await program.parseAsync();
  } catch (error) {
    endBar();
    if (error instanceof Error && 'exitCode' in error && typeof error.exitCode === 'number') {
      process.exitCode = error.exitCode === 0 ? 0 : 2; // Help, or words that are no command: commander said so.
    } else {
      CONSOLE.writeErr(`error: ${printableText(messageOf(error))}\n`);
      process.exitCode = isBackupError(error, 'usage') ? 2 : 1;
    }
  }
}
