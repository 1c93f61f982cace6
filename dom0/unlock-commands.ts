/** The commands `unlock` and `lock` of the command line. */

import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { lock, unlock } from './commands/unlock.ts';
import type { Work } from './run.ts';

const HELP = `
  Asks for the passphrase once, so that later runs need nobody: what opens its key slot waits in the kernel's keyring of
  this user, not the passphrase. Without options a command is opened by, in this order: a systemd credential
  qubes-backup.key, this keyring, key_file and passphrase_command of the configuration, a question on the terminal.

  qubes-backup unlock                 until the machine is shut down
  qubes-backup unlock --expire 12h`;

/** A day has 24 hours here. */
const UNITS = { m: 60, h: 3600, d: 24 * 3600 } as const;

/** Adds them to `program`; `run` runs what one of them does. */
export function addUnlockCommands(program: Command, run: (work: Work) => Promise<void>): void {
  program
    .command('unlock')
    .description('let later runs open the repository without a question, once per boot')
    .option('--expire <time>', 'for so long: 90m, 12h, 7d', parseExpiry, 0)
    .addHelpText('after', HELP)
    .action(({ expire }: { expire: number }) => run((app) => unlock(app, expire)));
  program
    .command('lock')
    .description('end what "unlock" began')
    .addHelpText(
      'after',
      `
  qubes-backup lock`,
    )
    .action(() => run(lock));
}

function parseExpiry(text: string): number {
  const [, digits, unit] = /^([1-9]\d{0,4})([mhd])$/.exec(text) ?? [];
  if (digits === undefined || unit === undefined)
    throw new InvalidArgumentError('give minutes, hours or days: 90m, 12h, 7d');
  return Number(digits) * UNITS[unit as keyof typeof UNITS];
}
