/** The header of a tar member, field by field as POSIX lays it out. That GNU tar and bsdtar read it is in test/dvm/tar-readers. */

import { describe, expect, it } from 'vitest';
import { byteString, utf8 } from '../../shared/bytes.ts';
import { BLOCK, FLAG, MAX_ID, MAX_SIZE, encodeHeader, fillOf, headerName } from '../../shared/tar-header.ts';
import type { Header } from '../../shared/tar-header.ts';

const file: Header = {
  name: byteString(utf8('some/file')),
  flag: FLAG.file,
  mode: 0o644,
  uid: 1000,
  gid: 100,
  size: 700,
  mtime: 1_700_000_000,
};

function field(block: Uint8Array, at: number, length: number): string {
  return Buffer.from(block.subarray(at, at + length))
    .toString('latin1')
    .replace(/[\0 ]+$/, '');
}

describe('a tar header', () => {
  it('has each field in its place, and a sum of all of it', () => {
    const block = encodeHeader({ ...file, target: byteString(utf8('there')), device: [8, 1] });
    expect(block).toHaveLength(BLOCK);
    expect(field(block, 0, 100)).toBe('some/file');
    expect([field(block, 100, 8), field(block, 108, 8), field(block, 116, 8)]).toEqual([
      '0000644',
      '0001750',
      '0000144',
    ]);
    expect([field(block, 124, 12), field(block, 136, 12)]).toEqual(['00000001274', '14524770400']);
    expect([field(block, 156, 1), field(block, 157, 100)]).toEqual(['0', 'there']);
    expect(field(block, 257, 8)).toBe('ustar\x0000');
    expect([field(block, 329, 8), field(block, 337, 8)]).toEqual(['0000010', '0000001']);
    const sum = parseInt(field(block, 148, 8), 8);
    const blank = Uint8Array.from(block).fill(0x20, 148, 156);
    expect(sum).toBe(blank.reduce((total, byte) => total + byte, 0));
  });

  it('has 0 for a number that does not fit, or is below', () => {
    const block = encodeHeader({ ...file, uid: MAX_ID + 1, size: MAX_SIZE + 1, mtime: -1 });
    expect([field(block, 108, 8), field(block, 124, 12), field(block, 136, 12)]).toEqual([
      '0000000',
      '00000000000',
      '00000000000',
    ]);
    expect(field(block, 157, 100)).toBe('');
    expect([field(block, 329, 8), field(block, 337, 8)]).toEqual(['0000000', '0000000']);
  });

  it('shows something like a name that it cannot hold', () => {
    expect(headerName(byteString(utf8('n'.repeat(101))))).toBe('n'.repeat(100));
    expect(headerName(byteString(utf8('é\n')))).toBe('___');
    expect(headerName(byteString(utf8('a\nb')))).toBe('a\nb');
  });

  it('is followed by whole blocks', () => {
    expect([0, 1, 511, 512, 513].map((size) => fillOf(size).length)).toEqual([0, 511, 1, 0, 511]);
  });
});
