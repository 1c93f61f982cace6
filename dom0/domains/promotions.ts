/**
 * VMs that restores gave their names, on disk until the caller has done what is to be done about each: a run that dies leaves that to
 * a later one. One file for each, from before the VM's name is taken. Which VM it is, its UUID says, whatever it is called.
 */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { utf8 } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { isVmName } from '../../shared/ids.ts';
import type { VmName } from '../../shared/ids.ts';
import { makePrivateFolder, readFileIfAny, removeFile, replaceFile } from '../state/files.ts';
import { notAppliedSchema } from './not-applied.ts';
import type { NotApplied } from './not-applied.ts';

/** A VM that has its name. */
export interface Promoted {
  /** The name that it had while it was written. */
  readonly temporary: VmName;
  readonly name: VmName;
  readonly uuid: string;
  /** What promote() was given for whoever ends the restore. */
  readonly note: string;
  /** What it does not have as it was, and nobody has dealt with. */
  readonly notApplied: readonly NotApplied[];
}

/** Bytes of a file. */
const MAX_FILE = 4 * 1024 * 1024;

const schema = z.strictObject({
  version: z.literal(1),
  temporary: z.custom<VmName>((value) => typeof value === 'string' && isVmName(value)),
  /** Null until it is known: Qubes makes it. */
  uuid: z.nullable(z.string()),
  note: z.string(),
  notApplied: z.array(notAppliedSchema),
  /** False while the driver's own journal may still undo it. */
  finished: z.boolean(),
});
type Entry = z.output<typeof schema>;

export class Promotions {
  readonly #folder: string;

  /** `folder`: a private folder of dom0's state, of which one process at a time is the user. */
  constructor(folder: string) {
    this.#folder = folder;
    makePrivateFolder(folder);
  }

  /** Before anything is done for it. `uuid`: that of the VM under its final name, if it is known. */
  begin(entry: Pick<Entry, 'temporary' | 'uuid' | 'note'> & { readonly notApplied: readonly NotApplied[] }) {
    this.#write({ ...entry, version: 1, notApplied: [...entry.notApplied], finished: false });
  }

  /** Before the VM under its final name is the only one. */
  identify(temporary: VmName, uuid: string): void {
    this.#change(temporary, () => ({ uuid }));
  }

  /** What else it does not have. */
  add(temporary: VmName, notApplied: readonly NotApplied[]): void {
    this.#change(temporary, (entry) => ({ notApplied: [...entry.notApplied, ...notApplied] }));
  }

  /** Once it has all that the driver gives it, with what else it does not have; before its mark of a temporary VM goes. */
  finish(temporary: VmName, notApplied: readonly NotApplied[] = []): void {
    this.#change(temporary, (entry) =>
      // A run that died here is done with, by a later one: it says the same again.
      entry.finished ? {} : { notApplied: [...entry.notApplied, ...notApplied], finished: true },
    );
  }

  /** What is left to be dealt with. */
  keep(temporary: VmName, notApplied: readonly NotApplied[]): void {
    this.#change(temporary, () => ({ notApplied: [...notApplied] }));
  }

  /** All is done about it. */
  forget(temporary: VmName): void {
    removeFile(this.#fileOf(temporary));
  }

  /** Those that are among `vms` and finished, oldest first. Of a VM that is gone, or never got its name, nothing is kept. */
  among(vms: readonly { readonly name: VmName; readonly uuid: string }[]): readonly Promoted[] {
    const found: Promoted[] = [];
    for (const { temporary, uuid, note, notApplied, finished } of this.#entries()) {
      const vm = vms.find((one) => one.uuid === uuid && one.name !== temporary);
      if (vm !== undefined && finished)
        found.push({ temporary, name: vm.name, uuid: vm.uuid, note, notApplied });
      else if (vm === undefined && !vms.some(({ name }) => name === temporary)) this.forget(temporary);
    }
    return found;
  }

  /** True if there is nothing to be dealt with. */
  get isEmpty(): boolean {
    return this.#files().length === 0;
  }

  #files(): string[] {
    return readdirSync(this.#folder).filter((file) => file.endsWith('.json'));
  }

  #entries(): readonly Entry[] {
    return this.#files()
      .sort()
      .flatMap((file) => this.#read(join(this.#folder, file)) ?? []);
  }

  #fileOf(temporary: VmName): string {
    return join(this.#folder, `${temporary}.json`);
  }

  #change(temporary: VmName, change: (entry: Entry) => Partial<Entry>): void {
    const entry = this.#read(this.#fileOf(temporary));
    if (entry !== undefined) this.#write({ ...entry, ...change(entry) });
  }

  #read(path: string): Entry | undefined {
    const bytes = readFileIfAny(path);
    if (bytes === undefined) return undefined;
    try {
      if (bytes.length > MAX_FILE) throw new BackupError('limit', 'too large');
      return schema.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
    } catch (cause) {
      throw new BackupError(
        'io',
        `${path} is damaged: it tells of a restored VM whose restore was not ended. Compare that VM with the one that was backed up ` +
          '("qubes-backup restore VM --only-config"), have it continue its snapshots ("qubes-backup adopt"), then remove the file',
        { cause },
      );
    }
  }

  #write(entry: Entry): void {
    const bytes = utf8(JSON.stringify(entry));
    if (bytes.length > MAX_FILE)
      throw new BackupError('limit', 'what is to be kept of a restored VM is too large');
    replaceFile(this.#fileOf(entry.temporary), bytes);
  }
}
