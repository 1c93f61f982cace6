/** What the machine itself does in the same run: nothing that reads, hashes, compresses or writes as much can be faster. */

import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { zstdCompressSync, constants } from 'node:zlib';
import { join } from 'node:path';
import { Random } from '../../test/support/random.ts';
import { sizeOf, tool, warm } from './contender.ts';
import { prose } from './data-sets.ts';
import type { Source } from './ground.ts';

/** Bytes that a rate is taken over at least, and seconds. */
const BLOCK = 2 ** 20;
const LEAST = 0.5;

/** A rate in MiB a second. */
export interface Limit {
  readonly what: string;
  readonly rate: number;
}

export function limits(source: Source): readonly Limit[] {
  const mib = sizeOf(source.data) / 2 ** 20;
  const timed = (what: string, work: () => void): Limit => {
    warm(source.data);
    const start = performance.now();
    work();
    return { what, rate: mib / ((performance.now() - start) / 1000) };
  };
  const copy = join(source.vms, 'copy');
  const all = [
    timed('cp -a of the tree', () => void tool('cp', '-a', '--', source.data, copy)),
    timed('tar of the tree, piped into cat', () => {
      tool('sh', '-c', 'tar -C "$1" -cf - . | cat >/dev/null', 'sh', source.data);
    }),
    ...singleCore(),
  ];
  source.clear(copy);
  return all;
}

/** Of what every byte goes through, on one core, by Node.js' own code. */
function singleCore(): readonly Limit[] {
  const random = new Random(1);
  const [noise, text] = [random.bytes(BLOCK), prose(random)];
  const [key, nonce] = [randomBytes(32), randomBytes(12)];
  const level = { params: { [constants.ZSTD_c_compressionLevel]: 2 } };
  return [
    rateOf('sha256', () => createHash('sha256').update(noise).digest()),
    rateOf('chacha20-poly1305', () => {
      const cipher = createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: 16 });
      cipher.update(noise);
      return cipher.final();
    }),
    rateOf('zstd level 2 of text', () => zstdCompressSync(text, level)),
    rateOf('zstd level 2 of noise', () => zstdCompressSync(noise, level)),
  ];
}

function rateOf(what: string, work: () => unknown): Limit {
  let blocks = 0;
  const start = performance.now();
  for (; performance.now() - start < LEAST * 1000; blocks++) work();
  return {
    what: `${what}, one core`,
    rate: (blocks * BLOCK) / 2 ** 20 / ((performance.now() - start) / 1000),
  };
}
