/**
 * What opens the repository with nobody at the keyboard. In this order, and the first that there is decides, right or wrong: a credential
 * of systemd, the kernel's keyring (`unlock`), the configured key file, the configured program.
 */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { BackupError } from '../../shared/errors.ts';
import type { KeySlot } from '../../shared/root.ts';
import { passedOn } from '../domains/child.ts';
import { runProgram } from '../domains/run-program.ts';
import type { ProgramEnd } from '../domains/run-program.ts';
import { KernelKeyring } from './kernel-keyring.ts';
import { MAX_SECRET_FILE, printedPassphrase, readKeyFile } from './secret.ts';
import type { Secret } from './secret.ts';
import { isOf } from './slots.ts';
import type { Opener } from './slots.ts';

export interface UnattendedConfig {
  readonly keyFile?: string;
  /** Prints the passphrase on stdout; run without a shell. */
  readonly passphraseCommand?: readonly [string, ...string[]];
}

/** What of the configuration says how. */
interface Unattended {
  readonly stateFolder: string;
  readonly unattended: UnattendedConfig;
}

/** The file of systemd's credentials that is a key file of this program. */
const CREDENTIAL = 'qubes-backup.key';
/** Milliseconds that the program has. */
const COMMAND_TIMEOUT = 60_000;

/** Undefined if a person has to be asked. Throws `usage` if what is configured is not there to be read. */
export async function unattendedOpener(
  { stateFolder, unattended }: Unattended,
  slots: readonly KeySlot[],
  note: (text: string) => void,
): Promise<Opener | undefined> {
  const credential = credentialFile();
  if (credential !== undefined)
    return { ...readKeyFile(credential), source: `systemd's credential ${CREDENTIAL}` };
  const key = await new KernelKeyring(stateFolder).get();
  if (key !== undefined) {
    if (slots.some((slot) => isOf(slot, key))) return key;
    key.bytes.fill(0);
    note(
      'what "unlock" left in the keyring is of a slot that is gone since a key was changed: run "qubes-backup unlock" again',
    );
  }
  const { keyFile, passphraseCommand } = unattended;
  if (keyFile !== undefined) return { ...readKeyFile(keyFile), source: `the configured key file ${keyFile}` };
  if (passphraseCommand !== undefined) return printed(passphraseCommand);
  return undefined;
}

/** Whether there is something that opens it without a person; not whether it is right. */
export async function opensUnattended({ stateFolder, unattended }: Unattended): Promise<boolean> {
  if (credentialFile() !== undefined) return true;
  const { keyFile, passphraseCommand } = unattended;
  if (keyFile !== undefined) return existsSync(keyFile);
  if (passphraseCommand !== undefined) return true;
  const key = await new KernelKeyring(stateFolder).get();
  key?.bytes.fill(0);
  return key !== undefined;
}

/** The file that systemd gave this run, if it did. */
function credentialFile(): string | undefined {
  const folder = process.env['CREDENTIALS_DIRECTORY'];
  const file = folder === undefined ? undefined : join(folder, CREDENTIAL);
  return file !== undefined && existsSync(file) ? file : undefined;
}

async function printed(command: readonly [string, ...string[]]): Promise<Secret> {
  const [program] = command;
  const { end, stderr } = await runProgram(command, {
    timeout: COMMAND_TIMEOUT,
    maxOutput: MAX_SECRET_FILE,
    environment: passedOn(),
  });
  if (end.kind === 'exited' && end.code === 0)
    return { ...printedPassphrase(end.stdout, program), source: `what ${program} prints` };
  const said = stderr === '' ? '' : `: ${stderr}`;
  throw new BackupError('usage', `passphrase_command: ${program} ${failureOf(end)}${said}`);
}

function failureOf(end: ProgramEnd): string {
  switch (end.kind) {
    case 'exited':
      return `ended with ${end.signal ?? `status ${String(end.code)}`}`;
    case 'not-started':
      return 'cannot be started';
    case 'timeout':
      return `took longer than ${COMMAND_TIMEOUT / 1000} s`;
    case 'too-much-output':
      return 'prints more than a passphrase';
  }
}
