/** A line to a server, in this process: every byte comes so much later, and so many a second in each direction, of all connections. */

import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** Milliseconds of the line's rate that may wait in front of it: it stays busy though timers are late. */
const QUEUE = 50;

export interface Link {
  readonly port: number;
  close(): Promise<void>;
}

/** `latency` in milliseconds one way, `rate` in bytes a second. */
export async function openLink(
  target: { readonly host: string; readonly port: number },
  { latency, rate }: { readonly latency: number; readonly rate: number },
): Promise<Link> {
  const sockets = new Set<Socket>();
  const up = new Wire(latency, rate);
  const down = new Wire(latency, rate);
  const server = createServer((near) => {
    const far = connect({ ...target, noDelay: true });
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      socket.once('error', () => {
        near.destroy();
        far.destroy();
      });
    }
    void up.carry(near, far);
    void down.carry(far, near);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** One direction. */
class Wire {
  readonly #latency: number;
  readonly #rate: number;
  /** When the last byte that was given to it has left, by performance.now(). */
  #free = 0;

  constructor(latency: number, rate: number) {
    this.#latency = latency;
    this.#rate = rate;
  }

  /** Ends, or is cut off, as `from` is. */
  async carry(from: Socket, to: Socket): Promise<void> {
    let delivered = Promise.resolve();
    try {
      for await (const piece of from as AsyncIterable<Buffer>) {
        this.#free = Math.max(this.#free, performance.now()) + (piece.length / this.#rate) * 1000;
        const leaves = this.#free;
        const before = delivered;
        delivered = delay(Math.max(0, leaves + this.#latency - performance.now()))
          .then(() => before) // Timers keep no order.
          .then(() => void to.write(piece));
        await delay(Math.max(0, leaves - QUEUE - performance.now())); // No more is taken than the line carries.
      }
      await delivered;
      to.end();
    } catch {
      to.destroy(); // A connection that was reset is reset on the other side.
    }
  }
}
