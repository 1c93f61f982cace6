import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { xchacha20poly1305 } from '@noble/ciphers/chacha.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KIND, open, seal } from '../../dom0/seal/object.ts';
import type { Kind, Place } from '../../dom0/seal/object.ts';
import { sizeClass } from '../../dom0/seal/size-class.ts';
import { decrypt, encrypt } from '../../dom0/seal/xchacha.ts';
import { concat, hex, utf8 } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { newRepositoryId, newVmId, objectIdOf } from '../../shared/ids.ts';
import type { ObjectId, RepositoryId, VmId } from '../../shared/ids.ts';
import { MAX_BLOB, MAX_OBJECT, MAX_PADDED, MIN_PADDED, SEAL_OVERHEAD } from '../../shared/limits.ts';

const bytes = (text: string) => new Uint8Array(Buffer.from(text, 'hex'));

describe('XChaCha20-Poly1305', () => {
  it('agrees with the reference on any key, nonce, data and split into pieces', () => {
    const data = (max: number) => fc.uint8Array({ maxLength: max });
    const fixed = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
    fc.assert(
      fc.property(
        fixed(32),
        fixed(24),
        data(80),
        fc.array(data(300), { maxLength: 5 }),
        (key, nonce, associated, pieces) => {
          const ours = concat(encrypt(key, nonce, associated, pieces));
          expect(hex(ours)).toBe(
            hex(xchacha20poly1305(key, nonce, associated).encrypt(new Uint8Array(concat(pieces)))),
          );
          expect(hex(decrypt(key, nonce, associated, ours))).toBe(hex(concat(pieces)));
        },
      ),
    );
  });

  it('works on keys and nonces at unaligned positions of a larger buffer', () => {
    const large = randomBytes(64);
    const [key, nonce] = [large.subarray(1, 33), large.subarray(33, 57)];
    const sealed = concat(encrypt(key, nonce, new Uint8Array(0), [utf8('text')]));
    expect(hex(sealed)).toBe(
      hex(xchacha20poly1305(new Uint8Array(key), new Uint8Array(nonce)).encrypt(utf8('text'))),
    );
  });
});

describe('size classes', () => {
  it.each([
    [0, 4096],
    [1, 4096],
    [4095, 4096],
    [4096, 4096],
    [4097, 4352],
    [4352, 4352],
    [4353, 4608],
    [65536, 65536],
    [65537, 67584],
    [1048575, 1048576],
    [1048576, 1048576],
    [1048577, 1310720],
    [8 * 2 ** 20 - 1, 8 * 2 ** 20],
    [8 * 2 ** 20, 8 * 2 ** 20],
    [8 * 2 ** 20 + 1, 8 * 2 ** 20 + 262144],
    [MAX_PADDED, MAX_PADDED],
  ])('%i -> %i', (length, expected) => {
    expect(sizeClass(length)).toBe(expected);
  });

  it('never shrinks, is its own class, and wastes at most 12 % above the floor', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: MAX_PADDED }), (length) => {
        const padded = sizeClass(length);
        expect(padded).toBeGreaterThanOrEqual(length);
        expect(sizeClass(padded)).toBe(padded);
        if (length > MIN_PADDED && length <= 2 ** 20) expect(padded / length).toBeLessThan(1.12);
        if (length > 2 ** 20) expect(padded - length).toBeLessThan(262144);
      }),
    );
  });
});

