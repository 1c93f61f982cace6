/** Calls of a storage VM's services as dom0 makes them: the service's own process, a session over its stdio. */

import { join } from 'node:path';
import type { ObjectId, RootHash } from '../../shared/ids.ts';
import { objectIdFromBytes } from '../../shared/ids.ts';
import { readU32 } from '../../shared/bytes.ts';
import { DOM0_DOWNLOAD_SHARE } from '../../shared/limits.ts';
import { NODE_OPTIONS } from '../../shared/node-options.ts';
import { LIST_ROW, get, list, put, setRoot } from '../../shared/protocol/storage.ts';
import type { Root } from '../../shared/root.ts';
import type { FrameTable, Protocol } from '../../shared/wire/frame.ts';
import { streamIo } from '../../shared/wire/io.ts';
import { Session } from '../../shared/wire/session.ts';
import { COMPILED, PROJECT, exited, start } from '../support/processes.ts';
import type { Child } from '../support/processes.ts';
import type { TestObject } from './fixtures.ts';

/** What qrexec gives a service, and nothing else of this machine's environment but where compiled code is. */
export function environment(home: string, service: string): Record<string, string> {
  return {
    HOME: home,
    QUBES_BACKUP_STORAGE_CONFIG: home, // As the embedded driver does where it confines nothing.
    PATH: '/usr/bin:/bin',
    QREXEC_REMOTE_DOMAIN: 'dom0',
    QREXEC_SERVICE_FULL_NAME: `${service}+`,
    QREXEC_SERVICE_ARGUMENT: '',
    QREXEC_AGENT_PID: '1',
    QREXEC_REQUESTED_TARGET_TYPE: '',
    ...COMPILED,
  };
}

/** Starts a service; with `limit` no file of it may grow above so many units of 512 (or 1,024) bytes. */
export function startService(
  home: string,
  service: string,
  changes: Record<string, string> = {},
  limit?: number,
): Child {
  const command = [
    process.execPath,
    ...NODE_OPTIONS.storagevm,
    join(PROJECT, 'services', 'storagevm', `${service}.ts`),
  ];
  const [program = '', ...args] =
    limit === undefined ? command : ['sh', '-c', `ulimit -f ${limit} && exec "$@"`, 'sh', ...command];
  return start(program, args, { cwd: home, env: { ...environment(home, service), ...changes } });
}

/** A storage VM: its home, where the services of this project run, or what starts those that are installed elsewhere. */
export type StorageVm = string | ((service: string) => Child);

export class Caller<ToService extends FrameTable, ToCaller extends FrameTable> {
  readonly child: Child;
  readonly session: Session<ToCaller, ToService>;
  stderr = '';

  constructor(
    vm: StorageVm,
    protocol: Protocol<ToService, ToCaller>,
    options: { limit?: number; window?: number } = {},
  ) {
    this.child =
      typeof vm === 'string' ? startService(vm, protocol.service, {}, options.limit) : vm(protocol.service);
    this.child.stderr.on('data', (piece: Buffer) => (this.stderr += piece.toString('utf8')));
    this.session = new Session(
      streamIo(this.child.stdout, this.child.stdin),
      { incoming: protocol.toCaller, outgoing: protocol.toService },
      { peer: 'vault:', window: options.window ?? DOM0_DOWNLOAD_SHARE },
    );
  }

  /** Ends the session in order; fails unless the service exits with 0. */
  async finish(): Promise<void> {
    await this.session.finish();
    await this.session.drained();
    this.child.stdin.end();
    const { code, signal } = await exited(this.child);
    if (code !== 0) throw new Error(`the service ended with ${signal ?? code ?? '?'}: ${this.stderr}`);
  }

  /** Hangs up, as dom0 does after a failure, and answers the service's exit status. */
  async hangUp(): Promise<number | null> {
    this.child.stdin.end();
    return (await exited(this.child)).code;
  }
}

/** Puts all of `objects` in one session and answers which were new, in order. */
export async function putAll(vm: StorageVm, objects: readonly TestObject[]): Promise<boolean[]> {
  const caller = new Caller(vm, put);
  for (const { bytes } of objects) caller.session.send('object', bytes).catch(() => undefined); // receive() says it.
  const acknowledged = await acks(caller, objects.length);
  await caller.finish();
  const names = acknowledged.map(({ id }) => id);
  if (names.join() !== objects.map(({ id }) => id).join()) throw new Error('acknowledged out of order');
  return acknowledged.map(({ stored }) => stored);
}

/** The next acknowledgements, `count` in all. */
export async function acks(caller: Caller<typeof put.toService, typeof put.toCaller>, count: number) {
  const all: { id: ObjectId; stored: boolean }[] = [];
  while (all.length < count) {
    const message = await caller.session.receive();
    if (message === undefined) throw new Error(`ended after ${all.length} of ${count} acknowledgements`);
    all.push(...message.value.objects);
  }
  return all;
}

/** Asks for `ids` in one request; undefined for each that is missing. */
export async function getAll(vm: StorageVm, ids: readonly ObjectId[]): Promise<(Uint8Array | undefined)[]> {
  const caller = new Caller(vm, get);
  await caller.session.send('want', { ids: [...ids] });
  const all: (Uint8Array | undefined)[] = [];
  for (const id of ids) {
    const message = await caller.session.receive();
    if (message?.name === 'object') all.push(message.value);
    else if (message?.name === 'missing' && message.value.id === id) all.push(undefined);
    else throw new Error(`answered ${message?.name ?? 'the end'}`);
  }
  await caller.finish();
  return all;
}

export async function getRoot(vm: StorageVm): Promise<Uint8Array | undefined> {
  const caller = new Caller(vm, get);
  await caller.session.send('wantRoot', {});
  const message = await caller.session.receive();
  await caller.finish();
  if (message?.name !== 'root' && message?.name !== 'noRoot')
    throw new Error(`answered ${message?.name ?? 'the end'}`);
  return message.name === 'root' ? message.value : undefined;
}

/** All rows of a listing, and the rows of each page. */
export async function listAll(
  vm: StorageVm,
): Promise<{ rows: { id: ObjectId; size: number }[]; pages: number[] }> {
  const caller = new Caller(vm, list);
  await caller.session.send('start', {});
  const rows: { id: ObjectId; size: number }[] = [];
  const pages: number[] = [];
  for (let page = await caller.session.receive(); page !== undefined; page = await caller.session.receive()) {
    pages.push(page.value.length / LIST_ROW);
    for (let at = 0; at < page.value.length; at += LIST_ROW) {
      rows.push({
        id: objectIdFromBytes(page.value.subarray(at, at + 32)),
        size: readU32(page.value, at + 32),
      });
    }
  }
  await caller.finish();
  return { rows, pages };
}

/** `done`, or the hash of the root that is current instead. */
export async function publishRoot(
  vm: StorageVm,
  root: Root,
  expected: RootHash = root.body.previous,
): Promise<string> {
  const caller = new Caller(vm, setRoot);
  await caller.session.send('expect', { current: expected });
  await caller.session.send('root', root.bytes);
  const answer = await caller.session.receive();
  await caller.finish();
  return answer?.name === 'conflict' ? answer.value.current : (answer?.name ?? 'the end');
}
