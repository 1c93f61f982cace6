/** R41 R42 R50 R56: points of `npm run faults`, a sample of them; and that the campaign sees what it is to see. */

import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { memoryFolder } from '../support/memory.ts';
import { testNeeding } from '../support/needs.ts';
import { makeTemp, removeTree } from '../support/temp.ts';
import { AROUND } from './around.ts';
import { runCampaign } from './campaign.ts';
import type { Options, Totals } from './campaign.ts';
import { cannot } from './confined.ts';
import { CONDITIONS } from './plan.ts';
import type { Edit } from './plan.ts';

/** Points that are tried. */
const SAMPLE = 150;

/** Milliseconds: many times what an idle machine of two cores takes. */
const TIMEOUT = 1_800_000;

/** A campaign in `folder`, and what it said. */
async function campaign(
  folder: string,
  options: Partial<Options>,
): Promise<Totals & { readonly lines: string }> {
  const lines: string[] = [];
  const totals = await runCampaign({
    ...{ folder, seed: 1, points: SAMPLE, sample: true, only: undefined, lanes: 2 },
    print: (line) => lines.push(line),
    progress: () => undefined,
    ...options,
  });
  return { ...totals, lines: lines.join('\n') };
}

const newFolder = () => makeTemp('qib-faults-', memoryFolder());

describe('nothing is lost or left over, and who was there is told,', () => {
  let found: Awaited<ReturnType<typeof campaign>>;
  beforeAll(async () => {
    const folder = newFolder();
    try {
      found = await campaign(folder, { seed: Number(process.env['QIB_SEED'] ?? 1) });
    } finally {
      removeTree(folder);
    }
  }, TIMEOUT);

  test('whoever dies, fails or stalls at whatever step', () => {
    expect(found.lost, found.lines).toBe(0);
    expect(found.points).toBe(SAMPLE);
    // Credit comes in fewer frames or more, so a run may be a few steps shorter than the one that was counted.
    expect(found.unreached).toBeLessThan(SAMPLE / 10);
  });

  for (const how of CONDITIONS)
    testNeeding(cannot(how))(`with ${AROUND[how].title}`, () => {
      expect([...found.ways]).toContain(how);
    });
});

/** What swallows an error of the disk, and at which points that shows. */
const MISTAKES: readonly (readonly [string, Edit, string])[] = [
  [
    'an object that could not be written, and is acknowledged',
    {
      file: 'storagevm/new-file.ts',
      from: 'await write(handle);',
      to: 'await write(handle).catch(() => undefined);',
    },
    '1:first-backup:qubes.BackupPut#1:*:ENOSPC',
  ],
  [
    'a root that was pinned, and is not on the disk',
    {
      file: 'dom0/state/files.ts',
      from: 'if (durably) fsyncSync(descriptor);',
      to: 'try { if (durably) fsyncSync(descriptor); } catch {}',
    },
    '1:first-backup:dom0#1:*:EIO',
  ],
];

test.each(MISTAKES)(
  'the campaign finds %s',
  async (_what, mistake, only) => {
    const folder = newFolder();
    onTestFinished(() => removeTree(folder));
    const found = new AbortController();
    const { lost, lines } = await campaign(folder, {
      ...{ edits: [mistake], only: [only], sample: false, signal: found.signal },
      progress: (_done, _total, lost) => {
        if (lost > 0) found.abort();
      },
    });
    expect(lost, lines).toBeGreaterThan(0);
  },
  TIMEOUT,
);
