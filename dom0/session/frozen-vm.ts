/** A VM's volumes as one backup reads them: frozen, all as close together as can be, then read one by one. */

import { scan } from '../../shared/protocol/disposable.ts';
import type { Volume } from '../../shared/protocol/disposable.ts';
import { requireAttached } from '../app.ts';
import type { App, DisposableCall } from '../app.ts';
import type { VolumePlan } from '../config.ts';
import type { ServiceCall, Vm, VolumeSnapshot } from '../domains/domains.ts';

export class FrozenVm {
  readonly #app: App;
  readonly #vm: Vm;
  readonly #volumes: VolumeSnapshot[] = [];
  /** What will read the first volume: to start it takes longer than most else that a backup does before it reads. */
  #first: Promise<DisposableCall> | undefined;

  private constructor(app: App, vm: Vm) {
    this.#app = app;
    this.#vm = vm;
  }

  static async freeze(app: App, vm: Vm, plan: readonly VolumePlan[]): Promise<FrozenVm> {
    const frozen = new FrozenVm(app, vm);
    try {
      for (const { name, mode } of plan)
        frozen.#volumes.push(await app.domains.snapshotVolume(vm.name, name, mode));
    } catch (error) {
      await frozen.release();
      throw error;
    }
    const [first] = frozen.#volumes;
    if (first !== undefined) {
      frozen.#first = frozen.#start(first);
      frozen.#first.catch(() => undefined); // Whoever reads the volume learns of it.
    }
    return frozen;
  }

  /** Of the plan's volumes, in its order. */
  get volumes(): readonly VolumeSnapshot[] {
    return this.#volumes;
  }

  /** Runs `work` over one call of qubes.BackupScan in a disposable of its own, which is gone afterwards, however it ended. */
  async read<T>(
    volume: VolumeSnapshot,
    work: (call: ServiceCall, attached: Volume) => Promise<T>,
  ): Promise<T> {
    const started = volume === this.#volumes[0] ? this.#first : undefined;
    if (started !== undefined) this.#first = undefined;
    return this.#app.during(await (started ?? this.#start(volume)), (call, attached) =>
      work(call, requireAttached(attached)),
    );
  }

  /** Removes them, and what was started for nothing. Idempotent. */
  async release(): Promise<void> {
    const unused = this.#first;
    this.#first = undefined;
    await unused?.then(
      ({ end }) => end(),
      () => undefined,
    );
    for (const volume of this.#volumes.splice(0)) await volume.release();
  }

  #start(snapshot: VolumeSnapshot): Promise<DisposableCall> {
    return this.#app.callInDisposable(this.#vm.name, { kind: 'snapshot', snapshot }, scan.service);
  }
}
