import fc from 'fast-check';
import { expect, it } from 'vitest';
import { recheckStart } from '../../dom0/session/recheck-start.ts';
import { RecheckWindow } from '../../dvm/recheck.ts';

it('R58: any 2/s runs in a row that read a share s leave no byte out, whichever they begin with', () => {
  const cases = fc.record({
    first: fc.integer({ min: 1, max: 10_000_000 }),
    share: fc.double({ min: 0.004, max: 1, noNaN: true }),
    byte: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  });
  const TOTAL = 1_000_000;
  fc.assert(
    fc.property(cases, ({ first, share, byte }) => {
      const runs = Math.ceil(2 / share);
      const isRead = (run: number) =>
        new RecheckWindow(TOTAL, Math.ceil(share * TOTAL), recheckStart(first + run)).overlaps(
          Math.floor(byte * TOTAL),
          1,
        );
      expect(Array.from({ length: runs }, (_, run) => run).some(isRead)).toBe(true);
    }),
    { numRuns: 2000 },
  );
});

it('R58: a budget of the whole volume also covers what the volume has grown by', () => {
  const window = new RecheckWindow(100, 100, recheckStart(7));
  for (const start of [0, 50, 99, 100, 1000]) expect(window.overlaps(start, 1)).toBe(true);
});
