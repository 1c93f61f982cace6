/**
 * What this machine remembers of a repository: the last root it accepted, and the root it is about to publish. An older
 * or forked root offered later is noticed by it (R06), and no counter is signed twice.
 */

import { join } from 'node:path';
import * as z from 'zod';
import { hex } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import type { RepositoryId, RootHash, VmId } from '../../shared/ids.ts';
import { decodeRoot } from '../../shared/root.ts';
import type { Root } from '../../shared/root.ts';
import { readChecked, writeChecked } from './checked-file.ts';
import { makePrivateFolder, readFileIfAny, removeFile, replaceFile } from './files.ts';

/** Lower-case hex digits. */
export const hexText = <T extends string>(digits: number) =>
  z.custom<T>((value) => typeof value === 'string' && value.length === digits && /^[0-9a-f]*$/.test(value));

const pinSchema = z.strictObject({
  repository: hexText<RepositoryId>(32),
  /** Ed25519. */
  publicKey: hexText<string>(64),
  counter: z.int().min(1),
  hash: hexText<RootHash>(64),
  /** The highest counter this machine ever signed or accepted. */
  highestCounter: z.int().min(1),
  /** The VMs its catalog listed: the loss of one would be noticed. */
  vms: z.array(z.strictObject({ id: hexText<VmId>(32), name: z.string().max(31) })).default([]),
});

export type Pin = z.output<typeof pinSchema>;
export type PinnedVm = Pin['vms'][number];

/** The pin below dom0's state folder: one for all stores, which hold the same repository. */
export class PinFile {
  readonly #pin: string;
  readonly #pending: string;

  constructor(stateFolder: string) {
    const folder = join(stateFolder, 'pins');
    makePrivateFolder(folder);
    this.#pin = join(folder, 'pin.json');
    this.#pending = join(folder, 'pending-root');
  }

  read(): Pin | undefined {
    const how = 'restore it from a backup, or move it away to trust the store anew';
    return readChecked(this.#pin, pinSchema, how);
  }

  /**
   * Remembers `root` as the newest, and the VMs of its catalog; without them those known before. A newer pin, which another
   * run may have written meanwhile, is kept, unless `lower` says that a person accepted the older root. A pending root that is
   * not newer than `root` is settled and forgotten.
   */
  write(root: Root, vms?: readonly PinnedVm[], lower = false): void {
    const { repository, publicKey, counter } = root.body;
    const [before, pending] = [this.read(), this.pending()];
    if (!lower && before !== undefined && before.repository === repository && before.counter > counter)
      return;
    const pin: Pin = {
      repository,
      publicKey: hex(publicKey),
      counter,
      hash: root.hash,
      highestCounter: Math.max(counter, before?.highestCounter ?? 0, pending?.body.counter ?? 0),
      vms: (vms ?? before?.vms ?? []).map(({ id, name }) => ({ id, name })),
    };
    writeChecked(this.#pin, pin);
    if (pending !== undefined && pending.body.counter <= counter) removeFile(this.#pending);
  }

  /** Keeps `root` before it is sent, so that after a crash the same bytes are sent again. */
  writePending(root: Root): void {
    replaceFile(this.#pending, root.bytes);
  }

  /** Gives up the root that was about to be published. Its counter is never used again. */
  dropPending(): void {
    const [pin, pending] = [this.read(), this.pending()];
    if (pending === undefined) return;
    if (pin !== undefined) {
      const highestCounter = Math.max(pin.highestCounter, pending.body.counter);
      writeChecked(this.#pin, { ...pin, highestCounter });
    }
    removeFile(this.#pending);
  }

  /** The root that was about to be published when a run died, if any. Throws `io`. */
  pending(): Root | undefined {
    const bytes = readFileIfAny(this.#pending);
    if (bytes === undefined) return undefined;
    try {
      return decodeRoot(bytes);
    } catch (cause) {
      const what =
        'it is the root that a run was about to publish when it died; move it away, and back up again';
      throw new BackupError('io', `${this.#pending} is damaged: ${what}`, { cause });
    }
  }
}
