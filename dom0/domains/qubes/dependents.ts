/**
 * What refers to a VM: properties of the system, and properties that were set on other VMs. Qubes lets no VM be removed while
 * there are any. They are pointed at the VM that takes its place, each after the journal has it; or all of them back.
 */

import * as z from 'zod';
import { BackupError, isBackupError } from '../../../shared/errors.ts';
import type { Admin } from './admin/admin.ts';
import type { Property } from './admin/answers.ts';
import type { Journal, StepKind, Transaction, Undone } from './journal.ts';
import { uuidOf } from './vm-uuid.ts';

/** One property that refers to a VM. */
export interface Reference {
  /** The VM that has the property; null for the system. */
  readonly owner: string | null;
  readonly property: string;
}

/** `VM.property`, for messages. */
export function describeReference({ owner, property }: Reference): string {
  return `${owner ?? 'the system'}: ${property}`;
}

/**
 * All references to `vm`, those of the system first. A default that follows one of them is none, and neither is what a
 * disposable has that Qubes made ahead: it goes with its template.
 */
export async function findReferences(admin: Admin, vm: string): Promise<readonly Reference[]> {
  const refers = ([, { type, value }]: readonly [string, Property]) => type === 'vm' && value === vm;
  const globals = [...(await admin.globals())].filter(refers);
  const others = (await admin.list()).map(({ name }) => name).filter((name) => name !== vm);
  const found = await Promise.all(
    others.map(async (owner) => {
      const properties = await propertiesIfThere(admin, owner);
      if (properties.get('is_preload')?.value === 'True') return [];
      const own = [...properties].filter((entry) => !entry[1].isDefault && refers(entry));
      return own.map(([property]) => ({ owner, property }));
    }),
  );
  return [...globals.map(([property]) => ({ owner: null, property })), ...found.flat()];
}

/** Disposables come and go while all VMs are asked. */
async function propertiesIfThere(admin: Admin, vm: string): Promise<ReadonlyMap<string, Property>> {
  try {
    return await admin.properties(vm);
  } catch (error) {
    if (isBackupError(error, 'unknown-vm')) return new Map();
    throw error;
  }
}

const referenceData = z.strictObject({
  owner: z.nullable(z.string()),
  property: z.string(),
  from: z.string(),
  /** Of the VM that is replaced: another one of its name is another VM. */
  fromUuid: z.uuid(),
  to: z.string(),
});
type ReferenceData = z.output<typeof referenceData>;

/** Points references from one VM to another. */
export class References {
  readonly #admin: Admin;
  readonly #steps: StepKind<ReferenceData>;

  constructor(admin: Admin, journal: Journal) {
    this.#admin = admin;
    this.#steps = journal.register({
      name: 'reference',
      schema: referenceData,
      survivesReboot: true,
      undo: (data) => this.#undo(data),
    });
  }

  /**
   * Points all that refers to `from` at `to`, which must be what it has to be (a network VM, a template). Throws at the first
   * that cannot be: whoever has `transaction` rolls it back.
   */
  async repoint(from: string, to: string, transaction: Transaction): Promise<readonly Reference[]> {
    const fromUuid = await uuidOf(this.#admin, from);
    if (fromUuid === undefined) throw new BackupError('unknown-vm', `VM ${from}: there is no such VM`);
    const references = await findReferences(this.#admin, from);
    for (const reference of references) {
      await transaction.write(this.#steps, { ...reference, from, fromUuid, to });
      await this.#set(reference, to);
    }
    return references;
  }

  async #undo({ from, fromUuid, to, ...reference }: ReferenceData): Promise<Undone> {
    const where = describeReference(reference);
    if ((await uuidOf(this.#admin, from)) !== fromUuid)
      return { outcome: 'nothing', line: `${where} stays with VM ${to}: VM ${from} is gone` };
    const value = await this.#value(reference);
    if (value === undefined || value === from) return { outcome: 'nothing', line: `${where} is as it was` };
    if (value !== to)
      return {
        outcome: 'left',
        line: `left ${where} alone: it is not VM ${to} any more, as a restore set it`,
      };
    await this.#set(reference, from);
    return { outcome: 'undone', line: `pointed ${where} back at VM ${from}` };
  }

  #set({ owner, property }: Reference, vm: string): Promise<void> {
    return owner === null
      ? this.#admin.setGlobal(property, vm)
      : this.#admin.setProperty(owner, property, vm);
  }

  /** Undefined if its owner is gone. */
  async #value({ owner, property }: Reference): Promise<string | undefined> {
    const properties =
      owner === null ? await this.#admin.globals() : await propertiesIfThere(this.#admin, owner);
    return properties.get(property)?.value;
  }
}
