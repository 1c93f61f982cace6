/** A driver whose calls pass through a hand of the test: to count steps, to kill at one, to alter what a peer says. */

import type {
  Attachment,
  Disposable,
  Domains,
  Replaced,
  ServiceCall,
  Substitutes,
  Vm,
  VolumeMode,
  VolumeName,
  VolumeShape,
  VolumeSnapshot,
} from '../../dom0/domains/domains.ts';
import type { NotApplied } from '../../dom0/domains/not-applied.ts';
import type { VmName } from '../../shared/ids.ts';

/** Answers the call to use instead of `call` of `service`. */
export type Wrap = (call: ServiceCall, service: string) => ServiceCall;

export class WrappedDomains implements Domains {
  readonly #inner: Domains;
  readonly #wrap: Wrap;

  constructor(inner: Domains, wrap: Wrap) {
    this.#inner = inner;
    this.#wrap = wrap;
  }

  async startDisposable(vm: VmName, attachment: Attachment): Promise<Disposable> {
    const inner = await this.#inner.startDisposable(vm, attachment);
    return {
      name: inner.name,
      attached: inner.attached,
      call: async (service) => this.#wrap(await inner.call(service), service),
      destroy: () => inner.destroy(),
    };
  }

  async callStorage(storageVm: string, service: string): Promise<ServiceCall> {
    return this.#wrap(await this.#inner.callStorage(storageVm, service), service);
  }

  async callFolder(name: string, folder: string, service: string): Promise<ServiceCall> {
    return this.#wrap(await this.#inner.callFolder(name, folder, service), service);
  }

  async callVm(vm: VmName, service: string, argument: string): Promise<ServiceCall> {
    return this.#wrap(await this.#inner.callVm(vm, service, argument), service);
  }

  prepareStorage(storageVm: string) {
    return this.#inner.prepareStorage(storageVm);
  }
  list() {
    return this.#inner.list();
  }
  readConfig(vm: VmName) {
    return this.#inner.readConfig(vm);
  }
  snapshotVolume(vm: VmName, volume: VolumeName, mode: VolumeMode): Promise<VolumeSnapshot> {
    return this.#inner.snapshotVolume(vm, volume, mode);
  }
  missing(finalName: VmName, config: Uint8Array) {
    return this.#inner.missing(finalName, config);
  }
  createTemporary(
    finalName: VmName,
    config: Uint8Array,
    volumes: readonly VolumeShape[],
    substitutes?: Substitutes,
  ) {
    return this.#inner.createTemporary(finalName, config, volumes, substitutes);
  }
  replaceable(vm: VmName) {
    return this.#inner.replaceable(vm);
  }
  promote(temporary: VmName, finalName: VmName, replaced?: Replaced, note?: string) {
    return this.#inner.promote(temporary, finalName, replaced, note);
  }
  promoted() {
    return this.#inner.promoted();
  }
  keepNotApplied(temporary: VmName, notApplied: readonly NotApplied[]) {
    this.#inner.keepNotApplied(temporary, notApplied);
  }
  forgetPromoted(temporary: VmName) {
    this.#inner.forgetPromoted(temporary);
  }
  applyAgain(vm: VmName, notApplied: readonly NotApplied[]) {
    return this.#inner.applyAgain(vm, notApplied);
  }
  removeTemporary(temporary: VmName) {
    return this.#inner.removeTemporary(temporary);
  }
  examine(vms: readonly Vm[], storageVms: readonly string[]) {
    return this.#inner.examine(vms, storageVms);
  }
  stopAll() {
    return this.#inner.stopAll();
  }
  cleanUp() {
    return this.#inner.cleanUp();
  }
}

/** `call`, with `step` called before each read and write of its stdio. */
export function withSteps(call: ServiceCall, step: (doing: 'read' | 'write') => void): ServiceCall {
  return {
    ...call,
    io: {
      read(target) {
        step('read');
        return call.io.read(target);
      },
      write(pieces) {
        step('write');
        return call.io.write(pieces);
      },
    },
    stderr: () => call.stderr(),
    hangUp: () => call.hangUp(),
    kill: () => call.kill(),
  };
}
