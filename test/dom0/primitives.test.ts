/**
 * The primitives on both paths, Node's native code and `@noble`, against the vectors that their standards publish; and
 * what we seal against libsodium, which shares no code with either.
 */

import { argon2Sync, createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';
import { chacha20poly1305, hchacha, xchacha20poly1305 } from '@noble/ciphers/chacha.js';
import { argon2id as nobleArgon2id } from '@noble/hashes/argon2.js';
import { hkdf as nobleHkdf } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';
import fc from 'fast-check';
import sodium from 'libsodium-wrappers';
import { beforeAll, describe, expect, it } from 'vitest';
import { argon2id, hkdf } from '../../dom0/keys/derive.ts';
import { Keyring } from '../../dom0/keys/keyring.ts';
import { publicKeyOf, sign } from '../../dom0/keys/signing-key.ts';
import { unwrapKey, wrapKey } from '../../dom0/keys/wrap.ts';
import { KIND, open, seal } from '../../dom0/seal/object.ts';
import type { Place } from '../../dom0/seal/object.ts';
import { sizeClass } from '../../dom0/seal/size-class.ts';
import { decrypt, encrypt } from '../../dom0/seal/xchacha.ts';
import { concat, hex, u32, utf8 } from '../../shared/bytes.ts';
import { verify } from '../../shared/ed25519.ts';
import { idBytes, newRepositoryId, newVmId, objectIdOf } from '../../shared/ids.ts';
import * as noble from '../support/noble-ed25519.ts';
import { PRIMITIVES, cavpMessages, cavpMonteCarlo } from '../support/primitive-vectors.ts';

/** A copy at an address that no typed array of words could begin at. */
const unaligned = (value: Uint8Array) => new Uint8Array(concat([Uint8Array.of(0), value])).subarray(1);

describe('published vectors', () => {
  it.each(PRIMITIVES.chacha20poly1305)('ChaCha20-Poly1305: $source', (vector) => {
    const { key, nonce, associated, plaintext, ciphertext, tag } = vector;
    const sealed = hex(concat([ciphertext, tag]));
    const cipher = createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: 16 });
    cipher.setAAD(associated, { plaintextLength: plaintext.length });
    const pieces = [cipher.update(plaintext), cipher.final(), cipher.getAuthTag()];
    expect(hex(concat(pieces))).toBe(sealed);
    const decipher = createDecipheriv('chacha20-poly1305', key, nonce, { authTagLength: 16 });
    decipher.setAAD(associated, { plaintextLength: ciphertext.length });
    decipher.setAuthTag(tag);
    expect(hex(concat([decipher.update(ciphertext), decipher.final()]))).toBe(hex(plaintext));
    expect(hex(chacha20poly1305(key, nonce, associated).encrypt(plaintext))).toBe(sealed);
  });

  it.each(PRIMITIVES.hchacha20)('HChaCha20: $source', ({ key, nonce, output }) => {
    const words = (value: Uint8Array) => new Uint32Array(new Uint8Array(value).buffer);
    const out = new Uint32Array(8);
    hchacha(Uint32Array.of(0x61707865, 0x3320646e, 0x79622d32, 0x6b206574), words(key), words(nonce), out);
    expect(hex(new Uint8Array(out.buffer))).toBe(hex(output));
  });

  it.each(PRIMITIVES.xchacha20poly1305)('XChaCha20-Poly1305: $source', (vector) => {
    const { key, nonce, associated, plaintext, ciphertext, tag } = vector;
    const sealed = concat([ciphertext, tag]);
    expect(hex(concat(encrypt(key, nonce, associated, [plaintext])))).toBe(hex(sealed));
    expect(hex(concat(encrypt(unaligned(key), unaligned(nonce), associated, [unaligned(plaintext)])))).toBe(
      hex(sealed),
    );
    expect(hex(xchacha20poly1305(key, nonce, associated).encrypt(plaintext))).toBe(hex(sealed));
    expect(hex(decrypt(key, nonce, associated, sealed))).toBe(hex(plaintext));
  });

  it.each(PRIMITIVES.argon2id)('Argon2id: $source', (vector) => {
    const { memory, passes, lanes, password, salt, secret, associated, tag } = vector;
    const native = argon2Sync('argon2id', {
      message: password,
      nonce: salt,
      secret,
      associatedData: associated,
      memory,
      passes,
      parallelism: lanes,
      tagLength: 32,
    });
    expect(hex(native)).toBe(hex(tag));
    const options = { m: memory, t: passes, p: lanes, dkLen: 32, key: secret, personalization: associated };
    expect(hex(nobleArgon2id(password, salt, options))).toBe(hex(tag));
  });

  it.each(PRIMITIVES.hkdfSha256)('HKDF-SHA-256: $source', ({ ikm, salt, info, okm }) => {
    expect(hex(new Uint8Array(hkdfSync('sha256', ikm, salt, info, okm.length)))).toBe(hex(okm));
    expect(hex(nobleHkdf(sha256, ikm, salt, info, okm.length))).toBe(hex(okm));
    expect(hex(hkdf(ikm, salt, info.subarray(0, 3), info.subarray(3)))).toBe(hex(okm.subarray(0, 32)));
  });

  it.each(PRIMITIVES.ed25519)('Ed25519: $source', ({ seed, publicKey, message, signature }) => {
    for (const code of [
      { publicKeyOf, sign, verify },
      { ...noble, publicKeyOf: noble.getPublicKey },
    ]) {
      expect(hex(code.publicKeyOf(seed))).toBe(hex(publicKey));
      expect(hex(code.sign(message, seed))).toBe(hex(signature));
      expect(code.verify(signature, message, publicKey)).toBe(true);
    }
  });

  it('Ed25519: another message, key or signature is refused, however it is altered', () => {
    const seed = randomBytes(32);
    const publicKey = publicKeyOf(seed);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(), (message, at) => {
        const signature = sign(message, seed);
        expect(noble.verify(signature, message, publicKey)).toBe(true);
        const flipped = (bytes: Uint8Array) =>
          bytes.map((byte, i) => (i === at % bytes.length ? byte ^ (1 << (at % 8)) : byte));
        expect(verify(flipped(signature), message, publicKey)).toBe(false);
        expect(verify(signature, message, flipped(publicKey))).toBe(false);
        expect(verify(signature, concat([message, Uint8Array.of(0)]), publicKey)).toBe(false);
        expect(verify(signature.subarray(1), message, publicKey)).toBe(false);
      }),
      { numRuns: 100 },
    );
    // RFC 8032, 5.1.7: S is below the group's order. The same one order further on is no second signature.
    const message = utf8('message');
    const signature = sign(message, seed);
    const order = 2n ** 252n + 27742317777372353535851937790883648493n;
    const S = BigInt(`0x${Buffer.from(signature.slice(32).reverse()).toString('hex')}`) + order;
    const high = Buffer.from(S.toString(16).padStart(64, '0'), 'hex').reverse();
    expect(verify(concat([signature.subarray(0, 32), high]), message, publicKey)).toBe(false);
  });

  it.each([
    ['SHA256ShortMsg', 65],
    ['SHA256LongMsg', 64],
  ])('SHA-256: CAVP %s', (name, count) => {
    const rows = cavpMessages(name);
    expect(rows).toHaveLength(count);
    for (const { message, digest } of rows) {
      expect(createHash('sha256').update(message).digest('hex')).toBe(digest);
      expect(hex(sha256(message))).toBe(digest);
      expect(objectIdOf(message)).toBe(digest);
      expect(objectIdOf(message.subarray(0, 5), message.subarray(5))).toBe(digest);
    }
  });

  it.each([
    ['native', (message: Uint8Array) => new Uint8Array(createHash('sha256').update(message).digest())],
    ['noble', sha256],
  ])('SHA-256, %s: CAVP SHA256Monte', (_path, digestOf) => {
    const { seed: first, digests } = cavpMonteCarlo();
    expect(digests).toHaveLength(100);
    let seed: Uint8Array = first;
    for (const digest of digests) {
      let [a, b, c] = [seed, seed, seed];
      for (let i = 0; i < 1000; i++) [a, b, c] = [b, c, digestOf(concat([a, b, c]))];
      expect(hex(c)).toBe(digest);
      seed = c;
    }
  });
});

