/** R02: what the schemas of a protocol refuse beyond the type of each field. */

import { describe, expect, it } from 'vitest';
import { encodeCbor, decodeWith } from '../../shared/cbor.ts';
import { compare } from '../../shared/protocol/browse.ts';
import { failure } from '../support/failure.ts';

describe('a difference', () => {
  const [file, directory] = [
    { type: 'file', size: 1 },
    { type: 'directory', size: 0 },
  ];
  const decode = (before: unknown, after: unknown, fields: string[]) =>
    decodeWith(
      compare.toCaller.differences.schema,
      encodeCbor({ differences: [{ path: 'a', before, after, fields }] }),
    );

  it.each([
    ['of an entry that is new', null, file, []],
    ['of one that is gone', file, null, []],
    ['of one that is another now', file, directory, []],
    ['of one that changed', file, file, ['content']],
  ])('%s is taken', (_title, before, after, fields) => {
    expect(decode(before, after, fields).differences).toHaveLength(1);
  });

  it.each([
    ['of nothing', null, null, []],
    ['of nothing, with a field', null, null, ['content']],
    ['of an entry that is new, with a field', null, file, ['content']],
    ['of one that is gone, with a field', file, null, ['content']],
    ['of one that is another now, with a field', file, directory, ['content']],
    ['of one that is the same', file, file, []],
  ])('%s is refused', (_title, before, after, fields) => {
    expect(failure(() => decode(before, after, fields)).code).toBe('protocol');
  });
});
