/**
 * Temporary VMs of restores (R30). Each has a journal entry, on disk before its folder is made and until it has its
 * final name or is gone, and its vm.json carries a tag. Nothing that lacks either is ever removed.
 *
 * Promotion takes the final name by mkdir, which refuses any existing one, and renames over that empty folder, which
 * refuses one that was filled meanwhile: no existing VM can be replaced, whoever else is at work. The configuration
 * follows the name; until then the VM has no network and is excluded from backups. A VM that is replaced gets its other name first;
 * while the temporary VM has not the name, cleaning up gives it back.
 */

import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { BackupError, isBackupError, systemCode } from '../../../shared/errors.ts';
import { isVmName } from '../../../shared/ids.ts';
import type { VmName } from '../../../shared/ids.ts';
import { MAX_VM_CONFIG } from '../../../shared/limits.ts';
import { TEMPORARY_TAG } from '../domains.ts';
import type { Replaced, Substitutes, VolumeShape } from '../domains.ts';
import { keptName, temporaryName } from '../restore-names.ts';
import { canonicalJson } from '../json.ts';
import type { Promotions } from '../promotions.ts';
import { statOf } from '../stat.ts';
import { readText, removeTree, removeUnfinished, syncFolder, writeDurably } from './files.ts';
import { makeVolume, planVolumes } from './new-volume.ts';
import { parseDescription, readVm, vmConfigSchema } from './vms.ts';

const vmName = z.custom<VmName>((value) => typeof value === 'string' && isVmName(value));
const entrySchema = z.strictObject({
  name: vmName,
  /** Of the temporary VM and of the final one. */
  uuid: z.uuid(),
  /** Set while the VM is on the way to its final name. */
  promotedTo: z.nullable(vmName),
  /** The VM that has this name until then, and is kept under another one. */
  replaces: z.nullable(z.strictObject({ uuid: z.uuid(), keptAs: vmName })),
  /** vm.json of the final VM. */
  config: vmConfigSchema,
});
type Entry = z.output<typeof entrySchema>;

export class TemporaryVms {
  readonly #vms: string;
  readonly #journal: string;
  readonly #promotions: Promotions;
  readonly #warn: (text: string) => void;

  /** `journal`: a folder of dom0's state. `warn` is told where a volume cannot be made as it was. */
  constructor(vms: string, journal: string, promotions: Promotions, warn: (text: string) => void) {
    this.#vms = vms;
    this.#journal = journal;
    this.#promotions = promotions;
    this.#warn = warn;
  }