describe('sealed objects', () => {
  const key = randomBytes(32);
  const place: Place = {
    kind: KIND.content,
    repository: newRepositoryId(),
    vm: newVmId(),
    number: 7,
    epoch: 2,
  };
  const sealBytes = (payload: Uint8Array, at: Place = place) => {
    const object = seal(key, at, payload);
    return { id: object.id, bytes: new Uint8Array(concat(object.pieces)), size: object.size };
  };
  const damage = (work: () => unknown) => {
    expect(work).toThrow(BackupError);
    expect(work).toThrow(expect.objectContaining({ code: 'store-damaged' }) as Error);
  };

  it.each([0, 1, 4091, 4092, 4093, 100_000, 2 ** 20, 3_000_000, MAX_BLOB])(
    'round-trips %i bytes',
    (length) => {
      const payload = randomBytes(length);
      const { id, bytes: object, size } = sealBytes(payload);
      expect(object.length).toBe(size);
      expect(object.length).toBe(sizeClass(4 + length) + SEAL_OVERHEAD);
      expect(id).toBe(createHash('sha256').update(object).digest('hex'));
      expect(Buffer.compare(open(key, place, id, object), payload)).toBe(0);
    },
  );

  it('refuses a payload over the cap', () => {
    expect(() => seal(key, place, new Uint8Array(MAX_BLOB + 1))).toThrow(BackupError);
    expect(MAX_OBJECT).toBe(16 * 2 ** 20 + 40);
  });

  it('R09: never seals the same twice alike', () => {
    const ids = new Set(Array.from({ length: 100 }, () => sealBytes(utf8('same')).id));
    expect(ids.size).toBe(100);
  });

  it('R05: refuses any flipped byte, cut or extension, under its own name and under the right one', () => {
    const { id, bytes: object } = sealBytes(utf8('secret'));
    for (let at = 0; at < object.length; at += at < 64 ? 1 : 97) {
      const flipped = new Uint8Array(object);
      flipped[at] = (flipped[at] ?? 0) ^ 1;
      damage(() => open(key, place, id, flipped));
      damage(() => open(key, place, objectIdOf(flipped), flipped));
    }
    damage(() => open(key, place, objectIdOf(object.subarray(1)), object.subarray(1)));
    const longer = concat([object, new Uint8Array(1)]);
    damage(() => open(key, place, objectIdOf(longer), longer));
    damage(() => open(key, place, objectIdOf(new Uint8Array(0)), new Uint8Array(0)));
  });

  it('R05: opens at its own place only', () => {
    const { id, bytes: object } = sealBytes(utf8('secret'));
    const others: Partial<Place>[] = [
      { kind: KIND.tree },
      { repository: newRepositoryId() },
      { vm: newVmId() },
      { vm: undefined },
      { number: 8 },
      { epoch: 1 },
    ];
    for (const other of others) damage(() => open(key, { ...place, ...other }, id, object));
    damage(() => open(randomBytes(32), place, id, object));
  });

  it('refuses a padding that is not canonical, even if sealed with the right key', () => {
    const forge = (plaintext: Uint8Array) => {
      const associated = associatedOf(place);
      const nonce = randomBytes(24);
      const object = concat([nonce, ...encrypt(key, nonce, associated, [plaintext])]);
      return () => open(key, place, objectIdOf(object), object);
    };
    const plaintext = (length: number, padded: number) => {
      const out = Buffer.alloc(padded);
      out.writeUInt32BE(length);
      return out;
    };
    expect(forge(plaintext(10, 4096))()).toHaveLength(10);
    damage(forge(plaintext(10, 4352))); // a larger class than needed
    damage(forge(plaintext(4093, 4096))); // longer than the plaintext
    damage(forge(plaintext(2 ** 32 - 1, 4096)));
    const filled = plaintext(10, 4096);
    filled[4095] = 1;
    damage(forge(filled));
  });

  it('opens the vectors of docs/format.md, section 2', () => {
    const { accepted: vectors } = JSON.parse(
      readFileSync(new URL('../vectors/objects.json', import.meta.url), 'utf8'),
    ) as {
      accepted: {
        title: string;
        key: string;
        place: { kind: Kind; repository: RepositoryId; vm: VmId | null; number: number; epoch: number };
        payload: string;
        associated: string;
        id: ObjectId;
        object: string;
      }[];
    };
    expect(vectors.length).toBeGreaterThanOrEqual(4);
    for (const { title, key: vectorKey, place: at, payload, associated, id, object } of vectors) {
      const where: Place = { ...at, vm: at.vm ?? undefined };
      expect(hex(associatedOf(where)), title).toBe(associated);
      expect(hex(open(bytes(vectorKey), where, id, bytes(object))), title).toBe(payload);
    }
  });
});

/** The associated data written down once more, from docs/format.md alone. */
function associatedOf(place: Place): Uint8Array {
  const out = Buffer.alloc(49);
  out.write('QIB1', 0, 'latin1');
  out.writeUInt8(place.kind, 4);
  out.write(place.repository, 5, 'hex');
  if (place.vm !== undefined) out.write(place.vm, 21, 'hex');
  out.writeBigUInt64BE(BigInt(place.number), 37);
  out.writeUInt32BE(place.epoch, 45);
  return out;
}
