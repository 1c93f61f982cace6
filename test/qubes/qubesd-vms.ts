/** VMs of the stand-in for qubesd from their creation to their end. Source: qubes/vm/qubesvm.py, dispvm.py, qubes/api/admin.py. */

import { randomInt, randomUUID } from 'node:crypto';
import {
  QubesException,
  Unhandled,
  noSuchVm,
  notHalted,
  notStarted,
  propertyValueError,
  protocolError,
  vmInUse,
} from './qubesd-exception.ts';
import { checkName } from './qubesd-names.ts';
import { globalValue } from './qubesd-global-properties.ts';
import { dependents, vmValue } from './qubesd-properties.ts';
import type { Klass, Store, VmState } from './qubesd-state.ts';
import type { Volumes } from './qubesd-volumes.ts';

export type Emit = (subject: string, event: string, details?: Readonly<Record<string, string>>) => void;

const CREATED = ['created-by-dom0', 'guivm-dom0', 'audiovm-dom0'];

export class Vms {
  readonly #store: Store;
  readonly #volumes: Volumes;
  readonly #emit: Emit;

  constructor(store: Store, volumes: Volumes, emit: Emit) {
    this.#store = store;
    this.#volumes = volumes;
    this.#emit = emit;
  }

  /** admin.vm.Create and CreateInPool: `payload` is `name=N label=L` and perhaps pools. */
  create(klass: Klass, template: string, payload: string, inPool: boolean): void {
    if (template !== '' && klass !== 'AppVM' && klass !== 'DispVM')
      throw protocolError(`${klass} cannot be based on template`);
    const options = this.#options(payload, inPool);
    const { name, label, pools, pool } = options;
    if (name === undefined) throw protocolError('Creation requested without key: name');
    if (label === undefined) throw protocolError('Creation requested without key: label');
    if (pool !== undefined && Object.keys(pools).length > 0)
      throw protocolError("Conflicting options specified: 'pool=', 'pool:volume='");
    if (this.#store.find(name) !== undefined)
      throw new QubesException('QubesVMAlreadyExistsError', `Qube already exists: ${name}`);
    if (template !== '' && this.#store.find(template) === undefined) throw noSuchVm(template);
    if (options.wrongPool !== undefined)
      throw new QubesException('QubesException', `Unknown storage pool ${options.wrongPool}`);
    const base = this.#template(klass, template);
    const everywhere = pool === undefined ? {} : this.#everywhere(klass, pool);
    this.#add({ klass, name, label, base, pools: { ...everywhere, ...pools }, tags: CREATED });
  }

  /** admin.vm.CreateDisposable: the name. One is handed out running where the template preloads them (4.3). */
  async createDisposable(base: VmState): Promise<string> {
    if (vmValue(this.#store, base, 'template_for_dispvms') !== 'True') {
      throw new QubesException(
        'QubesException',
        'Refusing to create disposable out of app qube which has template_for_dispvms=False',
      );
    }
    let name: string;
    do name = `disp${randomInt(1, 10_000)}`;
    while (this.#store.find(name) !== undefined);
    const label = vmValue(this.#store, base, 'label') ?? 'red';
    const tags = [...CREATED, 'disp-created-by-dom0'];
    const vm = this.#add({ klass: 'DispVM', name, label, base, pools: {}, tags });
    vm.properties['auto_cleanup'] = 'True';
    if (Number(base.features['preload-dispvm-max'] ?? 0) > 0) await this.start(vm);
    return name;
  }

  /** Returns when the VM runs. */
  async start(vm: VmState): Promise<void> {
    if (vm.power !== 'Halted') return;
    const rationale = vm.features['prohibit-start'];
    if (rationale !== undefined && rationale !== '') {
      this.#emit(vm.name, 'domain-start-failed', {
        reason: `Qube start is prohibited. Rationale: ${rationale}`,
      });
      throw new QubesException('QubesException', `Qube start is prohibited. Rationale: ${rationale}`);
    }
    this.#emit(vm.name, 'domain-pre-start', { start_guid: 'True', mem_required: 'None' });
    const netvm = vmValue(this.#store, vm, 'netvm');
    if (netvm !== null && netvm !== undefined) await this.start(this.#store.vm(netvm));
    await this.#volumes.start(vm);
    vm.power = 'Running';
    vm.xid = ++this.#store.state.xids;
    this.#emit(vm.name, 'domain-spawn', { start_guid: 'True' });
    this.#emit(vm.name, 'domain-start', { start_guid: 'True' });
  }

  /** Ends a VM that runs: its volumes are committed, a disposable is gone. */
  async halt(vm: VmState): Promise<void> {
    vm.power = 'Halted';
    await this.#volumes.stop(vm);
    this.#emit(vm.name, 'domain-stopped');
    this.#emit(vm.name, 'domain-shutdown');
    if (vmValue(this.#store, vm, 'auto_cleanup') === 'True') this.#delete(vm);
  }

  async shutdown(vm: VmState): Promise<void> {
    if (vm.power === 'Halted') throw notStarted(vm.name);
    if (vm.power === 'Paused')
      throw new QubesException(
        'QubesVMNotRunningError',
        `Domain not running (either powered off or paused): '${vm.name}'`,
      );
    const connected = this.#store
      .vms()
      .filter((other) => other.power === 'Running' && vmValue(this.#store, other, 'netvm') === vm.name);
    if (connected.length > 0)
      throw vmInUse(
        `There are other VMs connected to this VM: ${connected.map(({ name }) => name).join(', ')}`,
      );
    this.#emit(vm.name, 'domain-pre-shutdown', { force: 'False' });
    await this.halt(vm);
  }

  async kill(vm: VmState): Promise<void> {
    if (vm.power === 'Halted') throw notStarted(vm.name);
    await this.halt(vm);
  }

  pause(vm: VmState): void {
    if (vm.power !== 'Running')
      throw new QubesException(
        'QubesVMNotRunningError',
        `Domain not running (either powered off or paused): '${vm.name}'`,
      );
    vm.power = 'Paused';
  }

  unpause(vm: VmState): void {
    if (vm.power !== 'Paused')
      throw new QubesException('QubesVMNotPausedError', `Domain is not paused: '${vm.name}'`);
    vm.power = 'Running';
  }

  remove(vm: VmState): void {
    if (vm.name === 'dom0') throw vmInUse("'dom0' cannot be removed");
    if (vmValue(this.#store, vm, 'installed_by_rpm') === 'True')
      throw vmInUse(`VM installed by package manager: ${vm.name}`);
    if (vm.power !== 'Halted') throw notHalted(vm.name);
    this.#emit('', 'domain-pre-delete', { vm: vm.name });
    if (dependents(this.#store, vm.name).length > 0)
      throw vmInUse(`Domain is in use: '${vm.name}';  see 'journalctl -u qubesd -e' in dom0 for details`);
    const provided = this.#store
      .vms()
      .flatMap(({ devices }) => Object.values(devices).flat())
      .filter((line) => line.startsWith(`${vm.name}+`));
    if (provided.length > 0) throw vmInUse(`VM has devices assigned to other VMs: ${provided.join(', ')}`);
    this.#delete(vm);
  }

  #delete(vm: VmState): void {
    this.#volumes.remove(vm);
    Reflect.deleteProperty(this.#store.state.vms, vm.name);
    this.#emit('', 'domain-delete', { vm: vm.name });
  }

  #add(options: {
    klass: Klass;
    name: string;
    label: string;
    base: VmState | undefined;
    pools: Readonly<Record<string, string>>;
    tags: readonly string[];
  }): VmState {
    const { klass, name, label, base, pools, tags } = options;
    const vm: VmState = {
      ...{ name, klass, qid: ++this.#store.state.qids, uuid: randomUUID(), power: 'Halted', xid: -1 },
      ...{ features: {}, tags: [...tags], firewall: ['action=accept'], notes: '', volumes: {}, devices: {} },
      properties: base === undefined ? { label } : { label, template: base.name },
    };
    this.#emit('', 'domain-add', { vm: name });
    this.#store.state.vms[name] = vm;
    try {
      this.#volumes.create(vm, base, pools);
    } catch (error) {
      Reflect.deleteProperty(this.#store.state.vms, name);
      throw error;
    }
    for (const tag of tags) this.#emit(name, `domain-tag-add:${tag}`, { tag });
    this.#emit(name, 'domain-create-on-disk');
    return vm;
  }

  #template(klass: Klass, name: string): VmState | undefined {
    if (klass !== 'AppVM' && klass !== 'DispVM') return undefined;
    const base =
      name === ''
        ? globalValue(this.#store, klass === 'AppVM' ? 'default_template' : 'default_dispvm')
        : name;
    if (base === null) throw new Unhandled('no default template');
    const vm = this.#store.vm(base);
    if (klass === 'AppVM' && vm.klass !== 'TemplateVM') {
      throw propertyValueError(
        `wrong VM class: domains[<${vm.klass} at 0x7f name='${base}'>] is of type ${vm.klass} and not TemplateVM`,
      );
    }
    if (klass === 'DispVM' && vmValue(this.#store, vm, 'template_for_dispvms') !== 'True')
      throw propertyValueError(
        `wrong VM class: domains[<${vm.klass} at 0x7f name='${base}'>] is no disposable template`,
      );
    return vm;
  }

  /** `pool=X` moves what the VM owns: not the root of a template. */
  #everywhere(klass: Klass, pool: string): Readonly<Record<string, string>> {
    const based = klass === 'AppVM' || klass === 'DispVM';
    return { private: pool, volatile: pool, ...(based ? {} : { root: pool }) };
  }

  #options(payload: string, inPool: boolean) {
    const pools: Record<string, string> = {};
    let name: string | undefined;
    let label: string | undefined;
    let pool: string | undefined;
    let wrongPool: string | undefined;
    for (const word of payload.split(' ')) {
      const equals = word.indexOf('=');
      if (equals < 0) throw new Unhandled('a parameter without a value');
      const [key, value] = [word.slice(0, equals), word.slice(equals + 1)];
      const isPool = key === 'pool' || key.startsWith('pool:');
      if ((key === 'name' && name !== undefined) || (key === 'label' && label !== undefined))
        throw protocolError('Options must be unique');
      if (key === 'name') {
        checkName(value);
        name = value;
      } else if (key === 'label') {
        if (this.#store.state.labels.includes(value)) label = value;
      } else if (isPool && inPool) {
        if (this.#store.pool(value) === undefined) wrongPool = value;
        else if (key === 'pool') pool = value;
        else pools[key.slice('pool:'.length)] = value;
      } else {
        throw protocolError(
          isPool
            ? "Pool option specified but 'allow_pool' is False"
            : 'Options does not match: name, label, pool, pool:',
        );
      }
    }
    return { name, label, pool, pools, wrongPool };
  }
}
