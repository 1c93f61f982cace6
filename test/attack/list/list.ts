/** The whole written list against dom0. */

import type { Bench } from '../bench.ts';
import type { Case } from '../case.ts';
import { cborCases } from './cbor.ts';
import { disposableCases } from './disposable.ts';
import { frameCases } from './frames.ts';
import { receiverCases } from './receiver.ts';
import { storageCases } from './storage.ts';

export function writtenList(bench: Bench): Case[] {
  const all = [
    ...frameCases(),
    ...cborCases(),
    ...disposableCases(bench),
    ...storageCases(bench),
    ...receiverCases(bench),
  ];
  const ids = new Set(all.map(({ id }) => id));
  if (ids.size !== all.length) throw new Error('two cases of one id');
  return all;
}
