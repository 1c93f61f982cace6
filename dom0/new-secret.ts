/** Secrets for new key slots: generated and shown, typed, or from and into files. */

import { randomInt } from 'node:crypto';
import { existsSync } from 'node:fs';
import { BackupError } from '../shared/errors.ts';
import {
  createKeyFile,
  createPaper,
  createSecretFile,
  passphraseOf,
  readKeyFile,
  readPaperFile,
  readPassphraseFile,
} from './keys/secret.ts';
import type { Secret } from './keys/secret.ts';
import { ask, askSecret, showOnce } from './prompt.ts';
import { paperWords, randomPassphrase } from './words.ts';

/** Files with secrets, as the command line names them. */
export interface SecretFiles {
  readonly passphraseFile?: string;
  readonly keyFile?: string;
  readonly paperFile?: string;
}

/** How often a person may mistype what was just shown. */
const TRIES = 3;

/** The secrets in the files that are named; key files and paper keys are made where `create` says so and there is none. */
export function readSecrets(
  { passphraseFile, keyFile, paperFile }: SecretFiles,
  create = false,
): readonly Secret[] {
  const secrets: Secret[] = [];
  const isNew = (file: string) => create && !existsSync(file);
  if (keyFile !== undefined) secrets.push(isNew(keyFile) ? createKeyFile(keyFile) : readKeyFile(keyFile));
  if (passphraseFile !== undefined) secrets.push(readPassphraseFile(passphraseFile));
  if (paperFile !== undefined)
    secrets.push(isNew(paperFile) ? newPaperFile(paperFile) : readPaperFile(paperFile));
  return secrets;
}

/** A passphrase that a person noted: a generated one, or with `own` one that they chose and typed twice. */
export async function newPassphrase(own: boolean): Promise<Secret> {
  return own ? chosenPassphrase() : generatedPassphrase();
}

async function chosenPassphrase(): Promise<Secret> {
  const text = await askSecret('New passphrase: ');
  const secret = passphraseOf(text); // One that cannot be is refused before it is typed again.
  if ((await askSecret('Again: ')) === text) return secret;
  secret.bytes.fill(0);
  throw new BackupError('usage', 'the two passphrases differ: nothing was changed');
}

async function generatedPassphrase(): Promise<Secret> {
  const passphrase = randomPassphrase();
  for (let attempt = 1; attempt <= TRIES; attempt++) {
    await showOnce([
      'Your new passphrase, 8 random words in this order, with single spaces:',
      '',
      `    ${passphrase}`,
      '',
      'Write it down and keep it apart from this machine: without it nothing can be restored.',
    ]);
    const typed = await askSecret('Type the new passphrase: ');
    if (typed.trim().replace(/\s+/g, ' ') === passphrase) return passphraseOf(passphrase);
  }
  throw new BackupError('usage', 'what was typed is not the passphrase that was shown: nothing was changed');
}

/** A paper key that a person wrote down, which a question proves. */
export async function newPaper(): Promise<Secret> {
  const secret = createPaper();
  const words = paperWords(secret.bytes);
  for (let attempt = 1; attempt <= TRIES; attempt++) {
    await showOnce([
      'Your paper key. Whoever has these 24 words can read all backups.',
      '',
      ...paperLines(words),
      '',
      'Write them down with their numbers, and keep them where you keep what you cannot lose.',
    ]);
    const index = randomInt(words.length);
    const typed = await ask(`Which word is number ${index + 1}? `);
    if (typed.trim().toLowerCase() === words[index]) return secret;
  }
  throw new BackupError('usage', 'that is not the word that was shown: nothing was changed');
}

/** A paper key in a new file, for a printer. */
export function newPaperFile(file: string): Secret {
  const secret = createPaper();
  createSecretFile(file, `${paperLines(paperWords(secret.bytes)).join('\n')}\n`);
  return secret;
}

/** Six lines of four numbered words. */
export function paperLines(words: readonly string[]): string[] {
  const cells = words.map((word, index) => `${String(index + 1).padStart(4)}. ${word.padEnd(9)}`);
  return Array.from({ length: 6 }, (_, row) =>
    cells
      .slice(4 * row, 4 * row + 4)
      .join('')
      .trimEnd(),
  );
}
