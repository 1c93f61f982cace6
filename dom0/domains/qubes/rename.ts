/**
 * Gives a halted VM another name. Qubes OS has no call for that: as Qube Manager does it, a VM of the new name is made with the
 * same configuration and clones of the volumes, all that refers to the old one is pointed at it, and the old one is removed. Or,
 * where the old one makes room for a successor, all that refers to it is pointed at that.
 *
 * Each step is in the journal before it is done. To remove the old VM is the last one, and what decides: while it is there all is
 * undone, once it is gone the new one is the VM.
 */

import * as z from 'zod';
import { BackupError } from '../../../shared/errors.ts';
import { TEMPORARY_TAG } from '../domains.ts';
import type { Admin } from './admin/admin.ts';
import type { AppMenus } from './app-menus.ts';
import { References } from './dependents.ts';
import type { Journal, StepKind, Transaction, Undone } from './journal.ts';
import { OWN_TAGS } from './new-vm.ts';
import { LATE_FEATURES, applyVmConfig, finishVmConfig } from './vm-config/apply.ts';
import { captureVmConfig, readSystemFacts } from './vm-config/capture.ts';
import { planVm } from './vm-config/plan.ts';
import { describeNotApplied } from '../not-applied.ts';
import type { NotApplied } from '../not-applied.ts';
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

/** Who is told of a renaming while it is under way. */
export interface RenameListener {
  readonly progress?: (step: string) => void;
  /** Throws to have all undone. */
  readonly copied?: (uuid: string) => void;
}

export class Renaming {
  readonly #admin: Admin;
  readonly #journal: Journal;
  readonly #menus: Pick<AppMenus, 'copy'>;
  readonly #references: References;
  readonly #copies: StepKind<CopyData>;

  constructor(admin: Admin, journal: Journal, menus: Pick<AppMenus, 'copy'>) {
    this.#admin = admin;
    this.#journal = journal;
    this.#menus = menus;
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
   * what went wrong after all was undone. `copied` is told the UUID of the new VM while the old one is there.
   */
  async rename(
    from: string,
    to: string,
    { progress = () => undefined, copied = () => undefined }: RenameListener = {},
  ): Promise<readonly NotApplied[]> {
    const config = await this.#check(from, to);
    const transaction = this.#journal.begin();
    try {
      const { report, uuid } = await this.#copy(config, to, transaction, progress);
      copied(uuid);
      await this.#replace(from, to, transaction, progress);
      if (!config.tags.includes(TEMPORARY_TAG)) await this.#admin.removeTag(to, TEMPORARY_TAG);
      await transaction.commit();
      return report;
    } catch (error) {
      throw await transaction.rollBackAfter(error);
    }
  }

  /**
   * Makes room for `successor`, a VM that is to have the name `vm`: renames that to `keptAs`, where it starts nothing by itself and is
   * in no backup, and points all that refers to it at `successor`. Until the old VM is removed, which is the last step, rolling back
   * `transaction` undoes all of it; after that, nothing. `lost` is told what rename() answers, while the old VM is there. Throws what
   * rename() does.
   */
  async setAside(
    vm: string,
    keptAs: string,
    successor: string,
    transaction: Transaction,
    lost: (report: readonly NotApplied[]) => void,
  ): Promise<void> {
    const { report } = await this.#copy(atRest(await this.#check(vm, keptAs)), keptAs, transaction);
    await this.#menus.copy(vm, successor);
    lost(report);
    await this.#replace(vm, successor, transaction);
    await this.#admin.removeTag(keptAs, TEMPORARY_TAG);
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

  /** Makes the VM `to` of the configuration and the volumes of another one. */
  async #copy(
    config: VmConfig,
    to: string,
    transaction: Transaction,
    progress: (step: string) => void = () => undefined,
  ): Promise<{ readonly report: readonly NotApplied[]; readonly uuid: string }> {
    const { name: from, uuid: fromUuid } = config;
    const temporary = config.tags.includes(TEMPORARY_TAG);
    const { create, report: planned } = await planVm(this.#admin, config, to, 'refuse');
    refuseLoss(from, planned);
    progress(`creating VM ${to}`);
    const change = await transaction.write(this.#copies, { name: to, uuid: null, from, fromUuid, temporary });
    await this.#admin.create(create);
    await this.#admin.setTag(to, TEMPORARY_TAG);
    const uuid = await uuidOf(this.#admin, to);
    if (uuid === undefined) throw new BackupError('unknown-vm', `VM ${to} was removed while it was made`);
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
    await this.#menus.copy(from, to);
    return { report, uuid };
  }

  /** Removes a VM, once all that refers to it refers to another one. */
  async #replace(
    from: string,
    to: string,
    transaction: Transaction,
    progress: (step: string) => void = () => undefined,
  ): Promise<void> {
    progress(`pointing what refers to VM ${from} at VM ${to}`);
    await this.#references.repoint(from, to, transaction);
    progress(`removing VM ${from}`);
    await this.#admin.remove(from);
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

/** The same VM, but in no backup, and nothing starts it or disposables of it. */
function atRest(config: VmConfig): VmConfig {
  const without = <T>(entries: Readonly<Record<string, T>>, names: readonly string[]) =>
    Object.fromEntries(Object.entries(entries).filter(([name]) => !names.includes(name)));
  return {
    ...config,
    include_in_backups: false,
    properties: without(config.properties, ['autostart', 'include_in_backups']),
    features: without(config.features, LATE_FEATURES),
  };
}

/** A renamed VM is the same one: what it would lose stops it. Devices are for a person to assign. */
function refuseLoss(from: string, report: readonly NotApplied[]): void {
  const lost = report.filter(({ part }) => part !== 'device').map(describeNotApplied);
  if (lost.length > 0)
    throw new BackupError('refused', `VM ${from} cannot be renamed without a loss: ${lost.join('; ')}`);
}
