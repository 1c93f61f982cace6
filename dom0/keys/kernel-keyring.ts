/**
 * One key in this user's keyring of the kernel, which is gone when the machine is shut down. By the program keyctl, which takes
 * the key on stdin: dom0 loads no native code, so it makes no system calls of its own.
 */

import { hex } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { runProgram } from '../domains/run-program.ts';
import type { SlotKey } from './slots.ts';

const PAYLOAD = /^qubes-backup-slot-1:([0-9a-f]{32})([0-9a-f]{64})$/;
/** Bytes; a payload is shorter, and keyctl prints a number otherwise. */
const MAX_OUTPUT = 256;
/** Milliseconds. */
const TIMEOUT = 10_000;

/**
 * Each is run by sh in a session keyring of its own that has the user's: whose login has no link to that one (sudo, systemd) may not read
 * its keys. $1 is the key's name, $2 seconds, 0 for no end.
 */
const PUT = `id=$(keyctl padd user "$1" @u) && { keyctl timeout "$id" "$2" || { keyctl unlink "$id" @u; exit 1; }; }`;
const GET = 'id=$(keyctl search @u user "$1") && keyctl pipe "$id"';
const REMOVE = 'id=$(keyctl search @u user "$1") && keyctl unlink "$id" @u';

export class KernelKeyring {
  readonly #name: string;

  /** That of the machine's state in `stateFolder`. */
  constructor(stateFolder: string) {
    this.#name = `qubes-backup:${stateFolder}`;
  }

  /** Keeps `key` for so many seconds, 0 for as long as the machine runs, instead of what was there. Throws `io`. */
  async put({ salt, bytes }: SlotKey, seconds: number): Promise<void> {
    const input = Buffer.from(`qubes-backup-slot-1:${hex(salt)}${hex(bytes)}`, 'latin1');
    const { end, stderr } = await this.#run(PUT, seconds, input).finally(() => input.fill(0));
    if (end.kind === 'exited' && end.code === 0) return;
    const reason =
      end.kind === 'exited' && end.code !== 127
        ? stderr
        : 'the program keyctl, of the package keyutils, is needed';
    throw new BackupError('io', `the kernel's keyring does not take the key: ${reason}`);
  }

  /** The key, if there is one. Its copy is the caller's. */
  async get(): Promise<SlotKey | undefined> {
    const { end } = await this.#run(GET);
    if (end.kind !== 'exited' || end.code !== 0) return undefined;
    const [, salt, bytes] = PAYLOAD.exec(Buffer.from(end.stdout).toString('latin1')) ?? [];
    end.stdout.fill(0);
    if (salt === undefined || bytes === undefined) return undefined;
    return { kind: 'slotKey', salt: Buffer.from(salt, 'hex'), bytes: Buffer.from(bytes, 'hex') };
  }

  /** Removes it; answers whether there was one. */
  async remove(): Promise<boolean> {
    const { end } = await this.#run(REMOVE);
    return end.kind === 'exited' && end.code === 0;
  }

  #run(script: string, seconds = 0, input?: Uint8Array) {
    const joined = `keyctl link @u @s && ${script}`;
    return runProgram(['keyctl', 'session', '-', 'sh', '-c', joined, 'sh', this.#name, String(seconds)], {
      timeout: TIMEOUT,
      maxOutput: MAX_OUTPUT,
      ...(input === undefined ? {} : { input }),
    });
  }
}
