/** What a storage VM may try that is wholly hostile: each service by what its frames mean. */

import type { Bench } from '../bench.ts';
import type { Case } from '../case.ts';
import { slotCases } from './storage/slots.ts';
import { listCases } from './storage/list.ts';
import { objectCases } from './storage/objects.ts';
import { putCases } from './storage/put.ts';
import { rootCases } from './storage/roots.ts';
import { setRootCases } from './storage/set-root.ts';

export function storageCases(bench: Bench): Case[] {
  return [
    ...putCases(),
    ...objectCases(bench),
    ...rootCases(bench),
    ...slotCases(bench),
    ...listCases(bench),
    ...setRootCases(),
  ];
}
