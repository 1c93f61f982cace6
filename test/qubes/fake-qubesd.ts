/**
 * A stand-in for qubesd: the socket protocol to the letter, state in memory and on disk, volumes that are files. It answers
 * what the recording of the real one in test/fixtures/qubesd/ says, and refuses what the real one refuses.
 */

import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { join } from 'node:path';
import { QubesException, Unhandled, noSuchVm, protocolError } from './qubesd-exception.ts';
import { handlerOf } from './qubesd-methods.ts';
import type { Call, Handler, Qubesd } from './qubesd-handler.ts';
import { checkName } from './qubesd-names.ts';
import type { Release } from './qubesd-properties.ts';
import { Store } from './qubesd-state.ts';
import type { VmState } from './qubesd-state.ts';
import { Vms } from './qubesd-vms.ts';
import { Volumes } from './qubesd-volumes.ts';

const MAX_REQUEST = 65_536;
/** Methods that change nothing; also as the beginning of a call, up to its argument. */
export const READS =
  /\.(List|Get|GetAll|GetDefault|CheckWithTemplate|Info|ListSnapshots|CurrentState|UsageDetails|Available|Assigned|Attached)(?:$|\+)/;

export interface Options {
  readonly release?: Release;
  /** What paths in answers begin with: the folder itself, so that they can be opened, or nothing. */
  readonly shownRoot?: string;
  /** Is asked before each call: what it rejects with is the answer. */
  readonly before?: (call: string, dest: string, payload: string) => Promise<void> | void;
  /** Is asked after each call that was done: if it is true, nobody is told so, as where qubesd is restarted then. */
  readonly losesAnswer?: (call: string, dest: string) => boolean;
}

/** A request as it came in. */
export interface SeenCall {
  readonly call: string;
  readonly dest: string;
  readonly payload: string;
}

export class FakeQubesd {
  readonly socketPath: string;
  readonly store: Store;
  readonly volumes: Volumes;
  readonly vms: Vms;
  readonly #server: Server;
  readonly #release: Release;
  readonly #options: Options;
  readonly #sockets = new Set<Socket>();
  readonly #followers = new Map<Socket, string>();
  #changing: Promise<unknown> = Promise.resolve();
  /** Every call so far. */
  readonly calls: SeenCall[] = [];
  /** The most calls that were under way at once. */
  mostAtOnce = 0;

