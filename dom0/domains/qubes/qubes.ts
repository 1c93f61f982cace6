/** The driver for Qubes OS: VMs by qubesd, services by qrexec-client, volumes by the tools of their pools. */

import { realpathSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { BackupError } from '../../../shared/errors.ts';
import type { VmName } from '../../../shared/ids.ts';
import type { Volume } from '../../../shared/protocol/disposable.ts';
import type {
  Attachment,
  Disposable,
  Domains,
  Missing,
  Replaced,
  ServiceCall,
  Substitutes,
  Vm,
  VolumeMode,
  VolumeName,
  VolumeShape,
  VolumeSnapshot,
} from '../domains.ts';
import { Qrexec, storageTarget } from '../local/qrexec.ts';
import { Sandboxes } from '../local/sandbox.ts';
import { PROGRAM } from '../../program.ts';
import { makePrivateFolder } from '../../state/files.ts';
import { DOM0, Dom0Files, NO_PATHS } from '../dom0-files.ts';
import type { Dom0Paths } from '../dom0-files.ts';
import type { Finding } from '../finding.ts';
import type { NotApplied } from '../not-applied.ts';
import { Promotions } from '../promotions.ts';
import type { Promoted } from '../promotions.ts';
import type { PolicyFolders } from '../policy-loader.ts';
import { requireFolder } from '../stat.ts';
import type { Admin } from './admin/admin.ts';
import type { Agent } from './agent.ts';
import { AppMenus } from './app-menus.ts';
import { Disposables } from './disposable.ts';
import type { DisposableSettings } from './disposable.ts';
import { ensureDvmTemplate, templateLike } from './dvm-template.ts';
import { examineQubes } from './examine.ts';
import { listVms } from './inventory.ts';
import type { Journal } from './journal.ts';
import { Renaming } from './rename.ts';
import { replaceable } from './replaceable.ts';
import { RunningVms } from './running-vms.ts';
import type { QubesCalls } from './service-call.ts';
import { TemporaryVms } from './temporary.ts';
import type { ToolRunner } from './tools/tools.ts';
import { applyAgain } from './vm-config/apply.ts';
import { captureVmConfig, readSystemFacts } from './vm-config/capture.ts';
import type { SystemFacts } from './vm-config/capture.ts';
import { encodeVmConfig } from './vm-config/vm-config.ts';
import { syncVm } from './vm-sync.ts';
import { describeVolume } from './volumes/pool-volume.ts';
import { Volumes } from './volumes/volumes.ts';
import type { HeldVolume, VolumesOptions } from './volumes/volumes.ts';

export interface QubesOptions {
  readonly admin: Admin;
  readonly tools: ToolRunner;
  readonly calls: QubesCalls;
  /** In dom0's state, of which one process at a time is the user. */
  readonly journal: Journal;
  /** See Disposables. */
  readonly agent?: Agent;
  /** A private folder for what runs in dom0 itself. */
  readonly stateFolder: string;
  /** What a disposable for a VM's data is made of, where that is not the one of its template. */
  readonly disposable?: (vm: { name: string; template: string | null }) => Partial<DisposableSettings>;
  readonly warn: (text: string) => void;
  /** What of dom0 itself is backed up; default: nothing. */
  readonly dom0?: Dom0Paths;
  /** For tests. */
  readonly policy?: PolicyFolders;
  readonly volumes?: Pick<VolumesOptions, 'root' | 'patience'>;
}

export class QubesDomains implements Domains {
  readonly #options: QubesOptions;
  readonly #admin: Admin;
  readonly #volumes: Volumes;
  readonly #disposables: Disposables;
  readonly #temporary: TemporaryVms;
  readonly #promotions: Promotions;
  readonly #vms: RunningVms;
  /** Runs services in dom0 itself. */
  readonly #own: Qrexec;
  readonly #dom0: Dom0Files;
  readonly #running = new Set<Disposable>();
  /** Read once a run. */
  #facts: Promise<SystemFacts> | undefined;
  /** By template: made, or set as they must be, once a run. */
  readonly #dvmTemplates = new Map<string, Promise<VmName>>();

  constructor(options: QubesOptions) {
    const { admin, tools, calls, journal, stateFolder, warn } = options;
    this.#options = options;
    this.#admin = admin;
    this.#volumes = new Volumes({ tools, journal, admin, ...options.volumes });
    this.#disposables = new Disposables(admin, calls, journal, options.agent);
    const renaming = new Renaming(admin, journal, new AppMenus(tools, warn));
    this.#promotions = new Promotions(join(stateFolder, 'promoted'));
    this.#temporary = new TemporaryVms(admin, journal, renaming, this.#promotions);
    this.#vms = new RunningVms(admin, calls);
    const program = realpathSync(PROGRAM);
    const mountPoint = join(stateFolder, 'root');
    makePrivateFolder(mountPoint);
    const sandboxes = new Sandboxes('auto', mountPoint);
    this.#own = new Qrexec(program, join(program, 'policies'), sandboxes);
    const paths = options.dom0 ?? NO_PATHS;
    this.#dom0 = new Dom0Files({ paths, qrexec: this.#own, sandboxes, folder: stateFolder });
  }

  async list(): Promise<readonly Vm[]> {
    const vms = await listVms(this.#admin, ({ name, class: klass }) =>
      this.#options.warn(`VM ${name} is ignored: this program knows nothing of the class ${klass}`),
    );
    return vms.map((vm) => (vm.klass === 'AdminVM' ? this.#dom0.vm : vm));
  }

  async readConfig(vm: VmName): Promise<Uint8Array> {
    if (vm === DOM0) return this.#dom0.readConfig();
    return encodeVmConfig(await captureVmConfig(this.#admin, vm, await this.#systemFacts()));
  }

  async snapshotVolume(vm: VmName, name: VolumeName, mode: VolumeMode): Promise<VolumeSnapshot> {
    if (vm === DOM0) return this.#dom0.snapshot(name, mode);
    const note = await syncVm(this.#admin, this.#options.calls, vm);
    if (note !== undefined) this.#options.warn(note);
    const volume = await describeVolume(this.#admin, vm, name);
    const takenAt = Date.now();
    const held = await this.#volumes.snapshot(volume, 'current');
    if (volume.running && held.state === 'committed')
      this.#options.warn(
        `VM ${vm}: its ${name} volume is backed up as it was at the last shutdown: the pool ${volume.pool.name} (${volume.pool.driver}) ` +
          'shows no later state of a VM that runs',
      );
    return new QubesSnapshot({ vm, name, mode, size: volume.size, takenAt }, held);
  }

  async startDisposable(vm: VmName, attachment: Attachment): Promise<Disposable> {
    if (attachment.kind === 'folder')
      throw new BackupError(
        'usage',
        'dom0 unpacks nothing on Qubes OS: extract with --into-vm, or with --tar as one opaque file',
      );
    if (vm === DOM0) return this.#dom0.startDisposable(attachment);
    const settings = await this.#settingsFor(vm);
    const given = await this.#given(vm, attachment);
    try {
      const started = await this.#disposables.start(vm, settings, (name) => given.attach(name));
      const disposable: Disposable = {
        name: started.name,
        attached: started.attached,
        call: (service) => started.call(service),
        destroy: async () => {
          this.#running.delete(disposable);
          await started.destroy();
          await given.release();
        },
      };
      this.#running.add(disposable);
      return disposable;
    } catch (error) {
      await given.release();
      throw error;
    }
  }

  async prepareStorage(storageVm: string): Promise<void> {
    if ((await this.#admin.list()).some(({ name }) => name === storageVm)) return;
    throw noStorageVm(storageVm);
  }

  callStorage(storageVm: string, service: string): Promise<ServiceCall> {
    return this.#vms.call(storageVm, service, '', noStorageVm(storageVm));
  }

  async callFolder(name: string, folder: string, service: string): Promise<ServiceCall> {
    await requireFolder(folder, `the store ${name} is not there`);
    return this.#own.run(
      storageTarget(name, { klass: 'AdminVM', tags: [] }, await realpath(folder)),
      service,
    );
  }

  callVm(vm: VmName, service: string, argument: string): Promise<ServiceCall> {
    return this.#vms.call(vm, service, argument, new BackupError('unknown-vm', `there is no VM ${vm}`));
  }

  missing(finalName: VmName, config: Uint8Array): Promise<Missing> {
    return this.#temporary.missing(finalName, config);
  }

  createTemporary(
    finalName: VmName,
    config: Uint8Array,
    volumes: readonly VolumeShape[],
    substitutes?: Substitutes,
  ): Promise<VmName> {
    return this.#temporary.create(finalName, config, volumes, substitutes);
  }

  replaceable(vm: VmName): Promise<Replaced> {
    return replaceable(this.#admin, vm, Date.now());
  }

  promote(
    temporary: VmName,
    finalName: VmName,
    replaced?: Replaced,
    note?: string,
  ): Promise<readonly NotApplied[]> {
    return this.#temporary.promote(temporary, finalName, replaced, note);
  }

  async promoted(): Promise<readonly Promoted[]> {
    return this.#promotions.isEmpty ? [] : this.#promotions.among(await this.list());
  }

  keepNotApplied(temporary: VmName, notApplied: readonly NotApplied[]): void {
    this.#promotions.keep(temporary, notApplied);
  }

  forgetPromoted(temporary: VmName): void {
    this.#promotions.forget(temporary);
  }

  applyAgain(vm: VmName, notApplied: readonly NotApplied[]): Promise<readonly NotApplied[]> {
    return applyAgain(this.#admin, vm, notApplied);
  }

  removeTemporary(temporary: VmName): Promise<void> {
    return this.#temporary.remove(temporary);
  }

  examine(vms: readonly Vm[], storageVms: readonly string[]): Promise<readonly Finding[]> {
    const { admin, agent, policy, disposable = () => ({}) } = this.#options;
    const startDisposable = (vm: VmName) => this.startDisposable(vm, { kind: 'nothing' });
    return examineQubes({ admin, agent, policy, chosen: disposable, startDisposable }, vms, storageVms);
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.#running].map((disposable) => disposable.destroy()));
    await this.#dom0.stopAll();
    await Promise.all([this.#options.calls.stopAll(), this.#own.stopAll()]);
  }

  cleanUp(): Promise<readonly string[]> {
    return this.#options.journal.cleanUp();
  }

  /**
   * By default of the template of the VM that it reads (R04); a VM without one must have been given one. For the backups of a VM
   * that is gone, of the system's default template.
   */
  async #settingsFor(vm: VmName): Promise<DisposableSettings> {
    const isThere = (await this.#admin.list()).some(({ name }) => name === vm);
    if (!isThere) {
      const { template, ...others } = this.#options.disposable?.({ name: vm, template: null }) ?? {};
      return {
        ...others,
        template: template ?? (await this.#dvmTemplate(vm, await templateLike(this.#admin, ''))),
      };
    }
    const properties = await this.#admin.properties(vm);
    const isTemplate = properties.get('klass')?.value === 'TemplateVM';
    const restored = this.#temporary.finalNameOf(vm);
    const name = restored ?? vm;
    const own = isTemplate ? name : (properties.get('template')?.value ?? '');
    const { template, ...others } =
      this.#options.disposable?.({ name, template: own === '' ? null : own }) ?? {};
    if (template !== undefined) return { ...others, template };
    // What is being restored cannot start yet: one that is like it.
    const base = isTemplate && restored !== undefined ? await templateLike(this.#admin, restored) : own;
    return { ...others, template: await this.#dvmTemplate(name, base) };
  }

  async #systemFacts(): Promise<SystemFacts> {
    this.#facts ??= readSystemFacts(this.#admin);
    try {
      return await this.#facts;
    } catch (error) {
      this.#facts = undefined;
      throw error;
    }
  }

  /** Ours for the template `base`; `name` is the VM that it is for. */
  #dvmTemplate(name: VmName, base: string): Promise<VmName> {
    if (base === '')
      throw new BackupError(
        'usage',
        `VM ${name} has no template: say in the configuration which disposables read it ([vm.${name}.disposable] template)`,
      );
    let ready = this.#dvmTemplates.get(base);
    if (ready === undefined) {
      ready = ensureDvmTemplate(this.#admin, base);
      this.#dvmTemplates.set(base, ready);
    }
    return ready;
  }

  /** What a disposable is handed, and how that is given back. */
  async #given(vm: VmName, attachment: Exclude<Attachment, { kind: 'folder' }>): Promise<Given> {
    switch (attachment.kind) {
      case 'nothing':
        return { attach: () => Promise.resolve(undefined), release: () => Promise.resolve() };
      case 'snapshot': {
        const { snapshot } = attachment;
        if (!(snapshot instanceof QubesSnapshot) || snapshot.vm !== vm)
          throw new BackupError('internal', `the snapshot is not one of VM ${vm}`);
        return {
          attach: (name) => attachTo(name, snapshot.held, snapshot.mode),
          release: () => Promise.resolve(),
        };
      }
      case 'volume': {
        this.#temporary.check(attachment.vm);
        const volume = await describeVolume(this.#admin, attachment.vm, attachment.volume);
        const held = await this.#volumes.open(volume, attachment.writable);
        return { attach: (name) => attachTo(name, held, attachment.mode), release: () => held.release() };
      }
    }
  }
}

interface Given {
  attach(disposable: VmName): Promise<Volume | undefined>;
  release(): Promise<void>;
}

async function attachTo(disposable: VmName, held: HeldVolume, mode: VolumeMode): Promise<Volume> {
  const path = await held.attach(disposable, mode);
  return { kind: mode === 'files' ? 'disk' : 'blocks', path };
}

class QubesSnapshot implements VolumeSnapshot {
  readonly vm: VmName;
  readonly name: VolumeName;
  readonly mode: VolumeMode;
  readonly size: number;
  readonly takenAt: number;
  readonly capacity: number;
  readonly frozen = true;
  readonly held: HeldVolume;

  constructor(of: Pick<VolumeSnapshot, 'vm' | 'name' | 'mode' | 'size' | 'takenAt'>, held: HeldVolume) {
    this.vm = of.vm;
    this.name = of.name;
    this.mode = of.mode;
    this.size = of.size;
    this.takenAt = of.takenAt;
    this.capacity = of.size;
    this.held = held;
  }

  release(): Promise<void> {
    return this.held.release();
  }
}

function noStorageVm(name: string): BackupError {
  return new BackupError(
    'store-missing',
    `there is no VM ${name} to store backups in: create it and install the storage services there (docs/install-qubes.md)`,
  );
}