describe('Argon2id', () => {
  const [passphrase, salt] = [utf8('correct horse battery staple'), new Uint8Array(16).fill(7)];

  it.each([
    ['the floor', { memory: 64 * 1024, passes: 3, lanes: 4 }],
    ['the cost of a slot', { memory: 128 * 1024, passes: 3, lanes: 4 }],
  ])(
    'is the same without the native code, at %s',
    async (_title, cost) => {
      const native = await argon2id(passphrase, salt, cost);
      expect(hex(await argon2id(passphrase, salt, cost, null))).toBe(hex(native));
    },
    120_000,
  );

  it('does without native code that Node.js has and its OpenSSL has not', async () => {
    const cost = { memory: 64 * 1024, passes: 3, lanes: 1 };
    const absent = () =>
      Promise.reject(Object.assign(new Error(), { code: 'ERR_CRYPTO_ARGON2_NOT_SUPPORTED' }));
    const broken = () => Promise.reject(Object.assign(new Error('no memory'), { code: 'ERR_OTHER' }));
    expect(hex(await argon2id(passphrase, salt, cost, absent))).toBe(
      hex(await argon2id(passphrase, salt, cost)),
    );
    await expect(argon2id(passphrase, salt, cost, broken)).rejects.toThrow('no memory');
  }, 60_000);
});

