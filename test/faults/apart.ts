/**
 * The local driver with one service in processes of its own, which may die, and all others in this process: a run then costs little more
 * than that one process.
 */

import type {
  Attachment,
  Disposable,
  ServiceCall,
  VolumeMode,
  VolumeName,
} from '../../dom0/domains/domains.ts';
import { LocalDomains } from '../../dom0/domains/local/local.ts';
import type { VmName } from '../../shared/ids.ts';
import { InProcessDomains } from '../support/in-process-domains.ts';
import { servicesOf } from './program.ts';
import type { FaultyProgram } from './program.ts';

export class ApartDomains extends InProcessDomains {
  readonly #real: LocalDomains;
  readonly #service: string;
  readonly #inDisposable: boolean;

  constructor(home: string, program: FaultyProgram, service: string) {
    super(home);
    this.#real = new LocalDomains({ home, sandbox: 'none', program: program.folder });
    this.#service = service;
    this.#inDisposable = servicesOf('dvm').includes(service);
  }

  override snapshotVolume(vm: VmName, volume: VolumeName, mode: VolumeMode) {
    return this.#inDisposable
      ? this.#real.snapshotVolume(vm, volume, mode)
      : super.snapshotVolume(vm, volume, mode);
  }

  override async startDisposable(vm: VmName, attachment: Attachment): Promise<Disposable> {
    if (!this.#inDisposable) return super.startDisposable(vm, attachment);
    const [here, real] = await Promise.all([
      super.startDisposable(vm, attachment),
      this.#real.startDisposable(vm, attachment),
    ]);
    // Each has the volume at a path of its own; those of no sandbox are the same.
    return {
      ...real,
      call: (service) => (service === this.#service ? real : here).call(service),
      destroy: () => real.destroy(),
    };
  }

  override callStorage(storageVm: string, service: string): Promise<ServiceCall> {
    return service === this.#service
      ? this.#real.callStorage(storageVm, service)
      : super.callStorage(storageVm, service);
  }

  override async stopAll(): Promise<void> {
    await Promise.all([super.stopAll(), this.#real.stopAll()]);
  }
}
