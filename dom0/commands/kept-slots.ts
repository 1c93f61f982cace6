/** Which key slots outlive a rotation: those whose secret is presented, or typed when asked; the others end by name. */

import type { KeySlot } from '../../shared/root.ts';
import { requireUsage } from '../app.ts';
import { paperOf, passphraseOf, readKeyFile } from '../keys/secret.ts';
import type { Secret } from '../keys/secret.ts';
import { opensSlot, slotName } from '../keys/slots.ts';
import { confirm } from '../confirm.ts';
import { ask, askSecret, hasTerminal } from '../prompt.ts';
import type { Repository } from '../repository/repository.ts';

/** Slots that go on, each with its secret, and those that end. */
export interface KeptSlots {
  readonly kept: readonly { readonly slot: KeySlot; readonly secret: Secret }[];
  readonly dropped: readonly KeySlot[];
}

/**
 * The slots that one of `secrets` opens; on a terminal the others are asked for, and what was typed joins `secrets`, whose
 * owner zeroes them. With `drop` nothing is asked. Throws `usage` if slots would end and nobody says yes to that.
 */
export async function chooseSlots(
  { root, keyring }: Repository,
  secrets: Secret[],
  drop: boolean,
): Promise<KeptSlots> {
  const kept: { slot: KeySlot; secret: Secret }[] = [];
  const dropped: KeySlot[] = [];
  for (const [index, slot] of root.body.slots.entries()) {
    const opens = (secret: Secret) => opensSlot(keyring.repository, slot, secret);
    let secret = await findSecret(secrets, opens);
    if (secret === undefined && !drop && hasTerminal()) {
      secret = await askFor(slot, index + 1, opens);
      if (secret !== undefined) secrets.push(secret);
    }
    if (secret === undefined) dropped.push(slot);
    else kept.push({ slot, secret });
  }
  if (dropped.length > 0 && !drop) await confirmDrop(dropped);
  return { kept, dropped };
}

type Opens = (secret: Secret) => Promise<boolean>;

async function findSecret(secrets: readonly Secret[], opens: Opens): Promise<Secret | undefined> {
  for (const secret of secrets) if (await opens(secret)) return secret;
  return undefined;
}

/** Asks for the secret of one slot until it fits; undefined if the person has none. */
async function askFor(slot: KeySlot, number: number, opens: Opens): Promise<Secret | undefined> {
  const what = `slot ${number}, ${slotName(slot)}`;
  for (;;) {
    const text =
      slot.kind === 'keyFile'
        ? await ask(`File of ${what} (nothing: the slot ends): `)
        : await askSecret(`Secret of ${what} (nothing: the slot ends): `);
    if (text.trim() === '') return undefined;
    const secret = readAnswer(slot.kind, text);
    if (await opens(secret)) return secret;
    secret.bytes.fill(0);
  }
}

function readAnswer(kind: Secret['kind'], text: string): Secret {
  switch (kind) {
    case 'keyFile':
      return readKeyFile(text.trim());
    case 'paper':
      return paperOf(text);
    case 'passphrase':
      return passphraseOf(text);
  }
}

async function confirmDrop(dropped: readonly KeySlot[]): Promise<void> {
  const names = dropped.map(slotName).join(', ');
  requireUsage(
    hasTerminal(),
    `these key slots would end, because their secrets were not given: ${names}; give them (--passphrase-file, --key-file, --paper-file), or --drop-slots`,
  );
  const question = `These will no longer open the repository: ${names}. Type "yes" to go on: `;
  await confirm({ question, answer: 'yes', option: '--drop-slots', given: false });
}
