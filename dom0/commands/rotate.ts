/** `key rotate` and `forget-forever`: new keys for everything, and the end of those of one VM (R12, R52). */

import { BackupError } from '../../shared/errors.ts';
import type { VmId, VmName } from '../../shared/ids.ts';
import { parseVmName } from '../../shared/ids.ts';
import type { KeySlot } from '../../shared/root.ts';
import { requireUsage } from '../app.ts';
import type { App } from '../app.ts';
import { formatTime } from '../format.ts';
import type { Keyring } from '../keys/keyring.ts';
import { SECRET_NAMES, copySecret, paperOf, passphraseOf, readKeyFile } from '../keys/secret.ts';
import type { Secret } from '../keys/secret.ts';
import { createSlot, opensSlot } from '../keys/slots.ts';
import { nearest } from '../nearest.ts';
import { ask, askSecret, hasTerminal } from '../prompt.ts';
import { publishLiveList } from '../repository/live-objects.ts';
import type { CatalogEntry } from '../repository/records.ts';
import { rekey } from '../repository/rekey.ts';
import type { Repository } from '../repository/repository.ts';
import { VmHistory } from '../repository/vm-history.ts';
import { fingerprint } from '../words.ts';

/** Slots that go on, each with its secret, and those that end. */
interface Kept {
  readonly kept: readonly { readonly slot: KeySlot; readonly secret: Secret }[];
  readonly dropped: readonly KeySlot[];
}

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

/** Drops a VM's record and key, and rotates all keys that could lead to it. `confirm` gets the question. */
export async function forgetForever(
  app: App,
  name: string,
  options: { readonly id: string | undefined; readonly drop: boolean },
  confirm: (question: string, answer: string) => Promise<void>,
): Promise<void> {
  const vm = parseVmName(name);
  const { repository, secrets } = await openForRotation(app);
  const entry = chooseVm(repository, vm, options.id);
  const count = (await (await VmHistory.read(repository, entry)).entries()).length;
  await confirm(`All ${count} snapshots of ${name} will be lost for ever. Type its name: `, name);
  const slots = await chooseSlots(repository, secrets, options.drop);
  await rotate(app, repository, slots, new Set([entry.id]));
  const { counter } = repository.root.body;
  await publishLiveList(repository, Date.now());
  await app.closeStorage();
  app.output.line(`Forgot ${name}: its key is in no root from ${counter} on.`);
  app.output.line(`Newest root: ${fingerprint(repository.root.hash)}`);
  app.output.event('forgotten', { vm: name, id: entry.id, snapshots: count, root: counter });
  sayOldCopies(app, slots);
}

async function openForRotation(app: App): Promise<{ repository: Repository; secrets: readonly Secret[] }> {
  await app.lock();
  app.defer(() => app.storage.abort());
  const secrets = await app.secrets();
  app.defer(() => {
    for (const { bytes } of secrets) bytes.fill(0);
    return Promise.resolve();
  });
  const [first] = secrets;
  if (first === undefined) throw new BackupError('internal', 'no secret was presented');
  return { repository: await app.open(() => Promise.resolve(copySecret(first))), secrets };
}

async function rotate(
  app: App,
  repository: Repository,
  { kept }: Kept,
  forget: ReadonlySet<VmId>,
): Promise<void> {
  const makeSlots = async (keyring: Keyring) => {
    const slots: KeySlot[] = [];
    for (const { slot, secret } of kept) {
      const cost = slot.kind === 'passphrase' ? slot : undefined;
      slots.push(await createSlot(keyring, secret, slot.label, cost));
      secret.bytes.fill(0);
    }
    return slots;
  };
  await rekey(repository, makeSlots, forget, Date.now());
  repository.store.clearCache(); // What is sealed under keys that are gone shall not stay in dom0 either.
  app.output.event('rotated', { root: repository.root.body.counter, slots: kept.length });
}

