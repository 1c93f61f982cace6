/**
 * Temporary VMs of restores (R30): created without network and excluded from backups, written and verified by disposables, then
 * renamed. A VM that has its final name has its content; its network comes last, and until then it has the tag.
 */

import * as z from 'zod';
import { BackupError } from '../../../shared/errors.ts';
import { isVmName } from '../../../shared/ids.ts';
import type { VmName } from '../../../shared/ids.ts';
import { TEMPORARY_TAG, VOLUME_NAMES } from '../domains.ts';
import type { Missing, Replaced, Substitutes, VolumeShape } from '../domains.ts';
import { TEMPORARY_NAME, temporaryName } from '../restore-names.ts';
import type { Admin } from './admin/admin.ts';
import type { Journal, StepKind, Transaction, Undone } from './journal.ts';
import { OWN_TAGS } from './new-vm.ts';
import type { Renaming } from './rename.ts';
import { applyVmConfig, finishVmConfig } from './vm-config/apply.ts';
import { findMissing, isBased, planVm } from './vm-config/plan.ts';
import type { NotApplied } from '../not-applied.ts';
import type { Promotions } from '../promotions.ts';
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
  /** The name that it has until then. */
  temporary: z.custom<VmName>((value) => typeof value === 'string' && TEMPORARY_NAME.test(value)),
  config: vmConfigSchema,
  /** UUIDs of the VM that has the name until then, and of the one that takes its place. */
  replaces: z.nullable(z.strictObject({ uuid: z.uuid(), byUuid: z.uuid() })),
});
type PromotedData = z.output<typeof promotedData>;

interface Made {
  readonly finalName: VmName;
  readonly uuid: string | undefined;
  readonly config: VmConfig;
  /** What it was not given when it was made. */
  readonly report: readonly NotApplied[];
  readonly transaction: Transaction;
}

export class TemporaryVms {
  readonly #admin: Admin;
  readonly #journal: Journal;
  readonly #renaming: Renaming;
  readonly #kind: StepKind<MadeData>;
  readonly #steps: StepKind<PromotedData>;
  readonly #promotions: Promotions;
  readonly #made = new Map<VmName, Made>();

