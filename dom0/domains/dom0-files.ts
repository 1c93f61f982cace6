/**
 * Chosen files and folders of dom0 as the private volume of a VM `dom0`, for both drivers. All that reads them, and all that reads their
 * backups, runs in dom0 as a child in a sandbox, without a key and without the network: no other VM is to know what is in dom0, and
 * none is to decide what comes back to it. It sees the chosen paths, read-only, and nothing else of the machine.
 */

import { realpath, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { utf8 } from '../../shared/bytes.ts';
import { BackupError, systemCode } from '../../shared/errors.ts';
import type { VmName } from '../../shared/ids.ts';
import type { Volume } from '../../shared/protocol/disposable.ts';
import { makePrivateFolder } from '../state/files.ts';
import type { Attachment, Disposable, Vm, VolumeMode, VolumeName, VolumeSnapshot } from './domains.ts';
import { canonicalJson } from './json.ts';
import { LocalDisposable } from './local/disposable.ts';
import { maskMounts } from './mounts.ts';
import type { CallTarget, Qrexec } from './local/qrexec.ts';
import type { Bind } from './local/sandbox-spec.ts';
import type { Sandboxes } from './local/sandbox.ts';

export const DOM0 = 'dom0' as VmName;

/** Qubes OS gives each dom0 this one. The dom0 of a repository so is one, on whatever machine: it has no other identity. */
const UUID = '00000000-0000-0000-0000-000000000000';

/** What of dom0 is backed up. Absolute, normalised paths. */
export interface Dom0Paths {
  /** None inside another. */
  readonly chosen: readonly string[];
  /** What no reader may see: state and keys of this program, stores. Need not be there. */
  readonly hidden: readonly string[];
}

export const NO_PATHS: Dom0Paths = { chosen: [], hidden: [] };

/** Where the sandbox has the chosen paths. */
const VOLUME = '/mnt/volume';

interface Parts {
  readonly paths: Dom0Paths;
  readonly qrexec: Qrexec;
  readonly sandboxes: Sandboxes;
  /** A private folder of dom0's own. */
  readonly folder: string;
}

export class Dom0Files {
  readonly #parts: Parts;
  readonly #running = new Set<LocalDisposable>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** As the driver lists it. Without chosen paths it has no volume. */
  get vm(): Vm {
    const volumes: readonly VolumeName[] = this.#parts.paths.chosen.length > 0 ? ['private'] : [];
    const fixed = { name: DOM0, klass: 'AdminVM', uuid: UUID, template: null } as const;
    return { ...fixed, includeInBackups: volumes.length > 0, volumes };
  }

  /** See Domains.readConfig. */
  readConfig(): Uint8Array {
    return utf8(
      canonicalJson({
        ...{ klass: 'AdminVM', uuid: UUID, label: 'black', template: null, netvm: null },
        ...{ include_in_backups: true, tags: [], features: {}, properties: {} },
        paths: this.#parts.paths.chosen,
        volumes: { private: { kind: 'folders', size: 0 } },
      }),
    );
  }

  /** See Domains.snapshotVolume. Nothing freezes files of dom0: what changes while it is read is noted. */
  async snapshot(name: VolumeName, mode: VolumeMode): Promise<VolumeSnapshot> {
    const { chosen } = this.#parts.paths;
    if (name !== 'private' || mode !== 'files')
      throw new BackupError(
        'usage',
        'dom0 has files, and neither blocks nor a root volume: say so in the configuration ([vm.dom0.volumes] private = "files")',
      );
    const present = await presentOf(chosen);
    if (present.length === 0)
      throw new BackupError('io', `dom0: none of what is to be backed up is there: ${chosen.join(', ')}`);
    return new Dom0Snapshot(await capacityOf(present));
  }

  /** See Domains.startDisposable; a folder to extract into is the driver's business. */
  async startDisposable(attachment: Attachment): Promise<Disposable> {
    const { qrexec } = this.#parts;
    const given = attachment.kind === 'nothing' ? { binds: [] } : await this.#given(attachment);
    const target: CallTarget = {
      ...{ name: DOM0, role: 'dvm', policy: { klass: 'AdminVM', tags: [] } },
      ...{ binds: given.binds, home: undefined, image: undefined, capabilities: ['dac_override'] },
    };
    const disposable = new LocalDisposable(
      DOM0,
      given.attached,
      (service) => qrexec.run(target, service),
      () => {
        this.#running.delete(disposable);
        return Promise.resolve();
      },
    );
    this.#running.add(disposable);
    return disposable;
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.#running].map((disposable) => disposable.destroy()));
  }

  async #given(
    attachment: Exclude<Attachment, { kind: 'nothing' }>,
  ): Promise<{ readonly binds: readonly Bind[]; readonly attached?: Volume }> {
    if (attachment.kind !== 'snapshot' || !(attachment.snapshot instanceof Dom0Snapshot))
      throw new BackupError('internal', 'dom0 has no such volume');
    const { paths, sandboxes } = this.#parts;
    const hidden = await hiddenIn(paths);
    const sandboxed = (await sandboxes.mode()) !== 'none';
    const volume = { kind: 'folders' as const, chosen: [...paths.chosen], hidden };
    return sandboxed
      ? { binds: await this.#binds(hidden), attached: { ...volume, path: VOLUME } }
      : { binds: [], attached: { ...volume, path: '/' } };
  }

  /** The chosen paths, and over what is hidden in them something empty. */
  async #binds(hidden: readonly string[]): Promise<readonly Bind[]> {
    const shown = (await presentOf(this.#parts.paths.chosen)).filter(
      (path) => !hidden.some((one) => isWithin(path, one)),
    );
    const empty = join(this.#parts.folder, 'empty');
    makePrivateFolder(empty);
    const masks = hidden.filter((one) => shown.some((path) => isWithin(one, path)));
    const mounts = await maskMounts(
      shown.map((path) => bind(path, path)),
      empty,
    );
    const inHidden = ({ target }: Bind) => hidden.some((path) => isWithin(target, join(VOLUME, path)));
    return [
      ...mounts.filter((one) => !inHidden(one)), // That is masked as a whole.
      ...(await Promise.all(
        masks.map(async (path) => bind((await stat(path)).isDirectory() ? empty : '/dev/null', path)),
      )),
    ];
  }
}

class Dom0Snapshot implements VolumeSnapshot {
  readonly vm = DOM0;
  readonly name = 'private';
  readonly mode = 'files';
  readonly size = 0;
  readonly takenAt = Date.now();
  readonly capacity: number;
  readonly frozen = false;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  release(): Promise<void> {
    return Promise.resolve();
  }
}

/** True if `path` is `folder` itself or below it. */
export function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

function bind(source: string, path: string): Bind {
  return { source, target: join(VOLUME, path), writable: false };
}

/** Those of `paths` that are files or folders, and to which no symlink leads. Of the others the reader says that they are missing. */
async function presentOf(paths: readonly string[]): Promise<readonly string[]> {
  const present = await Promise.all(
    paths.map(async (path) => {
      const found = (await realPathOf(path)) === path ? await stat(path) : undefined;
      return found?.isFile() === true || found?.isDirectory() === true ? [path] : [];
    }),
  );
  return present.flat();
}

/** What of `hidden` is there and in a chosen path, or around one. */
async function hiddenIn({ chosen, hidden }: Dom0Paths): Promise<string[]> {
  const real = (await Promise.all(hidden.map(realPathOf))).filter((path) => path !== undefined);
  return [...new Set(real)].filter((path) =>
    chosen.some((one) => isWithin(path, one) || isWithin(one, path)),
  );
}

/** Undefined of what is not there, or cannot be reached. */
async function realPathOf(path: string): Promise<string | undefined> {
  try {
    return await realpath(path);
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return undefined;
  }
}

/** Bytes that the file systems of `paths` can hold. */
async function capacityOf(paths: readonly string[]): Promise<number> {
  const sizes = new Map<number, number>();
  for (const path of paths) {
    const { blocks, bsize } = await statfs(path);
    sizes.set((await stat(path)).dev, blocks * bsize);
  }
  return [...sizes.values()].reduce((sum, size) => sum + size, 0);
}
