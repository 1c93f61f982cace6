/** What the standards publish of the primitives: test/vectors/primitives.json, and the files of NIST's CAVP for SHA-256. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { PROJECT } from './processes.ts';
import { readVectors } from './vectors.ts';

/** Bytes in hex. */
export const hexBytes = z
  .string()
  .regex(/^(?:[0-9a-f]{2})*$/)
  .transform((text) => Buffer.from(text, 'hex'));

const source = z.string();
const aead = z.strictObject({
  source,
  key: hexBytes,
  nonce: hexBytes,
  associated: hexBytes,
  plaintext: hexBytes,
  ciphertext: hexBytes,
  tag: hexBytes,
});
const argon2 = z.strictObject({
  source,
  memory: z.int(),
  passes: z.int(),
  lanes: z.int(),
  password: hexBytes,
  salt: hexBytes,
  secret: hexBytes,
  associated: hexBytes,
  tag: hexBytes,
});

export const PRIMITIVES = readVectors(
  'primitives',
  z.strictObject({
    note: z.string(),
    chacha20poly1305: z.array(aead).min(2),
    hchacha20: z.array(z.strictObject({ source, key: hexBytes, nonce: hexBytes, output: hexBytes })).min(1),
    xchacha20poly1305: z.array(aead).min(1),
    argon2id: z.array(argon2).min(1),
    hkdfSha256: z
      .array(z.strictObject({ source, ikm: hexBytes, salt: hexBytes, info: hexBytes, okm: hexBytes }))
      .min(3),
    ed25519: z
      .array(
        z.strictObject({
          source,
          seed: hexBytes,
          publicKey: hexBytes,
          message: hexBytes,
          signature: hexBytes,
        }),
      )
      .min(5),
  }),
);

/**
 * The messages of a CAVP response file, as published (shabytetestvectors.zip, CAVS 11.0): each its length in bits, then
 * the message, then its digest.
 */
export function cavpMessages(name: string): { readonly message: Buffer; readonly digest: string }[] {
  const rows = readCavp(name).matchAll(/^Len = (\d+)\nMsg = ([0-9a-f]+)\nMD = ([0-9a-f]{64})$/gm);
  return Array.from(rows, ([, bits, message = '', digest = '']) => ({
    message: Buffer.from(message, 'hex').subarray(0, Number(bits) / 8), // Of no bytes it shows one, 00.
    digest,
  }));
}

/** The seed of CAVP's SHA256Monte, and the digest after each 1,000 rounds. */
export function cavpMonteCarlo(): { readonly seed: Buffer; readonly digests: readonly string[] } {
  const text = readCavp('SHA256Monte');
  const seed = Buffer.from(/^Seed = ([0-9a-f]{64})$/m.exec(text)?.[1] ?? '', 'hex');
  return { seed, digests: text.match(/(?<=^MD = )[0-9a-f]{64}$/gm) ?? [] };
}

function readCavp(name: string): string {
  const text = readFileSync(join(PROJECT, 'test/vectors/cavp', `${name}.rsp`), 'latin1');
  return text.replaceAll('\r\n', '\n');
}
