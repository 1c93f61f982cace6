/** The bench for hostile clients: a store, real services of a storage VM, and what must hold afterwards. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { publish } from '../../storagevm/set-root.ts';
import { setRoot } from '../../shared/protocol/storage.ts';
import { controlFrame } from '../support/peers.ts';
import { TestRepository, objects } from '../storagevm/fixtures.ts';
import { faultOfClient } from './client-judge.ts';
import { putInto, storeIn } from '../storagevm/stores.ts';
import { HostileClient } from './client.ts';
import type { Taken } from './client.ts';
import { generateClient } from './generate-client.ts';
import type { GeneratedClient } from './generate-client.ts';
import { changes, putBack, stateOf } from './home-state.ts';
import type { HomeState } from './home-state.ts';
import { clientCases } from './list/client.ts';
import type { ClientCase, Store } from './list/client.ts';

/** What who published a root is told. */
const DONE = controlFrame(setRoot.toCaller.done.type, { waits: null });

const PRINTABLE = /^[\x20-\x7e]*$/;

export class ClientBench {
  readonly cases: readonly ClientCase[];
  readonly #home: string;
  readonly #template: string;
  readonly #before: HomeState;
  readonly #client: HostileClient;
  /** Highest resident memory of a service, in KiB. */
  peak = 0;

  readonly #store: Store;

  private constructor(home: string, template: string, program: string, store: Store) {
    this.#home = home;
    this.#template = template;
    this.#before = stateOf(template);
    this.#store = store;
    this.#client = new HostileClient(home, program);
    this.cases = clientCases(store);
  }

  static async open(folder: string): Promise<ClientBench> {
    const [home, template] = [join(folder, 'home'), join(folder, 'template')];
    for (const path of [home, template]) mkdirSync(join(path, 'storage/main'), { recursive: true });
    const store = await fill(join(template, 'storage/main/qubes-backup'));
    return new ClientBench(home, template, join(folder, 'program'), store);
  }

  async close(): Promise<void> {
    await this.#client.stop();
  }

  generate(seed: number, number: number): GeneratedClient {
    return generateClient(this.#store, seed, number);
  }

  /** Tries a generated session, with services that live on. */
  async tryGenerated(session: GeneratedClient): Promise<{ taken: Taken; fault: string | undefined }> {
    putBack(this.#home, this.#template, this.#before);
    const taken = await this.#client.sayToHost(session.service, session.bytes);
    const fault = faultOfClient(this.#home, this.#before, stateOf(this.#home), session, taken, this.#store);
    return { taken, fault };
  }

  /** Weighs the services that live on, after their last session. */
  weighHosts(): void {
    this.peak = Math.max(this.peak, this.#client.hostPeak());
  }

  /** Tries a case; answers what was seen, and what is wrong with that. */
  async try(one: ClientCase): Promise<{ taken: Taken; fault: string | undefined }> {
    putBack(this.#home, this.#template, this.#before);
    const all = [one.bytes, ...one.rivals].map((bytes) => this.#client.say(one.service, bytes, one.deaf));
    const everybody = await Promise.all(all);
    const [taken] = everybody;
    if (taken === undefined) throw new Error('nobody said anything');
    this.peak = Math.max(this.peak, taken.peak);
    const winners = everybody.filter(({ said }) => said.includes(DONE));
    if (one.rivals.length > 0 && winners.length !== 1)
      return { taken, fault: `${winners.length} were told that they had won` };
    return { taken, fault: this.#faultOf(one, taken) };
  }

  #faultOf(
    { expected, stores, rivals }: ClientCase,
    { outcome, message, status }: Taken,
  ): string | undefined {
    if (outcome !== expected) return `not what is written: ${message}`;
    if ((outcome === 'done') !== (status === 0)) return `it exited with ${status ?? 'a signal'}`;
    if (!PRINTABLE.test(message)) return `it says ${JSON.stringify(message)}`;
    const left = changes(this.#before, stateOf(this.#home)).filter(({ path }) => !path.startsWith('state'));
    const root = 'storage/main/qubes-backup/roots/';
    const roots = left.filter(({ path }) => path.startsWith(root));
    if (roots.length !== (rivals.length > 0 ? 1 : 0)) return `it published ${roots.length} roots`;
    const odd = left.find(
      ({ path, how }) =>
        !(rivals.length > 0 && path.startsWith('storage/main/qubes-backup/ledger/')) &&
        !roots.some((one) => one.path === path) &&
        !isStored(path, how, stores),
    );
    return odd === undefined ? undefined : `${odd.path} is ${odd.how}`;
  }
}

/** Whether it is one of the objects that may have been stored, or the folder of one, or the ledger's row of it. */
function isStored(path: string, how: string, stores: readonly string[]): boolean {
  if (stores.length > 0 && /^storage\/main\/qubes-backup\/ledger\/puts(\/[0-9a-f]{16})?$/.test(path))
    return true;
  const [, shard, name] =
    /^storage\/main\/qubes-backup\/objects\/([0-9a-f]{2})(?:\/([0-9a-f]{64}))?$/.exec(path) ?? [];
  if (how !== 'new' || shard === undefined) return false;
  if (stores.includes('any')) return true;
  return stores.some((id) => (name === undefined ? id.startsWith(shard) : id === name));
}

async function fill(folder: string): Promise<Store> {
  const repository = new TestRepository();
  const [first, second, last] = repository.chain(3);
  if (first === undefined || second === undefined || last === undefined) throw new Error('too short a chain');
  const some = objects(3);
  await putInto(storeIn(folder), some);
  for (const root of [first, second, last]) await publish(storeIn(folder), root, root.body.previous);
  return { repository, roots: [first, second, last], objects: some };
}
