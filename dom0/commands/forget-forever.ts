/** `forget-forever`: the end of one VM's key, and with it of all its backups (R12). */

import { BackupError } from '../../shared/errors.ts';
import type { VmName } from '../../shared/ids.ts';
import { parseVmName } from '../../shared/ids.ts';
import { requireUsage } from '../app.ts';
import type { App } from '../app.ts';
import { nearest } from '../nearest.ts';
import { publishLiveList } from '../repository/live-objects.ts';
import type { CatalogEntry } from '../repository/records.ts';
import type { Repository } from '../repository/repository.ts';
import { VmHistory } from '../repository/vm-history.ts';
import { fingerprint } from '../words.ts';
import { chooseSlots } from './kept-slots.ts';
import { openForRotation, rotate, sayOldCopies } from './rotate.ts';

export interface ForgetOptions {
  /** Which of several VMs that had the name. */
  readonly id: string | undefined;
  /** End key slots whose secret is not presented, without asking. */
  readonly drop: boolean;
}

/** Drops a VM's record and key, and rotates all keys that could lead to it. `confirm` gets the question. */
export async function forgetForever(
  app: App,
  name: string,
  { id, drop }: ForgetOptions,
  confirm: (question: string, answer: string) => Promise<void>,
): Promise<void> {
  const vm = parseVmName(name);
  const { repository, secrets } = await openForRotation(app);
  const entry = chooseVm(repository, vm, id);
  const count = (await (await VmHistory.read(repository, entry)).entries()).length;
  await confirm(`All ${count} snapshots of ${name} will be lost for ever. Type its name: `, name);
  const slots = await chooseSlots(repository, secrets, drop);
  await rotate(app, repository, slots, new Set([entry.id]));
  const { counter } = repository.root.body;
  await publishLiveList(repository, Date.now());
  app.diary.forget(entry.id);
  await app.closeStorage();
  app.output.line(`Forgot ${name}: its key is in no root from ${counter} on.`);
  app.output.line(`Newest root: ${fingerprint(repository.root.hash)}`);
  app.output.event('forgotten', { vm: name, id: entry.id, snapshots: count, root: counter });
  sayOldCopies(app, slots);
}

/** The VM's catalog entry; `id` tells apart VMs that had the same name one after the other. */
function chooseVm({ vms }: Repository, name: VmName, id: string | undefined): CatalogEntry {
  const named = vms.filter((entry) => entry.name === name);
  const chosen = id === undefined ? named : named.filter((entry) => entry.id === id);
  const [only] = chosen;
  if (only === undefined) {
    const which = id === undefined ? name : `${name} with the id ${id}`;
    const names = vms.map((entry) => entry.name);
    throw new BackupError(
      'unknown-vm',
      `no backup of a VM named ${which} is in the store${nearest(name, names)}`,
    );
  }
  requireUsage(
    chosen.length === 1,
    `the store has ${chosen.length} VMs that were named ${name}: choose one with --id ${chosen.map((entry) => entry.id).join(' or ')}`,
  );
  return only;
}
