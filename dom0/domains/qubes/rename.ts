/**
 * Gives a halted VM another name. Qubes OS has no call for that: as Qube Manager does it, a VM of the new name is made with the
 * same configuration and clones of the volumes, all that refers to the old one is pointed at it, and the old one is removed.
 *
 * Each step is in the journal before it is done. To remove the old VM is the last one, and what decides: while it is there all is
 * undone, once it is gone the new one is the VM.
 */

import { z } from 'zod';
import { BackupError } from '../../../shared/errors.ts';
import { TEMPORARY_TAG } from '../domains.ts';
import type { Admin } from './admin/admin.ts';
import { References } from './dependents.ts';
import type { Journal, StepKind, Transaction, Undone } from './journal.ts';
import { OWN_TAGS } from './new-vm.ts';
import { applyVmConfig, finishVmConfig } from './vm-config/apply.ts';
import { captureVmConfig, readSystemFacts } from './vm-config/capture.ts';
import { planVm } from './vm-config/plan.ts';
import { describeNotApplied } from './vm-config/report.ts';
import type { NotApplied } from './vm-config/report.ts';
import type { VmConfig } from './vm-config/vm-config.ts';
import { uuidOf } from './vm-uuid.ts';

const copyData = z.strictObject({
  name: z.string(),
  /** Null until it is known: it is made by Qubes. */
  uuid: z.nullable(z.uuid()),
  from: z.string(),
  fromUuid: z.uuid(),
  /** True of a temporary VM: it is one under its new name as well, until whoever made it says otherwise. */
  temporary: z.boolean(),
});
type CopyData = z.output<typeof copyData>;

export class Renaming {
  readonly #admin: Admin;
  readonly #journal: Journal;
  readonly #references: References;
  readonly #copies: StepKind<CopyData>;

  constructor(admin: Admin, journal: Journal) {
    this.#admin = admin;
    this.#journal = journal;
    this.#references = new References(admin, journal);
    this.#copies = journal.register({
      name: 'renamed-vm',
      schema: copyData,
      survivesReboot: true,
      undo: (data) => this.#undo(data),
    });
  }

  /**
   * Renames `from` to `to`; `progress` is told each step. Answers what the VM does not have any more: devices, which a person
   * assigns. Throws `vm-exists` if the name is taken, `refused` for a VM that runs or that dom0's package manager installed, and
   * what went wrong after all was undone.
   */
  async rename(
    from: string,
    to: string,
    progress: (step: string) => void = () => undefined,
  ): Promise<readonly NotApplied[]> {
    const config = await this.#check(from, to);
    const transaction = this.#journal.begin();
    try {
      return await this.#move(config, to, transaction, progress);
    } catch (error) {
      throw await transaction.rollBackAfter(error);
    }
  }

  /** The configuration to copy, if the VM can be renamed. */
  async #check(from: string, to: string): Promise<VmConfig> {
    const vms = await this.#admin.list();
    if (vms.some(({ name }) => name === to))
      throw new BackupError('vm-exists', `there is a VM ${to} already: VM ${from} keeps its name`);
    if (vms.find(({ name }) => name === from)?.state !== 'Halted')
      throw new BackupError(
        'refused',
        `VM ${from} is not there or not shut down: it can be renamed only then`,
      );
    // Qubes would refuse to remove it, when all else is done.
    if ((await this.#admin.property(from, 'installed_by_rpm')).value === 'True')
      throw new BackupError(
        'refused',
        `VM ${from} was installed by dom0's package manager, which alone can remove it: it keeps its name`,
      );
    return captureVmConfig(this.#admin, from, await readSystemFacts(this.#admin));
  }

  async #move(
    config: VmConfig,
    to: string,
    transaction: Transaction,
    progress: (step: string) => void,
  ): Promise<readonly NotApplied[]> {
    const { name: from, uuid: fromUuid } = config;
    const temporary = config.tags.includes(TEMPORARY_TAG);
    const { create, report: planned } = await planVm(this.#admin, config, to, 'refuse');
    refuseLoss(from, planned);
    progress(`creating VM ${to}`);
    const change = await transaction.write(this.#copies, { name: to, uuid: null, from, fromUuid, temporary });
    await this.#admin.create(create);
    await this.#admin.setTag(to, TEMPORARY_TAG);
    const uuid = (await uuidOf(this.#admin, to)) ?? null;
    await change({ name: to, uuid, from, fromUuid, temporary });
    // Nobody is to start or connect it while it is made.
    await this.#admin.setProperty(to, 'netvm', '');
    progress(`copying the configuration of VM ${from}`);
    const report = await applyVmConfig(this.#admin, to, config);
    refuseLoss(from, report);
    for (const volume of Object.keys(config.volumes)) {
      progress(`cloning the ${volume} volume of VM ${from}`);
      await this.#admin.cloneVolume(from, to, volume);
    }
    refuseLoss(from, await finishVmConfig(this.#admin, to, config, 'captured'));
    progress(`pointing what refers to VM ${from} at VM ${to}`);
    await this.#references.repoint(from, to, transaction);
    progress(`removing VM ${from}`);
    await this.#admin.remove(from);
    if (!temporary) await this.#admin.removeTag(to, TEMPORARY_TAG);
    await transaction.commit();
    return report;
  }

  async #undo({ name, uuid, from, fromUuid, temporary }: CopyData): Promise<Undone> {
    const found = await uuidOf(this.#admin, name);
    if (found === undefined) return { outcome: 'nothing', line: `VM ${name} is not there` };
    if ((await uuidOf(this.#admin, from)) !== fromUuid) {
      if (found === uuid && !temporary) await this.#unmark(name);
      return { outcome: 'undone', line: `finished renaming VM ${from} to ${name}` };
    }
    if (found !== uuid && !(uuid === null && (await this.#isUntouched(name))))
      return {
        outcome: 'left',
        line: `left VM ${name} alone: it is not the one that was made to rename VM ${from}`,
      };
    await this.#admin.remove(name);
    return { outcome: 'undone', line: `removed VM ${name}, to which VM ${from} was to be renamed` };
  }

  async #unmark(name: string): Promise<void> {
    if ((await this.#admin.tags(name)).includes(TEMPORARY_TAG))
      await this.#admin.removeTag(name, TEMPORARY_TAG);
  }

  /** Between its creation and its mark a VM has what every new one has, and was never started. */
  async #isUntouched(name: string): Promise<boolean> {
    const tags = await this.#admin.tags(name);
    if (!tags.every((tag) => tag === TEMPORARY_TAG || OWN_TAGS.test(tag))) return false;
    const halted = (await this.#admin.state(name)) === 'Halted';
    return halted && (await this.#admin.volumeSnapshots(name, 'private')).length === 0;
  }
}

/** A renamed VM is the same one: what it would lose stops it. Devices are for a person to assign. */
function refuseLoss(from: string, report: readonly NotApplied[]): void {
  const lost = report.filter(({ part }) => part !== 'device').map(describeNotApplied);
  if (lost.length > 0)
    throw new BackupError('refused', `VM ${from} cannot be renamed without a loss: ${lost.join('; ')}`);
}
