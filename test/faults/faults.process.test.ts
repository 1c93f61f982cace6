/** R41 R42 R50: kills of `npm run faults`, a sample of them. */

import { expect, onTestFinished, test } from 'vitest';
import { memoryFolder } from '../support/memory.ts';
import { makeTemp, removeTree } from '../support/temp.ts';
import { runCampaign } from './campaign.ts';

/** Points that are tried. */
const SAMPLE = 100;

/** Milliseconds: many times what an idle machine of two cores takes. */
const TIMEOUT = 1_800_000;

test(
  'nothing is lost or left over, whoever dies at whatever step',
  async () => {
    const folder = makeTemp('qib-faults-', memoryFolder());
    onTestFinished(() => removeTree(folder));
    const lines: string[] = [];
    const totals = await runCampaign({
      ...{ folder, points: SAMPLE, sample: true, only: undefined, lanes: 2 },
      seed: Number(process.env['QIB_SEED'] ?? 1),
      print: (line) => lines.push(line),
      progress: () => undefined,
    });
    expect(totals.lost, lines.join('\n')).toBe(0);
    expect(totals.points).toBe(SAMPLE);
    // Credit comes in fewer frames or more, so a run may be a few steps shorter than the one that was counted.
    expect(totals.unreached).toBeLessThan(SAMPLE / 10);
  },
  TIMEOUT,
);