  private constructor(folder: string, options: Options) {
    this.#options = options;
    this.#release = options.release ?? '4.3';
    this.socketPath = join(folder, 'qubesd.sock');
    this.store = new Store(folder);
    this.volumes = new Volumes(this.store, folder, options.shownRoot ?? folder);
    this.vms = new Vms(this.store, this.volumes, (...event) => this.#emit(...event));
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  /** Opens what is in `folder`, or begins there. */
  static async open(folder: string, options: Options = {}): Promise<FakeQubesd> {
    const qubesd = new FakeQubesd(folder, options);
    await new Promise<void>((resolve, reject) => {
      qubesd.#server.once('error', reject);
      qubesd.#server.listen(qubesd.socketPath, resolve);
    });
    return qubesd;
  }

  /** Hangs up on everybody, as a process that is killed. */
  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** The answer to one call, without its header; for tests that need no socket. */
  async call(method: string, dest = 'dom0', payload = ''): Promise<string> {
    const [name, argument = ''] = splitOnce(method, '+');
    return (await this.#run(name, argument, dest, payload)) ?? '';
  }

  #accept(socket: Socket): void {
    const pieces: Buffer[] = [];
    let length = 0;
    this.#sockets.add(socket);
    this.mostAtOnce = Math.max(this.mostAtOnce, this.#sockets.size - this.#followers.size);
    socket.on('close', () => {
      this.#sockets.delete(socket);
      this.#followers.delete(socket);
    });
    socket.on('error', () => socket.destroy()); // The caller went away: so did the real one's connection.
    socket.on('data', (piece) => {
      length += piece.length;
      if (length > MAX_REQUEST) socket.destroy();
      else pieces.push(piece);
    });
    socket.on('end', () => {
      if (length <= MAX_REQUEST) void this.#answer(socket, Buffer.concat(pieces).toString('latin1'));
    });
  }

  async #answer(socket: Socket, request: string): Promise<void> {
    const [header, payload] = splitOnce(request, '\0');
    const [call = '', , kind, ...dest] = header.split(' ');
    if (payload === undefined || kind !== 'name' || dest.length === 0) {
      socket.destroy(); // A framing error.
      return;
    }
    const [method, argument = ''] = splitOnce(call, '+');
    try {
      if (method === 'admin.Events') this.#follow(socket, dest.join(' '));
      else {
        const answer = await this.#run(method, argument, dest.join(' '), payload);
        if (this.#options.losesAnswer?.(call, dest.join(' ')) === true) socket.destroy();
        else socket.end(Buffer.concat([Buffer.from('0\0'), Buffer.from(answer ?? '', 'utf8')]));
      }
    } catch (error) {
      if (error instanceof QubesException) socket.end(Buffer.from(`2\0${error.type}\0\0${error.message}\0`));
      else if (error instanceof Unhandled) socket.destroy();
      else {
        socket.destroy();
        throw error;
      }
    }
  }

  async #run(method: string, argument: string, dest: string, payload: string): Promise<string | undefined> {
    const call = `${method}+${argument}`;
    this.calls.push({ call, dest, payload });
    await this.#options.before?.(call, dest, payload);
    const vm = this.#destination(dest);
    const handler = handlerOf(method, this.#release);
    if (handler === undefined) throw protocolError(`no such method: '${method}'`);
    check(handler, vm, argument, payload);
    if (READS.test(method)) return this.#handle(handler, vm.name, { argument, payload });
    const work = async () => {
      try {
        return await this.#handle(handler, vm.name, { argument, payload });
      } finally {
        this.store.save();
      }
    };
    // One after the other: the real one has locks where it waits.
    const turn = this.#changing.then(work, work);
    this.#changing = turn;
    return turn;
  }

  async #handle(handler: Handler, dest: string, rest: Omit<Call, 'dest'>): Promise<string | undefined> {
    const { store, volumes, vms } = this;
    const emit: Qubesd['emit'] = (...event) => this.#emit(...event);
    const qubesd: Qubesd = { store, volumes, vms, release: this.#release, emit };
    return handler.run(qubesd, { ...rest, dest: store.vm(dest) });
  }

  #destination(name: string): VmState {
    if (name.startsWith('uuid:')) {
      if (this.#release === '4.2') checkName(name);
      return this.store.vm(name);
    }
    checkName(name);
    const vm = this.store.find(name);
    if (vm === undefined) throw noSuchVm(name);
    return vm;
  }

  #follow(socket: Socket, dest: string): void {
    this.#followers.set(socket, this.#destination(dest).name);
    socket.write(encodeEvent('', 'connection-established', {}));
  }

  #emit(subject: string, event: string, details: Readonly<Record<string, string>> = {}): void {
    for (const [socket, dest] of this.#followers) {
      if (dest === 'dom0' || dest === subject) socket.write(encodeEvent(subject, event, details));
    }
  }
}

function encodeEvent(subject: string, event: string, details: Readonly<Record<string, string>>): Buffer {
  const pairs = Object.entries(details).map(([key, value]) => `${key}\0${value}\0`);
  return Buffer.from(`1\0${subject}\0${event}\0${pairs.join('')}\0`, 'latin1');
}

/** What the declaration of a method says of a call, before it runs. */
function check(handler: Handler, dest: VmState, argument: string, payload: string): void {
  if (handler.payload === true && payload === '') throw protocolError('expected payload');
  if (handler.payload === false && payload !== '') throw protocolError('unexpected payload');
  if (handler.argument === true && argument === '') throw protocolError('expected an argument');
  if (handler.argument === false && argument !== '') throw protocolError('unexpected argument');
  if (handler.adminVm === true && dest.klass !== 'AdminVM')
    throw protocolError('expected destination to be AdminVM');
  if (handler.adminVm === false && dest.klass === 'AdminVM')
    throw protocolError('expected destination to not be AdminVM');
}

function splitOnce(text: string, separator: string): readonly [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)];
}