describe('libsodium', () => {
  beforeAll(() => sodium.ready);
  const fixed = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
  const place: Place = {
    kind: KIND.tree,
    repository: newRepositoryId(),
    vm: newVmId(),
    number: 2 ** 40 + 7,
    epoch: 3,
  };
  /** The associated data written down once more, from docs/format.md alone. */
  const associated = concat([
    utf8('QIB1'),
    Uint8Array.of(17),
    idBytes(place.repository),
    idBytes(place.vm ?? newVmId()),
    Buffer.from('0000010000000007', 'hex'),
    Buffer.from('00000003', 'hex'),
  ]);

  it('opens what we seal', () => {
    fc.assert(
      fc.property(fixed(32), fc.uint8Array({ maxLength: 20_000 }), (key, payload) => {
        const object = concat(seal(key, place, payload).pieces);
        const padded = sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
          null,
          new Uint8Array(object.subarray(24)),
          associated,
          new Uint8Array(object.subarray(0, 24)),
          key,
        );
        expect(hex(padded.subarray(0, 4 + payload.length))).toBe(hex(concat([u32(payload.length), payload])));
        expect(padded.subarray(4 + payload.length).every((byte) => byte === 0)).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  it('seals what we open', () => {
    fc.assert(
      fc.property(fixed(32), fc.uint8Array({ maxLength: 20_000 }), (key, payload) => {
        const padded = new Uint8Array(sizeClass(4 + payload.length));
        padded.set(concat([u32(payload.length), payload]));
        const nonce = new Uint8Array(randomBytes(24));
        const sealed = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(
          padded,
          associated,
          null,
          nonce,
          key,
        );
        const object = concat([nonce, sealed]);
        expect(hex(open(key, place, objectIdOf(object), object))).toBe(hex(payload));
        const other = concat([nonce, sealed.map((byte, at) => (at === 5 ? byte ^ 1 : byte))]);
        expect(() => open(key, place, objectIdOf(other), other)).toThrow('not sealed for this place');
      }),
      { numRuns: 50 },
    );
  });

  it('wraps and unwraps keys as we do', () => {
    const [under, key, context] = [randomBytes(32), randomBytes(32), randomBytes(36)].map(
      (each) => new Uint8Array(each),
    );
    if (under === undefined || key === undefined || context === undefined) throw new Error('three of them');
    const purpose = concat([utf8('QIB1 wrap vm\0'), context]);
    const wrapped = wrapKey(under, 'vm', context, key);
    const opened = sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
      null,
      new Uint8Array(wrapped.subarray(24)),
      purpose,
      new Uint8Array(wrapped.subarray(0, 24)),
      under,
    );
    expect(hex(opened)).toBe(hex(key));
    const nonce = new Uint8Array(randomBytes(24));
    const sealed = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(key, purpose, null, nonce, under);
    expect(hex(unwrapKey(under, 'vm', context, concat([nonce, sealed])))).toBe(hex(key));
  });

  it('verifies what we sign', () => {
    const keyring = Keyring.create(newRepositoryId());
    const message = utf8('a root');
    const signature = new Uint8Array(keyring.sign(message));
    expect(sodium.crypto_sign_verify_detached(signature, message, keyring.publicKey)).toBe(true);
    expect(sodium.crypto_sign_verify_detached(signature, utf8('another'), keyring.publicKey)).toBe(false);
  });
});
