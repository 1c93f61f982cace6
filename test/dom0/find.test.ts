import { describe, expect, test } from 'vitest';
import { parseFilter } from '../../dom0/commands/find.ts';
import type { FindOptions } from '../../dom0/commands/find.ts';

const parse = (options: Partial<FindOptions>) =>
  parseFilter({ name: [], path: [], size: [], doubtful: false, ...options });

describe('what find is asked for', () => {
  test.each([
    [['4096'], 4096, 4096],
    [['+10M'], 10 * 2 ** 20 + 1, null],
    [['-1k'], null, 1023],
    [['+1k', '-2k'], 1025, 2047],
    [['+1', '+5', '-9', '-8'], 6, 7],
    [['2T'], 2 ** 41, 2 ** 41],
    [['+0'], 1, null],
    [['-0'], 1, 0],
    [['5', '6'], 6, 5],
  ])('sizes %j', (size, minSize, maxSize) => {
    expect(parse({ size })).toMatchObject({ minSize, maxSize });
  });

  test.each([
    ['1970-01-01T00:00:05Z', 5, false],
    ['1969-12-31 23:59:00Z', 60, true],
    ['2026-11-03T14:30:00Z', Date.UTC(2026, 10, 3, 14, 30) / 1000, false],
    ['2026-11-03', new Date(2026, 10, 3).getTime() / 1000, false],
    ['2026-11-03 14:30', new Date(2026, 10, 3, 14, 30).getTime() / 1000, false],
  ])('time %s', (time, seconds, beforeEpoch) => {
    expect(parse({ newer: time }).newer).toEqual({ seconds, beforeEpoch });
    expect(parse({ older: time }).older).toEqual({ seconds, beforeEpoch });
  });

  test('types by letter or name', () => {
    expect(parse({ type: 'f,d,symlink,x' }).types).toEqual(['file', 'directory', 'symlink', 'skipped']);
  });

  test.each([
    { size: ['1x'] },
    { size: [''] },
    { size: ['1.5k'] },
    { size: ['9'.repeat(15) + 'T'] },
    { type: 'q' },
    { type: '' },
    { newer: 'yesterday' },
    { newer: '2026-13-01' },
    { older: '2026' },
    { older: '2026-11-03T14' },
  ])('refuses %j', (options) => {
    expect(() => parse(options)).toThrow(expect.objectContaining({ code: 'usage' }));
  });
});
