/** `key rotate`: new keys for everything (R52). Forgetting a VM for ever rotates in the same way. */

import { BackupError } from '../../shared/errors.ts';
import type { VmId } from '../../shared/ids.ts';
import type { KeySlot } from '../../shared/root.ts';
import type { App } from '../app.ts';
import { formatTime } from '../../shared/format.ts';
import type { Keyring } from '../keys/keyring.ts';
import { copySecret } from '../keys/secret.ts';
import type { Secret } from '../keys/secret.ts';
import { createSlot, slotName } from '../keys/slots.ts';
import { rekey } from '../repository/rekey.ts';
import type { Repository } from '../repository/repository.ts';
import { fingerprint } from '../words.ts';
import { chooseSlots } from './kept-slots.ts';
import type { KeptSlots } from './kept-slots.ts';

/** Replaces all keys. Slots whose secret is not presented are dropped, after a question or with `drop`. */
export async function keyRotate(app: App, drop: boolean): Promise<void> {
  const { repository, secrets } = await openForRotation(app);
  const slots = await chooseSlots(repository, secrets, drop);
  await rotate(app, repository, slots, new Set());
  await app.closeStorage();
  const { body } = repository.root;
  app.output.line(
    `New master key, new signing key, and a new data key for each of ${repository.vms.length} VMs: root ${body.counter}, ${fingerprint(repository.root.hash)}.`,
  );
  sayOldCopies(app, slots);
}

/** Opens the repository, with all secrets that were presented. They are zeroed when the command ends, and so is what joins them. */
export async function openForRotation(app: App): Promise<{ repository: Repository; secrets: Secret[] }> {
  await app.lockToPublish();
  app.defer(() => app.storage.abort());
  const secrets = [...(await app.secrets())];
  app.deferWipe(secrets);
  const [first] = secrets;
  if (first === undefined) throw new BackupError('internal', 'no secret was presented');
  return { repository: await app.open(() => Promise.resolve(copySecret(first))), secrets };
}

/** Publishes new keys, which the secrets of `kept` open, and which know nothing of the VMs of `forget`. */
export async function rotate(
  app: App,
  repository: Repository,
  { kept }: KeptSlots,
  forget: ReadonlySet<VmId>,
): Promise<void> {
  const makeSlots = async (keyring: Keyring) => {
    const slots: KeySlot[] = [];
    for (const { slot, secret } of kept) {
      const cost = slot.kind === 'passphrase' ? slot : undefined;
      slots.push(await createSlot(keyring, secret, slot.label, cost));
    }
    return slots;
  };
  await rekey(repository, makeSlots, forget, Date.now());
  repository.store.clearCache(); // What is sealed under keys that are gone shall not stay in dom0 either.
  app.output.event('rotated', { root: repository.root.body.counter, slots: kept.length });
}

/** What a rotation cannot undo. */
export function sayOldCopies(app: App, { kept, dropped }: KeptSlots): void {
  const secrets = [...kept.map(({ slot }) => slot), ...dropped].map(slotName).join(', ');
  for (const line of [
    `What was stored until ${formatTime(Date.now())} can still be opened by who has both:`,
    `- a secret that opened it then: ${secrets}, or one that was removed earlier; and`,
    '- an older root with its objects: the storage VM keeps them for the grace period that its owner set, and every other',
    '  copy of the store (a disk, a snapshot of the storage VM) for as long as it exists.',
    'It ends when those copies are gone, or when the old secrets are: a kept secret that others may know is no longer one;',
    'replace it with "key add" and "key remove", then rotate again.',
  ])
    app.output.line(line);
  if (dropped.length > 0)
    app.output.line(`No longer opens the repository: ${dropped.map(slotName).join(', ')}. Destroy it.`);
}
