/** The keys of an open repository. They live in dom0's memory only (R01, R10) and are zeroed by close(). */

import { randomBytes } from 'node:crypto';
import { concat, equalBytes, hex, u32, utf8 } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { idBytes } from '../../shared/ids.ts';
import type { RepositoryId, VmId } from '../../shared/ids.ts';
import type { RootBody } from '../../shared/root.ts';
import { hkdf } from './derive.ts';
import { publicKeyOf, sign } from './signing-key.ts';
import { unwrapKey, wrapKey } from './wrap.ts';

const NO_SALT = new Uint8Array(0);

export class Keyring {
  readonly repository: RepositoryId;
  readonly publicKey: Uint8Array;
  readonly #master: Uint8Array;
  readonly #catalogKey: Uint8Array;
  readonly #wrappingKey: Uint8Array;
  readonly #seed: Uint8Array;
  /** Unwrapped VM data keys by their wrapped form: one copy of each, which close() can zero. */
  readonly #vmKeys = new Map<string, Uint8Array>();
  #closed = false;

  private constructor(repository: RepositoryId, master: Uint8Array, seed: Uint8Array) {
    this.repository = repository;
    this.#master = master;
    this.#seed = seed;
    this.#catalogKey = subkey(master, repository, 'catalog');
    this.#wrappingKey = subkey(master, repository, 'wrapping');
    this.publicKey = publicKeyOf(seed);
  }

  /** Fresh random keys for a new repository. */
  static create(repository: RepositoryId): Keyring {
    return new Keyring(repository, randomBytes(32), randomBytes(32));
  }

  /** Opens the keys of `body` with its master key, which it takes over. Throws `store-damaged` if the root carries another public key. */
  static open(body: RootBody, master: Uint8Array): Keyring {
    const { repository } = body;
    const under = subkey(master, repository, 'signing seed');
    let keyring: Keyring;
    try {
      const seed = unwrapKey(under, 'signing seed', idBytes(repository), body.signingSeed);
      keyring = new Keyring(repository, master, seed);
    } catch (error) {
      master.fill(0);
      throw error;
    } finally {
      under.fill(0);
    }
    if (equalBytes(keyring.publicKey, body.publicKey)) return keyring;
    keyring.close();
    throw new BackupError(
      'store-damaged',
      'the root was signed by a key that is not this repository’s: the store was tampered with',
    );
  }

  /** Seals catalog, root segments and VM records. */
  get catalogKey(): Uint8Array {
    this.#requireOpen();
    return this.#catalogKey;
  }

  /** The signing seed, sealed for a root. */
  wrapSeed(): Uint8Array {
    const under = subkey(this.#master, this.repository, 'signing seed');
    const wrapped = wrapKey(under, 'signing seed', idBytes(this.repository), this.#seed);
    under.fill(0);
    return wrapped;
  }

  /** The master key, wrapped under a slot key. */
  wrapMaster(slotKey: Uint8Array, salt: Uint8Array): Uint8Array {
    return wrapKey(slotKey, 'master', masterContext(this.repository, salt), this.#master);
  }

  wrapVmKey(vm: VmId, epoch: number, key: Uint8Array): Uint8Array {
    return wrapKey(this.#wrappingKey, 'vm', this.#vmContext(vm, epoch), key);
  }

  /** The VM's data key; the caller must not keep or alter it. */
  unwrapVmKey(vm: VmId, epoch: number, wrapped: Uint8Array): Uint8Array {
    this.#requireOpen();
    const name = `${vm} ${epoch} ${hex(wrapped)}`;
    const known = this.#vmKeys.get(name);
    if (known !== undefined) return known;
    const key = unwrapKey(this.#wrappingKey, 'vm', this.#vmContext(vm, epoch), wrapped);
    this.#vmKeys.set(name, key);
    return key;
  }

  sign(message: Uint8Array): Uint8Array {
    this.#requireOpen();
    return sign(message, this.#seed);
  }

  close(): void {
    const keys = [this.#master, this.#seed, this.#wrappingKey, this.#catalogKey, ...this.#vmKeys.values()];
    for (const key of keys) key.fill(0);
    this.#vmKeys.clear();
    this.#closed = true;
  }

  /** Work that outlived its run must fail, not seal under a key of zeros. */
  #requireOpen(): void {
    if (this.#closed) throw new BackupError('internal', 'the keys are closed');
  }

  #vmContext(vm: VmId, epoch: number): Uint8Array {
    return concat([idBytes(this.repository), idBytes(vm), u32(epoch)]);
  }
}

/** The context under which a slot wraps the master key. */
export function masterContext(repository: RepositoryId, salt: Uint8Array): Uint8Array {
  return concat([idBytes(repository), salt]);
}

function subkey(master: Uint8Array, repository: RepositoryId, label: string): Uint8Array {
  return hkdf(master, NO_SALT, idBytes(repository), utf8(label));
}
