/** `key list|add|change|paper|remove`: the key slots of the repository. Each rewrites the root and nothing else (R52). */

import { BackupError } from '../../shared/errors.ts';
import { MAX_SLOTS } from '../../shared/limits.ts';
import type { KeySlot } from '../../shared/root.ts';
import { requireUsage } from '../app.ts';
import type { App } from '../app.ts';
import { formatTable } from '../../shared/format.ts';
import { SECRET_NAMES } from '../keys/secret.ts';
import type { Secret } from '../keys/secret.ts';
import { createSlot, slotName } from '../keys/slots.ts';
import type { Opened } from '../repository/open.ts';
import type { Repository } from '../repository/repository.ts';

/** What a person should know about a secret that others may have seen. */
const OLD_ROOTS = `This does not lock out anybody who knows the old secret: with it and an older root, of which the storage VM and every
copy of the store have some, all backups made so far can be read. If others may know it, run "qubes-backup key rotate" as
well, and treat what was backed up until now as known to them.`;

export async function keyList(app: App): Promise<void> {
  app.defer(() => app.storage.abort());
  const { repository, slot: opened } = await app.openWithSlot();
  await app.closeStorage();
  const { slots } = repository.root.body;
  const rows = slots.map((slot, index) => [
    String(index + 1),
    SECRET_NAMES[slot.kind],
    slot.label,
    costOf(slot),
    slot === opened ? 'opened the repository now' : '',
  ]);
  for (const line of formatTable([['SLOT', 'KIND', 'LABEL', 'COST', ''], ...rows], [0]))
    app.output.line(line);
  slots.forEach(({ kind, label }, index) => app.output.event('slot', { slot: index + 1, kind, label }));
}

function costOf(slot: KeySlot): string {
  if (slot.kind !== 'passphrase') return '';
  return `Argon2id, ${Math.round(slot.memory / 1024)} MiB, ${slot.passes} passes`;
}

/** Adds a slot for the secret that `make` answers. */
export async function keyAdd(
  app: App,
  label: string | undefined,
  make: () => Promise<Secret>,
): Promise<void> {
  const { slots } = (await addSlot(app, label, make)).root.body;
  app.output.line(`Added slot ${slots.length}: ${slots.at(-1)?.label ?? ''}.`);
}

/** {@link keyAdd} without a word on stdout; answers the repository with its new root. */
export async function addSlot(
  app: App,
  label: string | undefined,
  make: () => Promise<Secret>,
): Promise<Repository> {
  await app.lockToPublish();
  app.defer(() => app.storage.abort());
  const { repository } = await app.openWithSlot();
  const { slots } = repository.root.body;
  requireUsage(slots.length < MAX_SLOTS, `the repository has ${MAX_SLOTS} key slots: remove one first`);
  const slot = await slotFor(repository, await make(), label);
  await publishSlots(app, { repository, slot }, [...slots, slot]);
  return repository;
}

/** Replaces the passphrase that opened the repository by the one that `make` answers. */
export async function keyChange(app: App, make: () => Promise<Secret>): Promise<void> {
  await app.lockToPublish();
  app.defer(() => app.storage.abort());
  const { repository, slot: old } = await app.openWithSlot(() => app.firstSecret());
  requireUsage(
    old.kind === 'passphrase',
    'open the repository with the passphrase that is to be changed; for other secrets use "key add" and "key remove"',
  );
  const slot = await slotFor(repository, await make(), old.label);
  const slots = repository.root.body.slots.map((other) => (other === old ? slot : other));
  await publishSlots(app, { repository, slot }, slots);
  app.output.line('Changed the passphrase.');
  app.output.line(OLD_ROOTS);
}

/** Removes slot `number` (1 is the first) once `confirm` said yes. */
export async function keyRemove(
  app: App,
  number: number,
  confirm: (question: string) => Promise<void>,
): Promise<void> {
  await app.lockToPublish();
  app.defer(() => app.storage.abort());
  const { repository, slot: opened } = await app.openWithSlot();
  const { slots } = repository.root.body;
  const slot = slots[number - 1];
  if (slot === undefined)
    throw new BackupError('usage', `there is no slot ${number}: "qubes-backup key list" shows them`);
  requireUsage(slots.length > 1, 'the last slot cannot be removed: nothing could ever be restored');
  const own = slot === opened ? ', with which you opened the repository just now' : '';
  await confirm(`Remove slot ${number}, ${slotName(slot)}${own}?`);
  const rest = slots.filter((other) => other !== slot);
  await publishSlots(app, { repository, slot }, rest);
  app.output.line(`Removed slot ${number}: ${slot.label}.`);
  app.output.line(OLD_ROOTS);
}

async function slotFor(
  repository: Opened['repository'],
  secret: Secret,
  label = SECRET_NAMES[secret.kind],
): Promise<KeySlot> {
  try {
    return await createSlot(repository.keyring, secret, label);
  } finally {
    secret.bytes.fill(0);
  }
}

async function publishSlots(app: App, { repository, slot }: Opened, slots: KeySlot[]): Promise<void> {
  await repository.publishRoot(() => Promise.resolve({ slots }), Date.now());
  await app.closeStorage();
  app.output.event('slots', {
    slots: slots.length,
    kind: slot.kind,
    label: slot.label,
    root: repository.root.body.counter,
  });
}
