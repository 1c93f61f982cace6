/**
 * The local driver with one hostile service. That one is started as any other: by the policy, in its sandbox. The other
 * services of the storage VM are honest, in this process; other disposables say what was recorded of honest ones.
 */

import { join } from 'node:path';
import type {
  Attachment,
  Disposable,
  ServiceCall,
  VolumeMode,
  VolumeName,
  VolumeSnapshot,
} from '../../dom0/domains/domains.ts';
import { LocalDomains } from '../../dom0/domains/local/local.ts';
import { parseVmName } from '../../shared/ids.ts';
import type { VmName } from '../../shared/ids.ts';
import { callStorageHere } from '../support/here.ts';
import { HostedPeer } from './hosted-peer.ts';
import type { Job, Place, Recordings } from './job.ts';
import { HONEST } from './peer/attack.ts';
import type { Script, Step } from './peer/attack.ts';
import { assign, assignReceiver, roleOf } from './program.ts';
import { Recorder } from './recorder.ts';

/** Bytes of one conversation that are kept; of a longer one nothing is, as a part of it looks cut off. */
const MAX_SAID = 4 * 1024 * 1024;
const STORAGE = 'main';

export class AttackedDomains extends LocalDomains {
  readonly #place: Place;
  /** For recording: the real services. */
  readonly #real: LocalDomains;
  /** Start peers that live on: of the storage VM, which see its store, and disposables, which see nothing. */
  readonly #storageHost: LocalDomains;
  readonly #disposableHost: LocalDomains;
  readonly #peers = new Map<string, Promise<HostedPeer>>();
  #job: Job | undefined;
  #said: Buffer[][] = [];
  #recorders = new Map<string, Recorder>();
  #exited: Promise<unknown>[] = [];

  constructor(place: Place) {
    const { home, sandbox, hosted: program } = place;
    super({ home, sandbox, program: place.alone });
    this.#place = place;
    this.#real = new LocalDomains({ home, sandbox });
    this.#storageHost = new LocalDomains({ home, sandbox, program });
    this.#disposableHost = new LocalDomains({ home: place.elsewhere, sandbox, program });
  }

  begin(job: Job): void {
    this.#job = job;
    this.#said = [];
    this.#recorders = new Map();
    this.#exited = [];
  }

  /** Settles when no peer of the job does anything any more. */
  async settle(): Promise<void> {
    await Promise.all(this.#exited);
    for (const peer of this.#peers.values()) await (await peer).idle();
  }

  said(): Uint8Array[] {
    return this.#said.map((pieces) => Buffer.concat(pieces));
  }

  recorded(): Recordings {
    return Object.fromEntries([...this.#recorders].map(([service, recorder]) => [service, recorder.steps]));
  }

  async stop(): Promise<void> {
    const all = [this, this.#real, this.#storageHost, this.#disposableHost];
    await Promise.all(all.map((domains) => domains.stopAll()));
  }

  override async callStorage(storageVm: string, service: string): Promise<ServiceCall> {
    const job = this.#needJob();
    if (service !== job.service && job.apart) return this.#real.callStorage(storageVm, service);
    if (service !== job.service) {
      const call = callStorageHere(service, join(this.#place.home, 'storage', storageVm, 'qubes-backup'));
      this.#exited.push(call.exited);
      return call;
    }
    const script: Script = { service, attack: job.attack, steps: undefined };
    if (job.hosted) return this.#attacked(await this.#converse(script));
    assign(this.#place.alone, 'storagevm', { hosted: false, script });
    return this.#attacked(await super.callStorage(storageVm, service));
  }

  override async snapshotVolume(vm: VmName, volume: VolumeName, mode: VolumeMode): Promise<VolumeSnapshot> {
    const snapshot = await super.snapshotVolume(vm, volume, mode);
    const { capacity } = this.#needJob();
    return capacity === undefined
      ? snapshot
      : Object.defineProperty(snapshot, 'capacity', { value: capacity });
  }

  override async callVm(vm: VmName, service: string, argument: string): Promise<ServiceCall> {
    const { receiver } = this.#needJob();
    if (receiver === undefined) return this.#real.callVm(vm, service, argument);
    assignReceiver(this.#place.alone, receiver);
    return this.#attacked(await super.callVm(vm, service, argument));
  }

  override async startDisposable(vm: VmName, attachment: Attachment): Promise<Disposable> {
    const { recordings } = this.#needJob();
    const inner = await super.startDisposable(vm, attachment);
    const real: Disposable[] = [];
    return {
      name: inner.name,
      attached: inner.attached,
      call: async (service) => {
        const steps = recordings?.[service];
        if (steps !== undefined) return this.#callDisposable(inner, service, steps);
        const disposable = await this.#real.startDisposable(vm, attachment);
        real.push(disposable);
        return this.#recorded(disposable, service);
      },
      destroy: async () => {
        await Promise.all([inner, ...real].map((disposable) => disposable.destroy()));
      },
    };
  }

  async #callDisposable(inner: Disposable, service: string, steps: readonly Step[]): Promise<ServiceCall> {
    const job = this.#needJob();
    if (service !== job.service) return this.#converse({ service, attack: HONEST, steps });
    const script: Script = { service, attack: job.attack, steps };
    if (job.hosted) return this.#attacked(await this.#converse(script));
    assign(this.#place.alone, 'dvm', { hosted: false, script });
    return this.#attacked(await inner.call(service));
  }

  async #recorded(inner: Disposable, service: string): Promise<ServiceCall> {
    const recorder = new Recorder();
    this.#recorders.set(service, recorder);
    return recorder.listenTo(await inner.call(service));
  }

  /** The call of what is attacked. */
  #attacked(call: ServiceCall): ServiceCall {
    const { idle, answer, session } = this.#needJob().patience;
    const said: Buffer[] = [];
    let length = 0;
    this.#said.push(said);
    this.#exited.push(call.exited);
    return {
      ...call,
      ...(idle === undefined ? {} : { idleTimeout: idle }),
      ...(answer === undefined ? {} : { answerTimeout: answer }),
      ...(session === undefined ? {} : { sessionTimeout: session }),
      io: {
        read: async (target) => {
          const count = await call.io.read(target);
          length += count;
          if (length <= MAX_SAID) said.push(Buffer.from(target.subarray(0, count)));
          else this.#said = this.#said.filter((one) => one !== said);
          return count;
        },
        write: (pieces) => call.io.write(pieces),
      },
    };
  }

  /** A conversation with the peer of `service` that lives on. */
  async #converse(script: Script): Promise<ServiceCall> {
    const { service } = script;
    let peer = this.#peers.get(service);
    peer ??= this.#startPeer(service);
    this.#peers.set(service, peer);
    await (await peer).idle();
    return (await peer).open(script);
  }

  async #startPeer(service: string): Promise<HostedPeer> {
    if (roleOf(service) === 'storagevm')
      return new HostedPeer(await this.#storageHost.callStorage(STORAGE, service));
    const disposable = await this.#disposableHost.startDisposable(parseVmName('work'), { kind: 'nothing' });
    return new HostedPeer(await disposable.call(service));
  }

  #needJob(): Job {
    if (this.#job === undefined) throw new Error('no job to do');
    return this.#job;
  }
}
