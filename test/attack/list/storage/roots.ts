/** What a storage VM may try that is asked for the current root. */

import { encodeCbor } from '../../../../shared/cbor.ts';
import { MAX_ROOT } from '../../../../shared/limits.ts';
import type { Bench } from '../../bench.ts';
import { at, base64 } from '../../case.ts';
import type { Case } from '../../case.ts';
import { typeOf } from '../../program.ts';
import { ofBytes, rows } from '../rows.ts';
import { GET } from '../sessions.ts';

const ROOT = typeOf(GET.service, 'root');
const NO_ROOT = typeOf(GET.service, 'noRoot');
const OBJECT = GET.frame;

export function rootCases({ world: { roots } }: Bench): Case[] {
  const root = (bytes: Uint8Array) => [at(ROOT, ofBytes(bytes))];
  const clean = { clean: true } as const;
  const changed = (...places: readonly (readonly [place: number, by: number])[]) => {
    const bytes = Buffer.from(roots.current);
    for (const [place, by] of places) bytes[place] = (bytes[place] ?? 0) + by;
    return bytes;
  };
  const version = 7;
  const inBody = roots.current.length >> 1;
  const bit = (share: number) => {
    const bytes = Buffer.from(roots.current);
    const place = Math.min(Math.floor(share * bytes.length), bytes.length - 1);
    bytes[place] = (bytes[place] ?? 0) ^ 1;
    return bytes;
  };
  return rows(GET, [
    [
      'no-root',
      'says that there is no root',
      [at(ROOT, { do: 'frame', type: NO_ROOT, payload: base64(encodeCbor({})) })],
      'store-missing',
    ],
    [
      'no-root-late',
      'says that there is no root when asked for an object',
      [at(OBJECT, { do: 'frame', type: NO_ROOT, payload: base64(encodeCbor({})) })],
      'protocol',
    ],
    ['root-old', 'offers an older root', root(roots.old), 'store-rolled-back'],
    ['root-forked', 'offers another root of the pinned number', root(roots.forkedSame), 'store-forked'],
    [
      'root-forked-higher',
      'offers a newer root that does not follow the pinned one',
      root(roots.forkedHigher),
      'store-forked',
    ],
    ['root-other', 'offers the root of another repository', root(roots.other), 'store-replaced'],
    [
      'root-other-clean',
      'offers the root of another repository to a clean machine',
      root(roots.other),
      'wrong-secret',
      clean,
    ],
    ['root-key', 'offers a newer root of its own making', root(roots.rekeyed), 'store-replaced'],
    [
      'root-key-clean',
      'offers one to a clean machine with all that leads to the right keys',
      root(roots.rekeyed),
      'store-damaged',
      { clean: true, passphrase: false },
    ],
    [
      'root-handed-over',
      'offers one that the right key seems to hand over to',
      root(roots.handedOver),
      'store-damaged',
    ],
    [
      'root-padded',
      'hides bytes between a root and its signature',
      root(Buffer.concat([roots.current.subarray(0, -64), Buffer.alloc(9), roots.current.subarray(-64)])),
      'store-damaged',
    ],
    ['root-empty', 'offers a root of no byte', root(Buffer.alloc(0)), 'store-damaged'],
    [
      'root-magic',
      'offers the magic of a root and nothing else',
      root(roots.current.subarray(0, 8)),
      'store-damaged',
    ],
    ['root-half', 'offers half a root', root(roots.current.subarray(0, 100)), 'store-damaged'],
    [
      'root-longer',
      'offers a root with a byte more',
      root(Buffer.concat([roots.current, Buffer.of(0)])),
      'store-damaged',
    ],
    ['root-cap', 'offers 64 KiB of zeros as a root', root(Buffer.alloc(MAX_ROOT)), 'store-damaged'],
    [
      'root-over-cap',
      'offers a root larger than may be',
      [at(ROOT, { do: 'frame', length: MAX_ROOT + 1 })],
      'protocol',
    ],
    ['root-body', 'changes a bit within the signed part of the root', root(bit(0.5)), 'store-damaged'],
    ['root-signature', 'changes a bit of the root’s signature', root(bit(1)), 'store-damaged'],
    [
      'root-length',
      'changes the length field of the root',
      root(bit(9 / roots.current.length)),
      'store-damaged',
    ],
    [
      'root-newer',
      'offers a root of a newer format',
      root(changed([version, 1], [inBody, 1])),
      'store-version',
    ],
    [
      'root-older',
      'offers a root of an older format',
      root(changed([version, -1], [inBody, 1])),
      'store-version',
    ],
    [
      'root-version',
      'offers a root that is as it was but for its version',
      root(changed([version, 1])),
      'store-damaged',
    ],
    [
      'root-zero-signature',
      'offers a root with a signature of zeros',
      root(Buffer.concat([roots.current.subarray(0, -64), Buffer.alloc(64)])),
      'store-damaged',
    ],
    [
      'root-label',
      'offers a slot with terminal escapes for a label',
      [
        at(
          ROOT,
          ofBytes(
            Buffer.concat([
              roots.current.subarray(0, 40),
              Buffer.from('\u001b[2J'),
              roots.current.subarray(44),
            ]),
          ),
        ),
      ],
      'store-damaged',
      clean,
    ],
  ]);
}
