/** Numbers, sizes, times and tables as people read them. */

import { describe, expect, it } from 'vitest';
import { formatBytes, formatCount, formatTable, formatTime, printableText } from '../../shared/format.ts';
import { MAX_TEXT } from '../../shared/limits.ts';

describe('what people read', () => {
  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.00 KiB'],
    [12_595, '12.3 KiB'],
    [1023 * 1024, '1023 KiB'],
    [4 * 2 ** 30, '4.00 GiB'],
    [2 ** 62, '4096 PiB'],
  ])('%i bytes are %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  it('counts, times and tables', () => {
    expect([0, 999, 1000, 12_345, 123_456, 1_234_567].map(formatCount)).toEqual([
      '0',
      '999',
      '1,000',
      '12,345',
      '123,456',
      '1,234,567',
    ]);
    expect(formatTime(new Date(2026, 0, 2, 3, 4, 5).getTime())).toBe('2026-01-02 03:04:05');
    expect(
      formatTable(
        [
          ['a', 'bbb'],
          ['cc', 'd', 'more'],
        ],
        [1],
      ),
    ).toEqual(['a   bbb', 'cc    d  more']);
  });

  it('text of a peer is one line of printable ASCII, and ends somewhere', () => {
    expect(printableText('a\nb\x1b[2Jé')).toBe('a?b?[2J?');
    expect(printableText('x'.repeat(MAX_TEXT + 1))).toHaveLength(MAX_TEXT);
  });
});
