/**
 * The end of a restore: what is to be done about a VM once it has its name. It continues its snapshots; and what it refers to that was
 * to be restored after it is set when that is there. The driver keeps what this needs with the VM, so that a later run does it if one
 * dies first.
 */

import * as z from 'zod';
import { BackupError } from '../shared/errors.ts';
import type { VmId } from '../shared/ids.ts';
import type { App } from './app.ts';
import { parseJson } from './domains/json.ts';
import { describeNotApplied, referredVm } from './domains/not-applied.ts';
import type { NotApplied } from './domains/not-applied.ts';
import type { Promoted } from './domains/promotions.ts';
import type { Repository } from './repository/repository.ts';

const noteSchema = z.strictObject({
  /** Whose snapshot it was. */
  vm: z.string(),
  /** UUID of the VM whose place it took. */
  replaced: z.nullable(z.string()),
  /** VMs that the same run was to restore after it. */
  awaited: z.array(z.string()),
});

/** What of a restore travels with its VM until it is ended. */
export interface RestoreNote {
  readonly vm: VmId;
  readonly replaced: string | null;
  readonly awaited: readonly string[];
}

export function encodeNote(note: RestoreNote): string {
  return JSON.stringify(note);
}

function decodeNote({ name, note }: Promoted): z.output<typeof noteSchema> {
  const result = noteSchema.safeParse(parseJson(note));
  if (result.success) return result.data;
  throw new BackupError('io', `what this machine keeps of the restore of VM ${name} is damaged`, {
    cause: result.error,
  });
}

/**
 * Ends the restore of `promoted` as far as that can be now. Answers what it does not have, and of that what waits for VMs that are to
 * be restored yet: promoted() goes on to tell of those.
 */
export async function endRestore(
  app: App,
  repository: Repository,
  promoted: Promoted,
): Promise<{ readonly left: readonly NotApplied[]; readonly waits: readonly NotApplied[] }> {
  const { temporary, notApplied } = promoted;
  const note = decodeNote(promoted);
  const isLinked = await link(app, repository, promoted, note);
  const awaits = (one: NotApplied) => note.awaited.includes(referredVm(one) ?? '');
  const waits = notApplied.filter(awaits);
  const left = notApplied.filter((one) => !awaits(one));
  if (isLinked && waits.length === 0) app.domains.forgetPromoted(temporary);
  else app.domains.keepNotApplied(temporary, waits);
  return { left, waits };
}

/** Sets what waited, now that nothing more is to come. Answers what is not so still, which nobody waits for any more. */
export async function endWaiting(
  app: App,
  repository: Repository,
  promoted: Promoted,
): Promise<readonly NotApplied[]> {
  const { temporary, name, notApplied } = promoted;
  const left = await app.domains.applyAgain(name, notApplied);
  if (await link(app, repository, promoted, decodeNote(promoted))) app.domains.forgetPromoted(temporary);
  else app.domains.keepNotApplied(temporary, []);
  return left;
}

/** Ends what runs that died left of restores whose VMs have their names. Call under the state lock, with the repository open. */
export async function endDeadRestores(app: App, repository: Repository): Promise<void> {
  for (const promoted of await app.domains.promoted()) {
    const { temporary, name, notApplied } = promoted;
    const { left, waits } = await endRestore(app, repository, {
      ...promoted,
      notApplied: await app.domains.applyAgain(name, notApplied),
    });
    for (const one of left) {
      app.output.event('not-applied', { vm: name, ...one });
      app.warnOnly(`VM ${name}, restored by a run that died: ${describeNotApplied(one)}`);
    }
    for (const one of waits)
      app.output.note(
        `VM ${name} waits for VM ${referredVm(one) ?? ''}, which a run that died did not restore: ${describeNotApplied(one)}. ` +
          'It is set when that VM is there; "qubes-backup restore --all" restores it, or gives it up',
      );
    app.output.event('restore-ended', { vm: name, temporary, waits: waits.length });
  }
}

/**
 * If none of the VMs that the history belongs to exists any more but the one that was replaced, the restored one continues it: an
 * explicit link by its new UUID, never by its name (R11). The replaced one then begins a history of its own. False if that has to wait
 * for the primary store.
 */
async function link(
  app: App,
  repository: Repository,
  { name, uuid }: Promoted,
  { vm, replaced }: Pick<z.output<typeof noteSchema>, 'vm' | 'replaced'>,
): Promise<boolean> {
  const entry = repository.vms.find(({ id }) => id === vm);
  if (entry === undefined) return true; // Forgotten for ever.
  const record = await repository.readVm(entry);
  if (record.uuids.includes(uuid)) return true;
  const uuids = record.uuids.filter((known) => known !== replaced);
  const vms = await app.domains.list();
  if (vms.some((other) => uuids.includes(other.uuid))) return true;
  if (!app.storage.hasPrimary || app.storage.primary.standing.is !== 'in-step') {
    app.warn(
      `VM ${name} does not continue its snapshots yet: that is written to the primary store, by the next run that reaches it`,
    );
    return false;
  }
  const names = record.names.at(-1) === name ? record.names : [...record.names, name];
  await repository.publish({ ...record, names, uuids: [...uuids, uuid] }, entry.record, Date.now);
  return true;
}
