/** Which differences of metadata explain a new ctime, so that the content need not be read (docs/decisions.md). */

import { expect, test } from 'vitest';
import { hasSameMetadata } from '../../dvm/describe.ts';
import { TYPE } from '../../dvm/entry.ts';
import type { Attribute, Entry } from '../../dvm/entry.ts';
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
