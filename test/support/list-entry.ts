/** One row of a listing, as a disposable sends it. */

import type { ListEntry } from '../../shared/protocol/browse.ts';

export const LIST_ENTRY: ListEntry = {
  path: 'a/b',
  type: 'file',
  mode: 0o644,
  uid: 1000,
  gid: 100,
  size: 5,
  mtime: 0,
  beforeEpoch: false,
  mtimeNanoseconds: 0,
  target: null,
  linked: false,
  attributes: 0,
  flags: [],
  doubtful: false,
  unreadable: false,
};
