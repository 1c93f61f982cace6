/** What a disposable may try that a crafted file system has taken over: each service by what its frames mean. */

import type { Bench } from '../bench.ts';
import type { Case } from '../case.ts';
import { browseCases, needingCases } from './disposable/browse.ts';
import { compareCases } from './disposable/compare.ts';
import { drillCases } from './disposable/drill.ts';
import { exportCases } from './disposable/export.ts';
import { proveCases, restoreCases, verifyCases } from './disposable/restore.ts';
import { scanCases } from './disposable/scan.ts';

export function disposableCases(bench: Bench): Case[] {
  return [
    ...scanCases(bench),
    ...restoreCases(bench),
    ...verifyCases(bench),
    ...proveCases(bench),
    ...exportCases(bench),
    ...drillCases(bench),
    ...browseCases(bench),
    ...needingCases(),
    ...compareCases(),
  ];
}
