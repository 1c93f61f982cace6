/** Objects and signed roots to store: real ones as far as a storage VM can tell. */

import { randomBytes } from 'node:crypto';
import * as z from 'zod';
import { concat, u32, utf8 } from '../../shared/bytes.ts';
import { decodeWith, encodeCbor } from '../../shared/cbor.ts';
import { NO_ROOT, newRepositoryId, objectIdOf } from '../../shared/ids.ts';
import type { ObjectId, RepositoryId, RootHash } from '../../shared/ids.ts';
import { MIN_OBJECT } from '../../shared/protocol/storage.ts';
import { FORMAT_VERSION, encodeRoot } from '../../shared/root.ts';
import type { Root, RootBody } from '../../shared/root.ts';
import { signRotation } from '../../shared/rotation.ts';
import { shardOf } from '../../storagevm/back-end.ts';
import { getPublicKey, sign } from '../support/noble-ed25519.ts';

/** docs/format.md, section 4. */
const BODY_AT = 12;
const SIGNATURE_SIZE = 64;
const SIGNED = utf8(`qubes-incremental-backup root ${FORMAT_VERSION}\0`);

/** Random bytes under their name. */
export interface TestObject {
  readonly id: ObjectId;
  readonly bytes: Uint8Array;
}

export function object(size = MIN_OBJECT): TestObject {
  const bytes = randomBytes(size);
  return { id: objectIdOf(bytes), bytes };
}

export function objects(count: number, size = MIN_OBJECT): TestObject[] {
  return Array.from({ length: count }, () => object(size));
}

/** Objects of which no two are in one shard of a store. */
export function objectsApart(count: number): TestObject[] {
  const found = new Map<string, TestObject>();
  while (found.size < count) {
    const one = object();
    found.set(shardOf(one.id), one);
  }
  return [...found.values()];
}

/** A repository that signs roots. */
export class TestRepository {
  readonly #id: RepositoryId;
  readonly #seed = new Uint8Array(randomBytes(32));

  constructor(id = newRepositoryId()) {
    this.#id = id;
  }

  get publicKey(): Uint8Array {
    return getPublicKey(this.#seed);
  }

  /** The root after `before`; its catalog, and so its hash, is new each time. */
  root(before?: Root, changes: Partial<RootBody> = {}): Root {
    const body: RootBody = {
      version: FORMAT_VERSION,
      repository: this.#id,
      counter: (before?.body.counter ?? 0) + 1,
      time: 1_700_000_000_000,
      previous: before?.hash ?? NO_ROOT,
      publicKey: this.publicKey,
      rotations: before?.body.rotations ?? [],
      signingSeed: new Uint8Array(72),
      slots: [{ kind: 'keyFile', label: 'test', salt: new Uint8Array(16), wrapped: new Uint8Array(72) }],
      catalog: object(32).id,
      live: null,
      ...changes,
    };
    return encodeRoot(body, (message) => sign(message, this.#seed));
  }

  /** A root of any fields, whatever a schema says of them; properly signed. */
  forge(fields: Readonly<Record<string, unknown>>): Uint8Array {
    const { bytes } = this.root();
    const encoded = encodeCbor({ ...rootFields(bytes), ...fields });
    const signature = sign(concat([SIGNED, encoded]), this.#seed);
    return concat([bytes.subarray(0, BODY_AT - 4), u32(encoded.length), encoded, signature]);
  }

  /** The same repository with a new key, and the root after `before` by which it replaces this one's. */
  replaceKey(
    before: Root,
    changes: Partial<RootBody> = {},
  ): { readonly next: TestRepository; readonly root: Root } {
    const next = new TestRepository(this.#id);
    const place = { repository: this.#id, counter: before.body.counter + 1, previous: before.hash };
    const key = { publicKey: this.publicKey, sign: (message: Uint8Array) => sign(message, this.#seed) };
    const rotations = [...before.body.rotations, signRotation(place, next.publicKey, key)];
    return { next, root: next.root(before, { rotations, ...changes }) };
  }

  /** `count` roots, each following the one before. */
  chain(count: number): Root[] {
    const roots: Root[] = [];
    for (let i = 0; i < count; i++) roots.push(this.root(roots.at(-1)));
    return roots;
  }
}

/** The fields of a root as they are encoded, unchecked. */
export function rootFields(root: Uint8Array): Readonly<Record<string, unknown>> {
  return decodeWith(z.record(z.string(), z.unknown()), root.subarray(BODY_AT, -SIGNATURE_SIZE));
}

/** The place of `root` in the chain. */
export function previousOf(root: Root): RootHash {
  return root.body.previous;
}