  /** See Domains.createTemporary. */
  async create(
    finalName: VmName,
    description: Uint8Array,
    volumes: readonly VolumeShape[],
    { template, netvm }: Substitutes = {},
  ): Promise<VmName> {
    const { config: described, volumes: kinds } = parseDescription(description);
    const made = planVolumes(finalName, volumes, kinds);
    const uuid = randomUUID();
    const entry: Entry = {
      name: temporaryName(finalName),
      uuid,
      ...{ promotedTo: null, replaces: null },
      config: {
        ...{ ...described, uuid },
        ...(template === undefined ? {} : { template }),
        ...(netvm === undefined ? {} : { netvm }),
      },
    };
    const folder = join(this.#vms, entry.name);
    await mkdir(this.#vms, { recursive: true });
    await mkdir(this.#journal, { recursive: true, mode: 0o700 });
    await this.#write(entry);
    await mkdir(folder, { mode: 0o700 });
    const config = {
      ...entry.config,
      netvm: null,
      include_in_backups: false,
      tags: [...entry.config.tags.filter((tag) => tag !== TEMPORARY_TAG), TEMPORARY_TAG],
    };
    await writeDurably(join(folder, 'vm.json'), canonicalJson(config));
    for (const volume of made) await makeVolume(finalName, folder, volume, this.#warn);
    await syncFolder(folder);
    await syncFolder(this.#vms);
    return entry.name;
  }

  /** See Domains.replaceable. Nothing here tells whether a VM runs, and all that refers to one does so by its name. */
  async replaceable(name: VmName): Promise<Replaced> {
    const { uuid } = await readVm(this.#vms, name);
    const taken = await readdir(this.#vms);
    return { name, uuid, keptAs: keptName(name, taken, Date.now()), references: [] };
  }

  /** See Domains.promote. Throws `vm-exists` if the name is taken; the temporary VM is then as before. */
  async promote(temporary: VmName, finalName: VmName, replaced?: Replaced, note = ''): Promise<void> {
    const entry = await this.#require(temporary);
    const final = join(this.#vms, finalName);
    if (replaced === undefined) {
      if ((await statOf(final)) !== undefined) throw nameTaken(finalName);
    } else if (!(await this.#isVm(finalName, replaced.uuid))) throw notReplaced(finalName);
    const replaces = replaced === undefined ? null : { uuid: replaced.uuid, keptAs: replaced.keptAs };
    const promoted: Entry = { ...entry, promotedTo: finalName, replaces };
    this.#promotions.begin({ temporary, uuid: entry.uuid, note, notApplied: [] });
    await this.#write(promoted);
    try {
      if (replaces !== null) await this.#moveTo(final, replaces.keptAs);
      await this.#moveTo(join(this.#vms, temporary), finalName);
    } catch (error) {
      // Once it has moved, it stays: what failed came after, and remove() or cleanUp() finish it.
      if ((await statOf(join(this.#vms, temporary))) === undefined) throw error;
      await this.#giveBack(promoted);
      await this.#write(entry);
      throw error;
    }
    await this.#finish(entry, finalName);
  }

  /** Gives a VM's folder a name that nobody has. Throws `vm-exists`. */
  async #moveTo(folder: string, name: VmName): Promise<void> {
    try {
      await mkdir(join(this.#vms, name));
    } catch (error) {
      throw systemCode(error) === 'EEXIST' ? nameTaken(name) : error;
    }
    try {
      await rename(folder, join(this.#vms, name));
    } catch (error) {
      await this.#releaseName(name);
      throw systemCode(error) === 'ENOTEMPTY' ? nameTaken(name) : error; // Filled meanwhile: not ours any more.
    }
    await syncFolder(this.#vms);
  }

  /** Gives the VM that was to be replaced its name back, unless somebody took that meanwhile. */
  async #giveBack({ promotedTo, replaces }: Entry): Promise<void> {
    if (promotedTo === null || replaces === null) return;
    if ((await statOf(join(this.#vms, promotedTo))) !== undefined) return;
    if (await this.#isVm(replaces.keptAs, replaces.uuid))
      await this.#moveTo(join(this.#vms, replaces.keptAs), promotedTo);
  }

  /** Throws `refused` unless the VM is a temporary one: no other is ever attached to a disposable. */
  async check(name: VmName): Promise<void> {
    await this.#require(name);
  }

  /** See Domains.removeTemporary. */
  async remove(temporary: VmName): Promise<void> {
    const entry = await this.#require(temporary);
    const hasItsName = await this.#hasItsName(entry);
    const done = await this.#end(entry);
    if (hasItsName) this.#warn(done);
  }

  /** Brings every journalled VM of runs that died to an end; answers a line for each. */
  async cleanUp(): Promise<readonly string[]> {
    const done: string[] = [];
    for (const file of await this.#files()) {
      try {
        const entry = await this.#read(file);
        if (entry !== undefined) done.push(await this.#end(entry));
        else await rm(join(this.#journal, file)); // Cut short before its rename: nothing was made yet.
      } catch (error) {
        // A leftover that resists must not keep every later backup from running: it is named each time.
        if (!isBackupError(error)) throw error;
        done.push(error.message);
      }
    }
    return done;
  }

  async #end(entry: Entry): Promise<string> {
    const { name, promotedTo } = entry;
    if (promotedTo !== null && (await this.#hasItsName(entry))) {
      await removeUnfinished(join(this.#vms, promotedTo, 'vm.json'));
      await this.#finish(entry, promotedTo);
      return `finished the restore of VM ${promotedTo}, which was verified and had its name already`;
    }
    for (const reserved of [promotedTo, entry.replaces?.keptAs ?? null])
      if (reserved !== null) await this.#releaseName(reserved);
    await this.#giveBack(entry);
    if ((await statOf(join(this.#vms, name))) !== undefined) {
      if (!(await this.#isMarked(entry))) {
        await this.#forget(entry);
        return `left VM ${name} alone: a restore that did not end made it, but its vm.json says otherwise now`;
      }
      await removeTree(join(this.#vms, name));
      await syncFolder(this.#vms);
    }
    await this.#forget(entry);
    return `removed the temporary VM ${name} of a restore that did not end`;
  }

  /** True once its folder was renamed: it is to be finished then, never removed. */
  async #hasItsName({ name, uuid, promotedTo }: Entry): Promise<boolean> {
    if (promotedTo === null || (await statOf(join(this.#vms, name))) !== undefined) return false;
    return this.#isVm(promotedTo, uuid);
  }

  /** Gives a renamed VM its configuration, and forgets that it was temporary. */
  async #finish(entry: Entry, finalName: VmName): Promise<void> {
    await syncFolder(this.#vms);
    await writeDurably(join(this.#vms, finalName, 'vm.json'), canonicalJson(entry.config));
    this.#promotions.finish(entry.name);
    await this.#forget(entry);
  }

  /** Removes the empty folder that reserved a name, if it still is empty. */
  async #releaseName(name: VmName): Promise<void> {
    try {
      await rmdir(join(this.#vms, name));
    } catch (error) {
      if (!['ENOENT', 'ENOTEMPTY', 'ENOTDIR'].includes(systemCode(error) ?? '')) throw error; // Not ours.
    }
  }

  /** The entry of a VM that is temporary beyond doubt. Throws `refused`. */
  async #require(name: VmName): Promise<Entry> {
    const entry = await this.#read(`${name}.json`);
    if (entry === undefined || !(await this.#isMarked(entry))) throw notTemporary(name);
    return entry;
  }

  /** True for a tagged VM of the journal's UUID, and for one that was not finished: a folder without vm.json. */
  async #isMarked(entry: Entry): Promise<boolean> {
    const folder = join(this.#vms, entry.name);
    if ((await statOf(join(folder, 'vm.json'))) === undefined) {
      const names = (await statOf(folder))?.isDirectory() === true ? await readdir(folder) : [];
      return names.every((name) => name.startsWith('vm.json.'));
    }
    const vm = await readVm(this.#vms, entry.name);
    return vm.config.uuid === entry.uuid && vm.config.tags.includes(TEMPORARY_TAG);
  }

  async #isVm(name: VmName, uuid: string): Promise<boolean> {
    if ((await statOf(join(this.#vms, name)))?.isDirectory() !== true) return false;
    return (await readVm(this.#vms, name)).uuid === uuid;
  }

  async #files(): Promise<readonly string[]> {
    if ((await statOf(this.#journal)) === undefined) return [];
    return (await readdir(this.#journal)).sort();
  }

  async #read(file: string): Promise<Entry | undefined> {
    if (!file.endsWith('.json')) return undefined;
    const path = join(this.#journal, file);
    const text = await readText(path, 2 * MAX_VM_CONFIG);
    if (text === undefined) return undefined;
    try {
      return entrySchema.parse(JSON.parse(text));
    } catch (cause) {
      throw new BackupError(
        'io',
        `${path} is damaged; look whether ${join(this.#vms, file.slice(0, -5))} is left over, then remove both`,
        {
          cause,
        },
      );
    }
  }

  #write(entry: Entry): Promise<void> {
    return writeDurably(join(this.#journal, `${entry.name}.json`), canonicalJson(entry));
  }

  async #forget(entry: Entry): Promise<void> {
    await rm(join(this.#journal, `${entry.name}.json`));
    await syncFolder(this.#journal);
  }
}

function nameTaken(name: VmName): BackupError {
  return new BackupError(
    'vm-exists',
    `there is a VM ${name} already; it is not touched. Restore under another name with --as`,
  );
}

function notReplaced(name: VmName): BackupError {
  return new BackupError(
    'vm-exists',
    `VM ${name} is not the one any more that was to be replaced; nothing is touched. Look at it and start again`,
  );
}

function notTemporary(name: VmName): BackupError {
  return new BackupError(
    'refused',
    `VM ${name} is not a temporary VM of a restore; it is not removed or renamed`,
  );
}
