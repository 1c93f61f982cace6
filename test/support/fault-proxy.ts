/** An HTTP proxy in front of a real server that answers some requests wrongly. In the process of the test. */

import { createServer, request as httpRequest } from 'node:http';
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { onTestFinished } from 'vitest';

/** A request as it came. */
export interface Seen {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
}

/** What happens to a request. */
export type Fault =
  /** Passed on, and its answer passed back. */
  | { readonly kind: 'none' }
  /** Answered here, never passed on. */
  | { readonly kind: 'answer'; readonly status: number; readonly body?: string }
  /** Served here, by the request's body: with this status. */
  | { readonly kind: 'served'; readonly by: (body: Uint8Array) => Promise<number> }
  /** Passed on; the answer is withheld and the connection closed. */
  | { readonly kind: 'lost answer' }
  /** The connection is reset when so many bytes of the request's body came. */
  | { readonly kind: 'reset request'; readonly after: number }
  /** The answer's connection is reset after so many bytes of its body. */
  | { readonly kind: 'reset answer'; readonly after: number }
  /** The answer ends in order, and its length said so many bytes more. */
  | { readonly kind: 'longer'; readonly by: number }
  /** Neither passed on nor answered. */
  | { readonly kind: 'silence' };

export const NO_FAULT: Fault = { kind: 'none' };

export interface FaultProxy {
  /** http://127.0.0.1:PORT */
  readonly url: string;
  /** All requests, in the order they came. */
  readonly seen: Seen[];
  /** Decides over each request; at first none has a fault. */
  fault: (request: Seen) => Fault | Promise<Fault>;
}

/** A proxy in front of `target` (http://HOST:PORT), gone after the running test. */
export async function faultProxy(target: string): Promise<FaultProxy> {
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    const { method = '', url = '', headers } = request;
    const one = { method, url, headers };
    seen.push(one);
    Promise.resolve(proxy.fault(one)).then(
      (fault) => serve(fault, target, request, response),
      () => request.socket.destroy(), // The test sees a dead server, and fails.
    );
  });
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  const proxy: FaultProxy = { url: `http://127.0.0.1:${port}`, seen, fault: () => NO_FAULT };
  return proxy;
}

function serve(fault: Fault, target: string, request: IncomingMessage, response: ServerResponse): void {
  switch (fault.kind) {
    case 'silence':
      request.resume();
      return;
    case 'answer':
      request.resume();
      request.once('end', () => response.writeHead(fault.status).end(fault.body));
      return;
    case 'served':
      void buffer(request)
        .then((body) => fault.by(body))
        .then((status) => response.writeHead(status).end());
      return;
    case 'reset request':
      resetAfter(fault.after, request);
      return;
    default:
      forward(fault, target, request, response);
  }
}

function resetAfter(bytes: number, request: IncomingMessage): void {
  let size = 0;
  request.on('data', (piece: Buffer) => {
    size += piece.length;
    if (size >= bytes) request.socket.resetAndDestroy();
  });
}

function forward(fault: Fault, target: string, request: IncomingMessage, response: ServerResponse): void {
  const { method, url, headers } = request;
  const outgoing = httpRequest(new URL(url ?? '/', target), { method, headers }, (answer) => {
    if (fault.kind === 'lost answer') {
      answer.resume();
      answer.once('end', () => request.socket.resetAndDestroy());
      return;
    }
    response.writeHead(answer.statusCode ?? 500, lengthened(answer.headers, fault));
    let size = 0;
    answer.on('data', (piece: Buffer) => {
      size += piece.length;
      response.write(piece);
      if (fault.kind === 'reset answer' && size >= fault.after) request.socket.resetAndDestroy();
    });
    answer.once('end', () => {
      if (fault.kind === 'longer')
        request.socket.end(); // What was promised does not come.
      else response.end();
    });
  });
  outgoing.once('error', () => request.socket.destroy()); // As a server that died.
  request.pipe(outgoing);
}

function lengthened(headers: OutgoingHttpHeaders, fault: Fault): OutgoingHttpHeaders {
  const length = Number(headers['content-length'] ?? 0);
  return fault.kind === 'longer' ? { ...headers, 'content-length': length + fault.by } : headers;
}
