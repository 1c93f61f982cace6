/** R02 R03 R05 R06 R35 R41 R56: the attacks of `npm run attack`, all of the written ones and 500 generated. */

import { stripTypeScriptTypes } from 'node:module';
import { describe, expect, test } from 'vitest';
import { AGAIN } from '../support/again.ts';
import { memoryFolder } from '../support/memory.ts';
import { tempFolder } from '../support/temp.ts';
import { generate } from './generate.ts';
import { SCAN } from './list/sessions.ts';
import { MUTANTS } from './mutants.ts';
import { instrumentedFiles } from './mutate.ts';
import { MAGIC, PING } from './peer/altered.ts';
import { MAGIC_TYPE } from './peer/attack.ts';
import { CLIENT_SHARE, MAX_PEAK, attackAll } from './run.ts';

/** Cases to generate, and the least that are written. */
const GENERATED = AGAIN ? 0 : 500;
const WRITTEN = AGAIN ? 50 : 150;

/** Milliseconds: several times what an idle machine of two cores takes. */
const TIMEOUT = 900_000;

describe('hostile peers', () => {
  test(
    'get nothing but what the list says',
    async () => {
      const lines: string[] = [];
      const totals = await attackAll({
        folder: tempFolder(memoryFolder()), // Thousands of services, each of which syncs.
        generated: GENERATED,
        seed: 1,
        only: undefined,
        written: AGAIN ? 'one of each class' : 'all',
        print: (line) => lines.push(line),
      });
      const faults = lines.flatMap((line, at) =>
        line.startsWith('  NOT AS EXPECTED') ? [lines[at - 1], line, lines[at + 1]] : [],
      );
      expect(faults.join('\n')).toBe('');
      expect(totals.written).toBeGreaterThanOrEqual(WRITTEN);
      expect(totals.generated).toBe(GENERATED + Math.floor(GENERATED / CLIENT_SHARE));
      expect(totals.peak).toBeLessThan(MAX_PEAK);
      expect(totals.servicePeak).toBeLessThan(MAX_PEAK);
    },
    TIMEOUT,
  );

  test('what --mutants leaves out is there, once each, and can be left out', () => {
    for (const source of instrumentedFiles().values())
      expect(() => stripTypeScriptTypes(source)).not.toThrow();
    expect(new Set(MUTANTS.map(({ id }) => id)).size).toBe(MUTANTS.length);
    expect(MUTANTS.length).toBeGreaterThanOrEqual(90);
  });

  test('a seed and a number decide a generated case, and neither alone', () => {
    const ping = { type: PING, payload: Buffer.of(0xa0) };
    const all = [{ target: SCAN, frames: [{ type: MAGIC_TYPE, payload: MAGIC }, ping] }];
    const made = (seed: number, number: number) => JSON.stringify(generate(all, seed, number));
    expect(made(1, 17)).toBe(made(1, 17));
    expect(made(1, 17)).not.toBe(made(2, 17));
    expect(made(1, 17)).not.toBe(made(1, 18));
  });
});