  constructor(admin: Admin, journal: Journal, renaming: Renaming, promotions: Promotions) {
    this.#admin = admin;
    this.#journal = journal;
    this.#renaming = renaming;
    this.#promotions = promotions;
    this.#kind = journal.register({
      name: 'temporary-vm',
      schema: madeData,
      survivesReboot: true,
      undo: (data) => this.#remove(data),
    });
    this.#steps = journal.register({
      name: 'promotion',
      schema: promotedData,
      survivesReboot: true,
      undo: (data) => this.#finishLate(data),
    });
  }

  /** See Domains.missing. */
  missing(finalName: VmName, description: Uint8Array): Promise<Missing> {
    return findMissing(this.#admin, parseVmConfig(finalName, description));
  }

  /** See Domains.createTemporary. */
  async create(
    finalName: VmName,
    description: Uint8Array,
    volumes: readonly VolumeShape[],
    substitutes: Substitutes = {},
  ): Promise<VmName> {
    const config = await this.#connected(parseVmConfig(finalName, description), substitutes);
    const name = temporaryName(finalName);
    const { template } = substitutes;
    if (template !== undefined && !isBased(config))
      throw new BackupError(
        'usage',
        `VM ${finalName}: a ${config.klass} has no template: leave out --template`,
      );
    const choice = template === undefined ? 'nearest' : { use: template };
    const { create, report } = await planVm(this.#admin, config, name, choice);
    const transaction = this.#journal.begin();
    try {
      const change = await transaction.write(this.#kind, { name, uuid: null });
      await this.#admin.create(create);
      await this.#admin.setTag(name, TEMPORARY_TAG);
      const uuid = await uuidOf(this.#admin, name);
      await change({ name, uuid: uuid ?? null });
      await this.#admin.setProperty(name, 'netvm', '');
      await this.#admin.setProperty(name, 'include_in_backups', 'False');
      const differing = [...notBackedUp(config, volumes)];
      for (const volume of volumes) differing.push(...(await this.#size(name, volume)));
      const applied = await applyVmConfig(this.#admin, name, config);
      this.#made.set(name, {
        finalName,
        uuid,
        config,
        report: [...report, ...differing, ...applied],
        transaction,
      });
    } catch (error) {
      throw await transaction.rollBackAfter(error);
    }
    return name;
  }

  /** The name that a temporary VM of this process is to get; undefined of any other VM. */
  finalNameOf(name: VmName): VmName | undefined {
    return this.#made.get(name)?.finalName;
  }

  /** Throws `refused` unless this process made it: no other VM's volume is ever written. */
  check(name: VmName): void {
    this.#require(name);
  }

  /**
   * See Domains.promote. A VM that is replaced is decided by its removal, once it is copied to its other name and all refers to the
   * temporary VM: before, all is undone; after, a run that dies leaves the rest to cleanUp().
   */
  async promote(
    name: VmName,
    finalName: VmName,
    replaced?: Replaced,
    note = '',
  ): Promise<readonly NotApplied[]> {
    const { uuid: byUuid = '', config, report, transaction } = this.#require(name);
    const present = await uuidOf(this.#admin, finalName);
    if (present !== replaced?.uuid)
      throw new BackupError(
        'vm-exists',
        replaced === undefined
          ? `there is a VM ${finalName} already; it is not touched. Restore under another name with --as`
          : `VM ${finalName} is not the one any more that was to be replaced; nothing is touched. Look at it and start again`,
      );
    this.#promotions.begin({ temporary: name, uuid: null, note, notApplied: report });
    const replaces = replaced === undefined ? null : { uuid: replaced.uuid, byUuid };
    const promotion = { name: finalName, temporary: name, config, replaces };
    await transaction.write(this.#steps, promotion);
    const known = new Set(report.map(({ part, name: device }) => `${part} ${device}`));
    const lost: NotApplied[] = [];
    if (replaced !== undefined)
      await this.#renaming.setAside(finalName, replaced.keptAs, name, transaction, (all) => {
        lost.push(...all.filter(({ part, name: device }) => !known.has(`${part} ${device}`)));
        this.#promotions.add(name, lost);
      });
    await this.#rename(promotion);
    const finished = await this.#finish(promotion);
    await transaction.commit();
    this.#made.delete(name);
    return [...report, ...lost, ...finished];
  }

  /** See Domains.removeTemporary. */
  async remove(name: VmName): Promise<void> {
    const { transaction } = this.#require(name);
    this.#made.delete(name);
    await transaction.rollBack();
  }

  /** With the network VM that was chosen. Throws `unknown-vm` if there is no such VM. */
  async #connected(config: VmConfig, { netvm }: Substitutes): Promise<VmConfig> {
    if (netvm === undefined) return config;
    if (netvm !== null && (await uuidOf(this.#admin, netvm)) === undefined)
      throw new BackupError(
        'unknown-vm',
        `there is no VM ${netvm} that VM ${config.name} could be connected to`,
      );
    const property = { type: 'vm', value: netvm ?? '' } as const;
    return { ...config, netvm, properties: { ...config.properties, netvm: property } };
  }

  #require(name: VmName): Made {
    const made = this.#made.get(name);
    if (made !== undefined) return made;
    throw new BackupError('refused', `VM ${name} is no temporary VM of this run, and is left alone`);
  }

  /**
   * A volume is never made smaller: qubesd would do that without complaint. A file system is made in it, so it may be larger; a
   * device has then zeros after what it had, which is proven as its content is.
   */
  async #size(name: VmName, { name: volume, mode, size }: VolumeShape): Promise<readonly NotApplied[]> {
    const present = (await this.#admin.volume(name, volume)).size;
    if (present < size) await this.#admin.growVolume(name, volume, size);
    if (present <= size || mode === 'files') return [];
    const why = 'Qubes OS makes none smaller: after what it had there are zeros';
    return [{ part: 'volume', name: volume, wanted: `${size} bytes`, used: `${present} bytes`, why }];
  }

  async #rename({ temporary, name }: PromotedData): Promise<void> {
    await this.#renaming.rename(temporary, name, {
      copied: (uuid) => this.#promotions.identify(temporary, uuid),
    });
  }

  async #finish({ temporary, name, config }: PromotedData): Promise<readonly NotApplied[]> {
    const report = await finishVmConfig(this.#admin, name, config, 'captured');
    this.#promotions.finish(temporary, report);
    await this.#admin.removeTag(name, TEMPORARY_TAG);
    return report;
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

  /**
   * Of a run that died between the rename and the end, or when the VM to be replaced was gone: its content was proven, so it becomes
   * what it was to be.
   */
  async #finishLate(promotion: PromotedData): Promise<Undone> {
    const { name, temporary, replaces } = promotion;
    const found = await uuidOf(this.#admin, name);
    const hasRoom = found === undefined && replaces !== null;
    if (hasRoom && (await uuidOf(this.#admin, temporary)) === replaces.byUuid) await this.#rename(promotion);
    else if (
      found === undefined ||
      found === replaces?.uuid ||
      !(await this.#admin.tags(name)).includes(TEMPORARY_TAG)
    )
      return { outcome: 'nothing', line: `VM ${name} has not been renamed, or is finished` };
    await this.#finish(promotion); // What it does not have is told when the restore is ended.
    return { outcome: 'undone', line: `finished restoring VM ${name}` };
  }
}

/** Volumes that it had, and of which its backup has nothing: the new ones are empty. */
function notBackedUp({ volumes: had }: VmConfig, present: readonly VolumeShape[]): readonly NotApplied[] {
  return VOLUME_NAMES.flatMap((name) => {
    const { size } = had[name] ?? {};
    if (size === undefined || present.some((volume) => volume.name === name)) return [];
    const why = 'the configuration left it out of its backup';
    return [{ part: 'volume', name, wanted: `${size} bytes`, used: 'an empty one', why } as const];
  });
}
