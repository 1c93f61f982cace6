/**
 * Temporary VMs of restores (R30): created without network and excluded from backups, written and verified by disposables, then
 * renamed. A VM that has its final name has its content; its network comes last, and until then it has the tag.
 */

import { z } from 'zod';
import { BackupError } from '../../../shared/errors.ts';
import { isVmName } from '../../../shared/ids.ts';
import type { VmName } from '../../../shared/ids.ts';
import { TEMPORARY_TAG } from '../domains.ts';
import type { VolumeShape } from '../domains.ts';
import { TEMPORARY_NAME, temporaryName } from '../temporary-name.ts';
import type { Admin } from './admin/admin.ts';
import type { Journal, StepKind, Transaction, Undone } from './journal.ts';
import { OWN_TAGS } from './new-vm.ts';
import type { Renaming } from './rename.ts';
import { applyVmConfig, finishVmConfig } from './vm-config/apply.ts';
import { planVm } from './vm-config/plan.ts';
import { describeNotApplied } from './vm-config/report.ts';
import type { NotApplied } from './vm-config/report.ts';
import { parseVmConfig, vmConfigSchema } from './vm-config/vm-config.ts';
import type { VmConfig } from './vm-config/vm-config.ts';
import { uuidOf } from './vm-uuid.ts';

const madeData = z.strictObject({
  name: z.string().regex(TEMPORARY_NAME),
  /** Null until it is known: Qubes makes it. */
  uuid: z.nullable(z.uuid()),
});
type MadeData = z.output<typeof madeData>;

const promotedData = z.strictObject({
  name: z.custom<VmName>((value) => typeof value === 'string' && isVmName(value)),
  config: vmConfigSchema,
});
type PromotedData = z.output<typeof promotedData>;

interface Made {
  readonly config: VmConfig;
  readonly transaction: Transaction;
}

export class TemporaryVms {
  readonly #admin: Admin;
  readonly #journal: Journal;
  readonly #renaming: Renaming;
  readonly #warn: (text: string) => void;
  readonly #kind: StepKind<MadeData>;
  readonly #promotions: StepKind<PromotedData>;
  readonly #made = new Map<VmName, Made>();

  /** `warn` is told what a VM does not have as it was. */
  constructor(admin: Admin, journal: Journal, renaming: Renaming, warn: (text: string) => void) {
    this.#admin = admin;
    this.#journal = journal;
    this.#renaming = renaming;
    this.#warn = warn;
    this.#kind = journal.register({
      name: 'temporary-vm',
      schema: madeData,
      survivesReboot: true,
      undo: (data) => this.#remove(data),
    });
    this.#promotions = journal.register({
      name: 'promotion',
      schema: promotedData,
      survivesReboot: true,
      undo: (data) => this.#finishLate(data),
    });
  }

  /** See Domains.createTemporary. Throws `unknown-vm` if no template can take the place of one that is not there. */
  async create(finalName: VmName, description: Uint8Array, volumes: readonly VolumeShape[]): Promise<VmName> {
    const config = parseVmConfig(finalName, description);
    const name = temporaryName(finalName);
    const { create, report } = await planVm(this.#admin, config, name, 'nearest');
    const transaction = this.#journal.begin();
    try {
      const change = await transaction.write(this.#kind, { name, uuid: null });
      await this.#admin.create(create);
      await this.#admin.setTag(name, TEMPORARY_TAG);
      await change({ name, uuid: (await uuidOf(this.#admin, name)) ?? null });
      await this.#admin.setProperty(name, 'netvm', '');
      await this.#admin.setProperty(name, 'include_in_backups', 'False');
      for (const volume of volumes) await this.#size(name, finalName, volume);
      this.#tell(finalName, [...report, ...(await applyVmConfig(this.#admin, name, config))]);
    } catch (error) {
      throw await transaction.rollBackAfter(error);
    }
    this.#made.set(name, { config, transaction });
    return name;
  }

  /** Throws `refused` unless this process made it: no other VM's volume is ever written. */
  check(name: VmName): void {
    this.#require(name);
  }

  /** See Domains.promote. */
  async promote(name: VmName, finalName: VmName): Promise<void> {
    const { config, transaction } = this.#require(name);
    if ((await uuidOf(this.#admin, finalName)) !== undefined)
      throw new BackupError(
        'vm-exists',
        `there is a VM ${finalName} already; it is not touched. Restore under another name with --as`,
      );
    await transaction.write(this.#promotions, { name: finalName, config });
    await this.#renaming.rename(name, finalName);
    this.#made.delete(name);
    await this.#finish(finalName, config);
    await transaction.commit();
  }

  /** See Domains.removeTemporary. */
  async remove(name: VmName): Promise<void> {
    const { transaction } = this.#require(name);
    this.#made.delete(name);
    await transaction.rollBack();
  }

  #require(name: VmName): Made {
    const made = this.#made.get(name);
    if (made !== undefined) return made;
    throw new BackupError('refused', `VM ${name} is no temporary VM of this run, and is left alone`);
  }

  /** A file system is made in it, so it may be larger; a device must have the very size that it had. */
  async #size(name: VmName, finalName: VmName, { name: volume, mode, size }: VolumeShape): Promise<void> {
    const present = (await this.#admin.volume(name, volume)).size;
    if (present < size) await this.#admin.growVolume(name, volume, size);
    if (present > size && mode === 'blocks')
      throw new BackupError(
        'refused',
        `VM ${finalName}: its ${volume} volume had ${size} bytes, and a new one has ${present} here, which must not be made smaller`,
      );
  }

  async #finish(finalName: VmName, config: VmConfig): Promise<void> {
    this.#tell(finalName, await finishVmConfig(this.#admin, finalName, config, 'captured'));
    await this.#admin.removeTag(finalName, TEMPORARY_TAG);
  }

  #tell(finalName: VmName, report: readonly NotApplied[]): void {
    for (const one of report) this.#warn(`VM ${finalName}: ${describeNotApplied(one)}`);
  }

  async #remove({ name, uuid }: MadeData): Promise<Undone> {
    const found = await uuidOf(this.#admin, name);
    if (found === undefined) return { outcome: 'nothing', line: `the temporary VM ${name} is gone` };
    const tags = await this.#admin.tags(name);
    const untouched = uuid === null && tags.every((tag) => OWN_TAGS.test(tag));
    const ours = tags.includes(TEMPORARY_TAG) && (uuid === null || uuid === found);
    if (!ours && !untouched)
      return { outcome: 'left', line: `left VM ${name} alone: it is not the one that a restore made` };
    await this.#admin.kill(name);
    await this.#admin.remove(name);
    return { outcome: 'undone', line: `removed VM ${name}, whose restore did not end` };
  }

  /** Of a run that died between the rename and the end: its content was proven, so it becomes what it was to be. */
  async #finishLate({ name, config }: PromotedData): Promise<Undone> {
    const found = await uuidOf(this.#admin, name);
    if (found === undefined || !(await this.#admin.tags(name)).includes(TEMPORARY_TAG))
      return { outcome: 'nothing', line: `VM ${name} has not been renamed, or is finished` };
    await this.#finish(name, config);
    return { outcome: 'undone', line: `finished restoring VM ${name}` };
  }
}
