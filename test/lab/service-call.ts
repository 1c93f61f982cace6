/** Calls of an agent as a driver's caller sees them. */

import type { ServiceCall } from '../../dom0/domains/domains.ts';
import { keepStderr } from '../../dom0/domains/child.ts';
import { streamIo } from '../../shared/wire/io.ts';
import type { ClientCall } from './channel.ts';

/** Milliseconds: a guest without virtualization is some thirty times as slow. */
const PATIENCE = { idleTimeout: 5 * 60_000, answerTimeout: 10 * 60_000 };

/** `vm` is the called one's name. */
export function serviceCall(vm: string, call: ClientCall, service: string): ServiceCall {
  const { stdin, stdout, stderr } = call;
  const kept = keepStderr(stderr);
  let hungUp = false;
  let over = false;
  let killed: () => void = () => undefined;
  const exited = Promise.race([
    call.exited.then((code) => ({ code, signal: null })),
    new Promise<{ code: null; signal: string }>((resolve) => {
      killed = () => resolve({ code: null, signal: 'SIGKILL' });
    }),
  ]);
  void exited.then(() => {
    over = true;
    if (hungUp) stdout.destroy();
  });
  return {
    peer: `${vm}: ${service}`,
    io: streamIo(stdout, stdin),
    ...PATIENCE,
    exited,
    stderr: () => kept.text(),
    hangUp() {
      hungUp = true;
      stdin.end();
      if (over) stdout.destroy();
    },
    kill() {
      call.abandon();
      killed();
      for (const stream of [stdin, stdout, stderr]) stream.destroy();
    },
  };
}
