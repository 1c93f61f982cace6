/** The commands `key …` and `forget-forever` of the command line. */

import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { requireUsage } from './app.ts';
import { forgetForever } from './commands/forget-forever.ts';
import { keyAdd, keyChange, keyList, keyRemove } from './commands/key.ts';
import { recoverySheet } from './commands/recovery-sheet.ts';
import { keyRotate } from './commands/rotate.ts';
import { confirm } from './confirm.ts';
import type { Secret } from './keys/secret.ts';
import { newPaper, newPaperFile, newPassphrase, readSecrets } from './new-secret.ts';
import type { Work } from './run.ts';

/** Where the secret of a new slot comes from. */
interface NewSecretOptions {
  readonly newPassphraseFile?: string;
  readonly newKeyFile?: string;
  readonly ownPassphrase: boolean;
}

/** Adds them to `program`; `run` runs what one of them does. */
export function addKeyCommands(program: Command, run: (work: Work) => Promise<void>): void {
  const key = program.command('key').description('the secrets that open the repository');
  key
    .command('list')
    .description('list the key slots')
    .addHelpText(
      'after',
      `
  qubes-backup key list`,
    )
    .action(() => run(keyList));
  withNewSecret(key.command('add'))
    .description('add a secret: a generated passphrase unless an option says otherwise')
    .addHelpText(
      'after',
      `
  qubes-backup key add --label laptop
  qubes-backup key add --new-key-file /mnt/usb/backup.key`,
    )
    .option('--label <text>', 'a name for the slot', parseLabel)
    .action(({ label, ...options }: NewSecretOptions & { label?: string }) =>
      run(async (app) => {
        await keyAdd(app, label, () => newSecret(options));
      }),
    );
  withNewSecret(key.command('change'))
    .description('replace the passphrase that opens the repository')
    .addHelpText(
      'after',
      `
  Somebody who knows the old one and has an older copy of the store still reads that: see "key rotate".

  qubes-backup key change`,
    )
    .action((options: NewSecretOptions) => run((app) => keyChange(app, () => newSecret(options))));
  key
    .command('paper')
    .description('add a paper key: 24 words to write down')
    .addHelpText(
      'after',
      `
  qubes-backup key paper
  qubes-backup key paper --out words.txt`,
    )
    .option('--label <text>', 'a name for the slot', parseLabel)
    .option('--out <file>', 'write the words to a new file instead of showing them')
    .option('--sheet <file>', 'a page to print, with all that a restore needs, in a new file; - for stdout')
    .action(({ label, out, sheet }: { label?: string; out?: string; sheet?: string }) =>
      run(async (app) => {
        requireUsage(out === undefined || sheet === undefined, 'give --out or --sheet, not both');
        if (sheet !== undefined) await recoverySheet(app, label, sheet);
        else
          await keyAdd(app, label, () =>
            out === undefined ? newPaper() : Promise.resolve(newPaperFile(out)),
          );
      }),
    );
  key
    .command('remove <slot>')
    .description('remove a slot by its number')
    .addHelpText(
      'after',
      `
  qubes-backup key list
  qubes-backup key remove 2`,
    )
    .action((slot: string) =>
      run((app, { yes }) =>
        keyRemove(app, Number(slot), (text) =>
          confirm({ question: `${text} [yes/no] `, answer: 'yes', option: '--yes', given: yes }),
        ),
      ),
    );
  key
    .command('rotate')
    .description('replace all keys; slots whose secret is not given end')
    .addHelpText(
      'after',
      `
  What is stored from now on, nobody reads who knows the old keys.

  qubes-backup key rotate`,
    )
    .option('--drop-slots', 'end those slots without asking', false)
    .action(({ dropSlots }: { dropSlots: boolean }) => run((app) => keyRotate(app, dropSlots)));
  program
    .command('forget-forever <vm>')
    .description('destroy the key of a VM, so that none of its backups can be read again')
    .addHelpText(
      'after',
      `
  Copies of older roots, with a secret that opened them, still open what is destroyed; it says which.

  qubes-backup forget-forever old-work`,
    )
    .option('--id <id>', 'which of several VMs that had this name')
    .option('--confirm <vm>', 'the name again, instead of typing it when asked')
    .option('--drop-slots', 'end key slots whose secret is not given, without asking', false)
    .action(
      (vm: string, { id, confirm: name, dropSlots }: { id?: string; confirm?: string; dropSlots: boolean }) =>
        run((app, { yes }) =>
          forgetForever(app, vm, { id, drop: dropSlots }, (question, answer) =>
            confirm({
              question,
              answer,
              option: `--confirm ${answer}, or --yes`,
              given: yes || name === answer,
            }),
          ),
        ),
    );
}

/** The options of a command that takes a new secret. */
function withNewSecret(command: Command): Command {
  return command
    .option('--new-passphrase-file <file>', 'read the new passphrase from a file (or /dev/fd/N)')
    .option('--new-key-file <file>', 'a key file; it is created if there is none')
    .option('--own-passphrase', 'choose the passphrase instead of having one generated', false);
}

async function newSecret({
  newPassphraseFile,
  newKeyFile,
  ownPassphrase,
}: NewSecretOptions): Promise<Secret> {
  const files = {
    ...(newPassphraseFile === undefined ? {} : { passphraseFile: newPassphraseFile }),
    ...(newKeyFile === undefined ? {} : { keyFile: newKeyFile }),
  };
  const secrets = readSecrets(files, true);
  requireUsage(secrets.length < 2, 'a slot has one secret: give --new-passphrase-file or --new-key-file');
  return secrets[0] ?? newPassphrase(ownPassphrase);
}

function parseLabel(text: string): string {
  if (/^[\x20-\x7e]{1,64}$/.test(text)) return text;
  throw new InvalidArgumentError('a label is at most 64 printable ASCII characters');
}
