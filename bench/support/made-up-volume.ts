/** A volume that is not there: as many small files as one likes, a hundred in a folder, each a function of its number. */

import type { ByteString } from '../../shared/bytes.ts';
import { TYPE } from '../../dvm/entry.ts';
import type { Chunk, Entry } from '../../dvm/entry.ts';
import type { Stat } from '../../dvm/stat.ts';
import type { Found } from '../../dvm/walk.ts';

const FILES_IN_A_FOLDER = 100;
const FILES_IN_A_PACK = 2000;
/** Bytes: the largest of these files. */
const LARGEST = 8192;
/** When the volume was frozen, ms since 1970; what it holds is older. */
export const TAKEN_AT = Date.UTC(2026, 0, 2);
const WRITTEN = Math.floor(Date.UTC(2025, 0, 1) / 1000);
const LATER = 100_000;

/** Paths of `count` entries in path order, the root and the folders among them, each with its number. */
export function* entries(count: number): Generator<{ readonly index: number; readonly path: ByteString }> {
  let folder = '';
  for (let index = 0; index < count; index++) {
    const inFolder = (index - 1) % (FILES_IN_A_FOLDER + 1);
    if (index > 0 && inFolder === 0) folder = `project-${String(index).padStart(9, '0')}`;
    const name = String(inFolder).padStart(3, '0');
    const path = index === 0 ? '' : inFolder === 0 ? folder : `${folder}/some-file-${name}.txt`;
    yield { index, path: path as ByteString };
  }
}

const isFolder = (path: string) => !path.includes('/');

/** What a walk says of an entry. One that changed was written later. */
export function found(index: number, path: ByteString, changed: boolean): Found {
  const folder = isFolder(path);
  const seconds = WRITTEN + (index % 1_000_000) + (changed ? LATER : 0);
  const stat: Stat = {
    mode: folder ? 0o040755 : 0o100644,
    uid: 1000,
    gid: 1000,
    size: folder ? 4096 : 1 + ((index * 2_654_435_761) % LARGEST),
    blocks: 8,
    mtime: { seconds, nanoseconds: (index * 7919) % 1_000_000_000 },
    ctime: { seconds, nanoseconds: (index * 7919) % 1_000_000_000 },
    inode: 100_000 + index,
    links: folder ? 2 : 1,
    fileSystem: '8:1',
    device: [0, 0],
    mountRoot: false,
    attributes: 0,
  };
  const access = {
    open: () => {
      throw new Error('nothing can be read of a volume that is not there');
    },
    readLink: () => '' as ByteString,
    attributes: () => [],
    flags: () => 0,
  };
  return { path, type: folder ? TYPE.directory : TYPE.file, stat, unreadable: false, access };
}

/** The one chunk of a file: no two are alike. A file that was written again has another. */
export function chunksOf(index: number, { type, size, mtime }: Entry): readonly Chunk[] {
  if (type !== TYPE.file) return [];
  const hash = Buffer.alloc(32);
  for (let at = 0; at < 32; at += 4) hash.writeUInt32LE(Math.imul(index + at, 2_654_435_761) >>> 0, at);
  hash.writeUInt32LE(mtime.seconds, 0);
  const place = {
    blob: 1_000_000 + Math.floor(index / FILES_IN_A_PACK),
    offset: (index % FILES_IN_A_PACK) * LARGEST,
    packSize: FILES_IN_A_PACK * LARGEST,
  };
  return [{ gap: 0, length: size, hash, place }];
}