/** The slots that a presented secret opens; on a terminal the others are asked for. Throws `usage` if some would be lost unasked. */
async function chooseSlots(repository: Repository, secrets: readonly Secret[], drop: boolean): Promise<Kept> {
  const kept: { slot: KeySlot; secret: Secret }[] = [];
  const dropped: KeySlot[] = [];
  for (const [index, slot] of repository.root.body.slots.entries()) {
    const secret =
      (await secretFor(repository, slot, secrets)) ??
      (drop || !hasTerminal() ? undefined : await askFor(repository, slot, index + 1));
    if (secret === undefined) dropped.push(slot);
    else kept.push({ slot, secret });
  }
  if (dropped.length > 0 && !drop) await confirmDrop(dropped);
  return { kept, dropped };
}

async function secretFor(
  repository: Repository,
  slot: KeySlot,
  secrets: readonly Secret[],
): Promise<Secret | undefined> {
  for (const secret of secrets)
    if (await opensSlot(repository.keyring.repository, slot, secret)) return copySecret(secret);
  return undefined;
}

/** Asks for the secret of one slot until it fits; undefined if the person has none. */
async function askFor(repository: Repository, slot: KeySlot, number: number): Promise<Secret | undefined> {
  const what = `slot ${number}, ${SECRET_NAMES[slot.kind]} "${slot.label}"`;
  for (;;) {
    const text =
      slot.kind === 'keyFile'
        ? await ask(`File of ${what} (nothing: the slot ends): `)
        : await askSecret(`Secret of ${what} (nothing: the slot ends): `);
    if (text.trim() === '') return undefined;
    const secret =
      slot.kind === 'keyFile'
        ? readKeyFile(text.trim())
        : slot.kind === 'paper'
          ? paperOf(text)
          : passphraseOf(text);
    if (await opensSlot(repository.keyring.repository, slot, secret)) return secret;
    secret.bytes.fill(0);
  }
}

async function confirmDrop(dropped: readonly KeySlot[]): Promise<void> {
  const names = dropped.map(({ kind, label }) => `${SECRET_NAMES[kind]} "${label}"`).join(', ');
  requireUsage(
    hasTerminal(),
    `these key slots would end, because their secrets were not given: ${names}; give them (--passphrase-file, --key-file, --paper-file), or --drop-slots`,
  );
  const answer = await ask(`These will no longer open the repository: ${names}. Type "yes" to go on: `);
  requireUsage(answer.trim() === 'yes', 'nothing was changed');
}

/** The VM's catalog entry; `id` tells apart VMs that had the same name one after the other. */
function chooseVm(repository: Repository, name: VmName, id: string | undefined): CatalogEntry {
  const named = repository.vms.filter((entry) => entry.name === name);
  const chosen = id === undefined ? named : named.filter((entry) => entry.id === id);
  const [only] = chosen;
  if (only === undefined)
    throw new BackupError(
      'unknown-vm',
      `no backup of a VM named ${name}${id === undefined ? '' : ` with the id ${id}`} is in the store${nearest(
        name,
        repository.vms.map((entry) => entry.name),
      )}`,
    );
  requireUsage(
    chosen.length === 1,
    `the store has ${chosen.length} VMs that were named ${name}: choose one with --id ${chosen.map((entry) => entry.id).join(' or ')}`,
  );
  return only;
}

/** What a rotation cannot undo. */
function sayOldCopies(app: App, { kept, dropped }: Kept): void {
  const secrets = [...kept.map(({ slot }) => slot), ...dropped]
    .map(({ kind, label }) => `${SECRET_NAMES[kind]} "${label}"`)
    .join(', ');
  for (const line of [
    `What was stored until ${formatTime(Date.now())} can still be opened by who has both:`,
    `- a secret that opened it then: ${secrets}, or one that was removed earlier; and`,
    '- an older root with its objects: the storage VM keeps them for the grace period that its owner set, and every other',
    '  copy of the store (a disk, a snapshot of the storage VM) for as long as it exists.',
    'It ends when those copies are gone, or when the old secrets are: a kept secret that others may know is no longer one;',
    'replace it with "key add" and "key remove", then rotate again.',
  ])
    app.output.line(line);
  if (dropped.length > 0) {
    const names = dropped.map(({ kind, label }) => `${SECRET_NAMES[kind]} "${label}"`).join(', ');
    app.output.line(`No longer opens the repository: ${names}. Destroy it.`);
  }
}
