/** A report of made-up VMs, with names and messages that try to be markup. */

import { reportPage } from '../../dom0/report/page.ts';
import type { VmRuns } from '../../dom0/report/history.ts';
import type { VmId, VmName } from '../../shared/ids.ts';

const DAY = 86_400_000;
export const HOSTILE = `<script>alert(1)</script>"'><img src=x onerror=alert(2)>&amp;</style><style>*{display:none}`;

/** A page with two VMs: one of `runs` runs, and one without any. */
export function madeUpPage(runs: number, now: number): string {
  const of: VmRuns = {
    runs: Array.from({ length: runs }, (_, day) => ({
      at: now - (runs - day) * DAY,
      bytes: 4e9 + day * 1e7,
      added: day % 7 === 0 ? 3e8 : 1e6 * day,
      seconds: 20 + (day % 11),
      forgotten: day % 5 === 1,
    })),
    failures: [{ at: now - DAY, message: HOSTILE }],
  };
  const vm = { id: 'ab'.repeat(16) as VmId, included: true, orphaned: false, alarms: [], stale: undefined };
  const diary = {
    check: { at: now - DAY, share: 5, faults: 0 },
    drill: { at: now - DAY, snapshot: 1, result: 'failed', detail: HOSTILE },
  } as const;
  const newest = { number: runs, takenAt: now - DAY, files: 3, bytes: 4e9, warnings: 0 };
  return reportPage(
    {
      ...{ now, counter: 12, fingerprint: 'eight words', next: undefined, problems: [HOSTILE] },
      vms: [
        { ...vm, name: HOSTILE as VmName, snapshots: runs, newest, diary },
        { ...vm, name: 'empty' as VmName, snapshots: 0, newest: undefined, diary: {} },
      ],
      stores: [{ name: HOSTILE, objects: 1, bytes: 2, inStep: false, state: HOSTILE }],
    },
    new Map([[HOSTILE, of]]),
  );
}
