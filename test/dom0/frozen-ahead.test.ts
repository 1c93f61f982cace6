/** The first VM of a backup is frozen, and its reader starts, while the repository is opened. */

import { describe, expect, it } from 'vitest';
import { backup } from '../../dom0/commands/backup.ts';
import type {
  Attachment,
  Disposable,
  Domains,
  ServiceCall,
  VolumeMode,
  VolumeName,
  VolumeSnapshot,
} from '../../dom0/domains/domains.ts';
import { readKeyFile } from '../../dom0/keys/secret.ts';
import { BackupError } from '../../shared/errors.ts';
import type { VmName } from '../../shared/ids.ts';
import { get } from '../../shared/protocol/storage.ts';
import { SANDBOX } from '../support/home.ts';
import { runApp } from '../support/run-app.ts';
import type { AppOptions } from '../support/run-app.ts';
import { WrappedDomains, withSteps } from '../support/wrapped-domains.ts';
import { BackupBench } from './backup-bench.ts';

/** A driver that writes down what happens, in order. */
class Recorder extends WrappedDomains {
  readonly events: string[] = [];
  /** What becomes of the next snapshots, in order. */
  readonly failures: Error[] = [];
  readonly #reading = Promise.withResolvers<undefined>();

  /** `holds`: the storage VM answers once a reader was called, or no volume could be frozen. */
  constructor(inner: Domains, holds: boolean) {
    super(inner, (call, service) =>
      holds && service === get.service ? after(this.#reading.promise, call) : call,
    );
  }

  override async snapshotVolume(vm: VmName, volume: VolumeName, mode: VolumeMode): Promise<VolumeSnapshot> {
    this.events.push(`freeze ${vm}`);
    const failure = this.failures.shift();
    if (failure !== undefined) {
      this.#reading.resolve(undefined);
      throw failure;
    }
    const snapshot = await super.snapshotVolume(vm, volume, mode);
    const release = () => Promise.resolve(void this.events.push(`release ${vm}`));
    return { ...snapshot, release };
  }

  override async startDisposable(vm: VmName, attachment: Attachment): Promise<Disposable> {
    const disposable = await super.startDisposable(vm, attachment);
    return {
      ...disposable,
      call: (service) => {
        this.events.push(`call ${service}`);
        this.#reading.resolve(undefined);
        return disposable.call(service);
      },
      destroy: () => {
        this.events.push('destroy');
        return disposable.destroy();
      },
    };
  }
}

/** `call`, of which nothing is heard until `until` is settled. */
function after(until: Promise<unknown>, call: ServiceCall): ServiceCall {
  return {
    ...withSteps(call, () => undefined),
    io: {
      read: async (target) => {
        await until;
        return call.io.read(target);
      },
      write: (pieces) => call.io.write(pieces),
    },
  };
}

async function record(options: Partial<AppOptions> = {}, vms = ['work'], failures: Error[] = []) {
  const bench = await BackupBench.make();
  const { home } = bench;
  for (const name of ['aside', 'other']) {
    home.write(name, 'file', name);
    home.identify(name, name.length);
  }
  const recorder = new Recorder(bench.domains, options.asks === undefined);
  recorder.failures.push(...failures);
  const { events } = recorder;
  const present = () => {
    events.push('secret');
    return [readKeyFile(home.keyFile)];
  };
  const run = runApp(recorder, home, (app) => backup(app, vms), { sandbox: SANDBOX, present, ...options });
  const failure = await run.then(
    () => undefined,
    (error: unknown) => error,
  );
  return { events, failure, bench };
}

const READING = 'call qubes.BackupScan';

describe('a backup', () => {
  it('freezes and starts a reader before a secret is asked for, and uses both once', async () => {
    const { events, bench } = await record();
    expect(events).toEqual(['freeze work', READING, 'secret', 'destroy', 'release work']);
    expect(await bench.snapshots()).toBe(1);
  });

  it('does so after the secret where a person is asked for it', async () => {
    const { events } = await record({ asks: () => Promise.resolve(true) });
    expect(events).toEqual(['secret', 'freeze work', READING, 'destroy', 'release work']);
  });

  it('does so for the first VM alone', async () => {
    const { events } = await record({}, ['other', 'work', 'aside']);
    expect(events.slice(0, 3)).toEqual(['freeze other', READING, 'secret']);
    const count = (what: string) => events.filter((event) => event === what).length;
    expect([count('secret'), count(READING), count('destroy')]).toEqual([1, 3, 3]);
    for (const vm of ['other', 'work', 'aside'])
      expect([count(`freeze ${vm}`), count(`release ${vm}`)]).toEqual([1, 1]);
  });

  it('ends both if the repository cannot be opened', async () => {
    const present = () => {
      throw new BackupError('usage', 'no such key');
    };
    const { events, failure } = await record({ present });
    expect(events).toEqual(['freeze work', READING, 'destroy', 'release work']);
    expect(failure).toMatchObject({ message: 'no such key' });
  });

  it('fails for a VM that cannot be frozen, and backs up the others', async () => {
    const failures = [new BackupError('io', 'the pool is full')];
    const { events, failure, bench } = await record({}, ['other', 'work'], failures);
    expect(events.slice(0, 2)).toEqual(['freeze other', 'secret']);
    expect(failure).toMatchObject({ code: 'io', message: '1 of 2 VMs not backed up' });
    expect(await bench.snapshots()).toBe(1);
  });

  it('tells of the repository, not of the VM, if both fail', async () => {
    const present = () => {
      throw new BackupError('usage', 'no such key');
    };
    const failures = [new BackupError('io', 'the pool is full')];
    const { events, failure } = await record({ present }, ['work'], failures);
    expect(events).toEqual(['freeze work']);
    expect(failure).toMatchObject({ message: 'no such key' });
  });
});
