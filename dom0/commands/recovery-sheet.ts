/** `key paper --sheet`: one page to print and put away, with all that a person needs who has nothing else left (R35). */

import { closeSync, fsyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { printableText, formatTime } from '../../shared/format.ts';
import { BackupError, messageOf } from '../../shared/errors.ts';
import { requireUsage } from '../app.ts';
import type { App } from '../app.ts';
import type { StoreConfig } from '../config/stores.ts';
import { copySecret, createPaper } from '../keys/secret.ts';
import { paperLines } from '../new-secret.ts';
import { fingerprint, paperWords } from '../words.ts';
import { addSlot } from './key.ts';

/** What fits on a page of any printer: characters in a line, lines. */
export const PAGE = { width: 80, height: 60 } as const;

/** Adds a paper key, and writes the page that has it to a new file, or to stdout for `-`. */
export async function recoverySheet(app: App, label: string | undefined, file: string): Promise<void> {
  requireUsage(!app.output.json, 'a page of text is no JSON: leave out --json');
  const page = file === '-' ? standardOutput() : newFile(file);
  const secret = createPaper();
  try {
    const repository = await addSlot(app, label, () => Promise.resolve(copySecret(secret)));
    const text = sheetText({
      time: Date.now(),
      fingerprint: fingerprint(repository.root.hash),
      root: repository.root.body.counter,
      stores: app.config.stores,
      words: paperWords(secret.bytes),
    });
    page.write(text);
  } catch (error) {
    page.discard();
    throw error;
  } finally {
    secret.bytes.fill(0);
  }
  app.output.note(
    'whoever has this page and a copy of a store can read all backups: print it, and destroy the file',
  );
}

/** Where a page goes. It is there before the key is, so that no key is added whose page cannot be written. */
interface Page {
  readonly write: (text: string) => void;
  readonly discard: () => void;
}

function newFile(file: string): Page {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'wx', 0o600);
  } catch (cause) {
    throw new BackupError('usage', `cannot create ${file}: ${messageOf(cause)}`, { cause });
  }
  return {
    write: (text) => {
      writeSync(descriptor, text);
      fsyncSync(descriptor);
      closeSync(descriptor);
    },
    discard: () => rmSync(file, { force: true }),
  };
}

const STDOUT = 1;

function standardOutput(): Page {
  requireUsage(
    !isatty(STDOUT),
    'a terminal keeps what it shows: send the page to a printer (qubes-backup key paper --sheet - | lp), or into a file',
  );
  return { write: (text) => void writeSync(STDOUT, text), discard: () => undefined };
}

export interface SheetFacts {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly fingerprint: string;
  /** Counter of the root that it names. */
  readonly root: number;
  readonly stores: readonly StoreConfig[];
  readonly words: readonly string[];
}

/** At most PAGE.height lines of at most PAGE.width printable characters, with up to eight stores. */
export function sheetText({ time, fingerprint: print, root, stores, words }: SheetFacts): string {
  const lines = [
    'RECOVERY SHEET of qubes-backup',
    '',
    'Whoever has this page and a copy of a store below can read all backups.',
    'Keep it where you keep what you cannot lose, apart from the machine and stores.',
    '',
    `Made ${formatTime(time)}, when root ${root} was the newest. Its fingerprint:`,
    `    ${print}`,
    '',
    'PAPER KEY: 24 words, read line by line',
    '',
    ...paperLines(words),
    '',
    'STORES: each has everything, any one suffices',
    '',
    ...stores.map((store) => cut(`  ${storeText(store)}`)),
    '  Kept at: ____________________________________________________________________',
    '',
    'SIX STEPS',
    '',
    '1. Install Qubes OS, a template, and the packages of qubes-backup, as its page',
    '   docs/install-qubes.md says under "On a clean system". Keep both near a store.',
    '2. Give a VM one of the stores above: attach its disk, tag the VM',
    '   qubes-backup-storage, and name it in /etc/qubes-backup/config.toml.',
    '3. Type the 24 words into a file WORDS of dom0. Then, to see what there is:',
    '   qubes-backup --paper-file WORDS --expect-root FINGERPRINT list',
    '   with the fingerprint above, or a later one of yours. A refusal means: the',
    '   store is older than this page.',
    '4. qubes-backup --paper-file WORDS restore --all',
    '   restores every VM, each proven before it gets its name.',
    '5. qubes-backup --paper-file WORDS check --read-data 100',
    '   shows that the store is whole. Then destroy the file WORDS.',
    '6. If somebody else may have seen this page: qubes-backup key rotate.',
    '',
    'Without Qubes OS, or if nothing of this works: recovery/recover.mjs, one script',
    'for any Node.js, turns a copy of a store and these words into tar files',
    '(docs/emergency-recovery.md).',
  ];
  return `${lines.join('\n')}\n`;
}

function storeText({ name, folder, removable }: StoreConfig): string {
  if (folder === undefined) return `storage VM ${name}`;
  return `${removable ? 'removable disk' : 'disk'} ${name}: folder ${folder} of dom0`;
}

function cut(text: string): string {
  const plain = printableText(text);
  return plain.length <= PAGE.width ? plain : `${plain.slice(0, PAGE.width - 3)}...`;
}
