import { describe, expect, test } from 'vitest';
import { entryRow } from '../../dom0/commands/entry-row.ts';
import type { ListEntry } from '../../shared/protocol/browse.ts';
import { LIST_ENTRY as ENTRY } from '../support/list-entry.ts';

const lineOf = (fields: Partial<ListEntry>) => entryRow('entry', { ...ENTRY, ...fields }).line;

describe('a line of a listing', () => {
  test.each<[Partial<ListEntry>, RegExp]>([
    [{}, /^-rw-r--r-- {5}1000:100 +5 {2}(1970-01-01|1969-12-31) [0-9:]{8} {2}a\/b$/],
    [{ mode: 0o7755 }, /^-rwsr-sr-t /],
    [{ mode: 0o7000 }, /^---S--S--T /],
    [{ attributes: 2 }, /^-rw-r--r--\+ /],
    [{ linked: true }, /^-rw-r--r-- = {3}/],
    [{ doubtful: true }, /^-rw-r--r-- ~ {3}/],
    [{ doubtful: true, unreadable: true, linked: true }, /^-rw-r--r-- != {2}/],
    [
      { flags: ['immutable', 'append-only', 'no-dump', 'no-access-time', 'synchronous'] },
      /^-rw-r--r-- iadAS /,
    ],
    [{ uid: null, gid: null }, / \?:\? /],
    [{ type: 'symlink', target: 'x\\x0ay' }, /^l.* {2}a\/b -> x\\x0ay$/],
    [{ type: 'skipped', target: 'CACHEDIR.TAG' }, /^x.* {2}a\/b {2}\(CACHEDIR\.TAG\)$/],
    [{ path: '' }, / {2}\.$/],
    [{ mtime: 2 ** 53 - 1 }, / {2}@9007199254740991 {2}/],
    [{ mtime: 2 ** 53 - 1, beforeEpoch: true }, / {2}@-9007199254740991 {2}/],
    [{ mtime: 10 ** 9, beforeEpoch: true }, / {2}1938-04-2[0-9] /],
  ])('%j', (fields, line) => {
    expect(lineOf(fields)).toMatch(line);
  });

  test('as an object has the time as one number', () => {
    const { fields } = entryRow('entry', { ...ENTRY, mtime: 5, beforeEpoch: true });
    expect(fields).toMatchObject({ path: 'a/b', mtime: -5, mtimeNanoseconds: 0 });
    expect(fields).not.toHaveProperty('beforeEpoch');
  });
});
