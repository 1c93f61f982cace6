/** Passphrase slots that a storage VM may offer to a machine that has seen no root yet: all of them are refused unrun. */

import { MAX_SLOTS } from '../../../../shared/limits.ts';
import type { Bench } from '../../bench.ts';
import { at } from '../../case.ts';
import type { Case } from '../../case.ts';
import { typeOf } from '../../program.ts';
import { ofBytes, rows } from '../rows.ts';
import type { Row } from '../rows.ts';
import { GET } from '../sessions.ts';

const ROOT = typeOf(GET.service, 'root');
const GiB = 1024 * 1024;
const SLOT = {
  kind: 'passphrase',
  label: 'x',
  salt: new Uint8Array(16),
  memory: 128 * 1024,
  passes: 3,
  lanes: 4,
  wrapped: new Uint8Array(72),
} as const;

export function slotCases({ world: { roots } }: Bench): Case[] {
  const offer = (id: string, attack: string, ...slots: Readonly<Record<string, unknown>>[]): Row => [
    `kdf-${id}`,
    `offers ${attack}`,
    [at(ROOT, ofBytes(roots.slots(slots.map((changes) => ({ ...SLOT, ...changes })))))],
    'store-damaged',
    { clean: true, unrun: true },
  ];
  const ceiling = { memory: GiB, passes: 16, lanes: 8 };
  const most = { memory: 160 * 1024, passes: 16 };
  const good = (count: number) => Array.from({ length: count }, () => ({}));
  return rows(GET, [
    offer('weak', 'a slot of 8 MiB', { memory: 8 * 1024 }),
    offer('floor', 'one of a KiB less than the floor', { memory: 64 * 1024 - 1 }),
    offer('passes', 'one of two passes', { passes: 2 }),
    offer('passes-0', 'one of no pass', { passes: 0 }),
    offer('memory-0', 'one of no memory', { memory: 0 }),
    offer('huge', 'one of 1 GiB and 1 KiB', { memory: GiB + 1 }),
    offer('huge-passes', 'one of 17 passes', { passes: 17 }),
    offer('huge-lanes', 'one of 9 lanes', { lanes: 9 }),
    offer('lanes-0', 'one of no lane', { lanes: 0 }),
    offer('lanes-255', 'one of 255 lanes', { lanes: 255 }),
    offer('lanes-2^24', 'one of more lanes than Argon2 has', { memory: GiB, lanes: 2 ** 24 }),
    offer('lanes-memory', 'one of less memory than its lanes need', {
      memory: 64 * 1024,
      lanes: 8 * 1024 + 1,
    }),
    offer('absurd', 'one of 2^53 passes', { passes: Number.MAX_SAFE_INTEGER }),
    offer('absurd-memory', 'one of 2^53 KiB', { memory: Number.MAX_SAFE_INTEGER }),
    offer('last', '15 good slots and a weak one', ...good(MAX_SLOTS - 1), { memory: 8 * 1024 }),
    offer('many', 'a slot more than there may be', ...good(MAX_SLOTS + 1)),
    offer('none', 'no slot'),
    offer(
      'ceiling',
      'as many slots as may be, each as costly as may be',
      ...good(MAX_SLOTS).map(() => ceiling),
    ),
    offer('work', 'slots that are a KiB more together than may be', ...good(MAX_SLOTS - 1).map(() => most), {
      ...most,
      memory: most.memory + 1,
    }),
    offer('salt', 'one of a short salt', { salt: new Uint8Array(15) }),
    offer('wrapped', 'one of a short key', { wrapped: new Uint8Array(71) }),
    offer('kind', 'one of an unknown kind', { kind: 'retina' }),
    offer('field', 'one with a field that nobody knows', { pepper: 1 }),
    offer('label-escapes', 'one with terminal escapes for a label', { label: '\u001b[2J' }),
  ]);
}
