/** Which differences of metadata explain a new ctime, so that the content need not be read (docs/decisions.md). */

import { expect, test } from 'vitest';
import { Describer, hasSameMetadata } from '../../dvm/describe.ts';
import { TYPE } from '../../dvm/entry.ts';
import type { Attribute, Entry } from '../../dvm/entry.ts';
import type { Stat } from '../../dvm/stat.ts';
import type { Found } from '../../dvm/walk.ts';
import { bytes, entryOf } from './tree-kit.ts';

const attribute = (name: string, value: number): Attribute => ({
  name: bytes(name),
  value: Uint8Array.of(value),
});
const file = (fields: Partial<Entry> = {}) => entryOf('f', TYPE.file, fields);

test.each<[string, Partial<Entry>]>([
  ['mode', { mode: 0o600 }],
  ['owner', { uid: 7 }],
  ['group', { gid: 7 }],
  ['flags', { flags: 0x40 }],
  ['a new attribute', { attributes: [attribute('user.one', 1)] }],
])('%s', (_name, fields) => {
  const entry = file({ uid: 5, gid: 5 });
  expect(hasSameMetadata(entry, { ...entry, ...fields })).toBe(false);
  expect(hasSameMetadata({ ...entry, ...fields }, entry)).toBe(false);
});

test('the value of an attribute', () => {
  const [one, two] = [1, 2].map((value) => file({ attributes: [attribute('user.one', value)] }));
  expect(hasSameMetadata(one!, two!)).toBe(false);
});

test.each<[string, Partial<Entry>]>([
  ['times', { mtime: { seconds: 1, nanoseconds: 2 }, ctime: { seconds: 3, nanoseconds: 4 } }],
  ['links, of which the content is read under a new name anyway', { linked: true }],
  ['an owner that this machine does not map', { uid: undefined }],
  ['a group that this machine does not map', { gid: undefined }],
  ['the hash of its content, which a write renews', { attributes: [attribute('security.ima', 1)] }],
  ['the hash of its attributes', { attributes: [attribute('security.evm', 1)] }],
])('but not %s', (_name, fields) => {
  const entry = file();
  expect(hasSameMetadata(entry, { ...entry, ...fields })).toBe(true);
  expect(hasSameMetadata({ ...entry, ...fields }, entry)).toBe(true);
});

test('a new hash beside an attribute of its owner hides nothing', () => {
  const attributes = [attribute('security.ima', 1), attribute('user.one', 1)];
  expect(hasSameMetadata(file({ attributes }), file({ attributes: attributes.slice(1) }))).toBe(true);
  expect(hasSameMetadata(file({ attributes }), file({ attributes: attributes.slice(0, 1) }))).toBe(false);
});

/** What a walk finds of `entry`. */
function found(
  { path, mode, uid, gid, mtime, ctime, inode, size }: Entry,
  fields: Partial<Stat> = {},
): Found {
  const device = [0, 0] as const;
  const kept = { mode: 0o100000 | mode, uid: uid ?? 0, gid: gid ?? 0, mtime, ctime, inode, size, device };
  const stat = {
    ...kept,
    blocks: 0,
    links: 1,
    fileSystem: '0:1',
    mountRoot: false,
    attributes: 0,
    ...fields,
  };
  const no = () => expect.fail('asked the file system');
  const access = { open: no, readLink: no, attributes: no, flags: no };
  return { path, type: TYPE.file, stat, unreadable: false, access };
}

test('what is as it was known is that, and nothing is asked of the file system again', () => {
  const describer = new Describer(() => undefined, { user: false, group: false });
  const known = file({ uid: 5, gid: 5, attributes: [attribute('user.one', 1)], flags: 0x40 });
  expect(describer.describe(found(known), known)).toBe(known);
  const changed: [Partial<Stat>, Partial<Entry>][] = [
    [{ mode: 0o100600 }, { mode: 0o600 }],
    [{ uid: 7 }, { uid: 7 }],
    [{ gid: 7 }, { gid: 7 }],
    [{ uid: 65534 }, { uid: undefined }],
    [{ gid: 65534 }, { gid: undefined }],
    [{ links: 2 }, { linked: true }],
  ];
  for (const [fields, expected] of changed)
    expect(describer.describe(found(known, fields), known)).toEqual({ ...known, ...expected });
  const unreadable = { ...found(known), unreadable: true };
  expect(describer.describe(unreadable, known)).toEqual({ ...known, unreadable: true });
});
