/** A guest that other processes call as well, by a socket: what a VM's daemon of qrexec is. */

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { BackupError } from '../../shared/errors.ts';
import type { ServiceCall } from '../../dom0/domains/domains.ts';
import { Channel, relay } from './channel.ts';
import type { Guest } from './guest.ts';
import { serviceCall } from './service-call.ts';

/** Serves calls of `guest` on a new socket at `path`, until the server is closed. */
export async function serveGuest(guest: Guest, path: string): Promise<Server> {
  const server = createServer((socket) => {
    new Channel(socket, socket, (request, served) => relay(served, guest.forward(request)));
  });
  server.listen(path);
  await once(server, 'listening');
  return server;
}

/** Calls a service of the guest behind the socket. Throws `store-missing` if nobody serves there. */
export async function callServed(name: string, path: string, service: string): Promise<ServiceCall> {
  const socket = await connected(name, path);
  const call = new Channel(socket, socket).call({ service, argument: '', source: 'dom0' });
  const { exited } = call;
  const result = serviceCall(name, call, service);
  void exited.then(() => socket.destroy());
  return {
    ...result,
    kill: () => {
      result.kill();
      socket.end();
    },
  };
}

async function connected(name: string, path: string): Promise<Socket> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return socket;
  } catch (cause) {
    throw new BackupError('store-missing', `the storage VM ${name} does not answer`, { cause });
  }
}
