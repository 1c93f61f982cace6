/**
 * Walks chosen files and folders of dom0 as one volume. The folders above them are made up, with the same metadata everywhere, as what
 * is there depends on the sandbox; of what they hold, nothing but the chosen paths is seen. The chosen ones may be on several file
 * systems: each gives its inodes a number of its own, so that no two files pass for one.
 */

import { byteString, utf8 } from '../shared/bytes.ts';
import type { ByteString } from '../shared/bytes.ts';
import { MAX_CHOSEN } from '../shared/limits.ts';
import type { FoldersVolume } from '../shared/protocol/disposable.ts';
import type { Access, Identify } from './access.ts';
import { TYPE } from './entry.ts';
import type { Excludes, Skipped } from './excludes.ts';
import { comparePaths, isWithin, nameOf, parentOf } from './leaf.ts';
import { LibcError, close, isLibcError, openDirectory, openDirectoryAt } from './libc.ts';
import { statAt } from './stat.ts';
import type { Stat } from './stat.ts';
import { TYPE_OF_MODE, walkEntry } from './walk.ts';
import type { Found, Noter } from './walk.ts';

const ROOT = '' as ByteString;

/**
 * Inode numbers of each file system, of which there are at most MAX_CHOSEN: all stay exact. What goes beyond (on some network and
 * stacked file systems) is folded.
 */
const INODES = 2 ** 47;

const ADVICE =
  'nothing of it is in this backup. Name the place itself, no symbolic link to it, or take it out of the configuration';

const HIDDEN = 'it belongs to this program, or opens the repository' as ByteString;

const MADE: Stat = {
  ...{ mode: 0o040755, uid: 0, gid: 0, size: 0, blocks: 0, inode: 0, links: 2 },
  ...{ mtime: { seconds: 0, nanoseconds: 0 }, ctime: { seconds: 0, nanoseconds: 0 } },
  ...{ fileSystem: '', device: [0, 0], mountRoot: false, attributes: 0 },
};
const NOTHING: Access = {
  open: () => {
    throw new LibcError('openat', 21); // EISDIR
  },
  readLink: () => {
    throw new LibcError('readlinkat', 22); // EINVAL
  },
  attributes: () => [],
  flags: () => 0,
};

/** Like walk(), of `volume`. A chosen path that is not there, or neither file nor folder, goes to `note`. */
export function* walkFolders(
  volume: FoldersVolume,
  note: Noter,
  excludes?: Excludes,
): Generator<Found | Skipped, void, undefined> {
  const hidden = new Map(volume.hidden.map((path) => [pathOf(path), HIDDEN]));
  const identities = new Identities();
  const root = openDirectory(volume.path);
  try {
    excludes?.enter(ROOT, () => undefined);
    yield made(ROOT);
    let above = ROOT;
    let leftOut: ByteString | undefined;
    for (const path of volume.chosen.map(pathOf).sort(comparePaths)) {
      for (const folder of foldersAbove(path)) {
        if (isWithin(above, folder) || (leftOut !== undefined && isWithin(path, leftOut))) continue;
        const found = made(folder);
        const reason = hidden.get(folder) ?? excludes?.reasonFor(found);
        yield reason === undefined ? found : { path: folder, type: TYPE.skipped, reason };
        if (reason === undefined) above = folder;
        else leftOut = folder;
      }
      if (leftOut !== undefined && isWithin(path, leftOut)) continue;
      const reason = hidden.get(path);
      if (reason !== undefined) {
        yield { path, type: TYPE.skipped, reason };
        continue;
      }
      const place = look(root, path, note);
      if (place === undefined) continue;
      const identify = identities.of(place.stat.fileSystem);
      yield* walkEntry(place.directory, path, { note, excludes, hidden, identify });
    }
  } finally {
    close(root);
  }
}

/** Gives each file system the inodes of its own. */
class Identities {
  readonly #indexes = new Map<string, number>();

  of(fileSystem: string): Identify {
    const index = this.#indexes.get(fileSystem) ?? this.#indexes.size;
    this.#indexes.set(fileSystem, index);
    return (stat) => ({ ...stat, inode: (stat.inode % INODES) * MAX_CHOSEN + index });
  }
}

/** The open directory that a chosen path is in, and what it is itself; undefined, with a note, if that cannot be backed up. */
function look(
  root: number,
  path: ByteString,
  note: Noter,
): { readonly directory: number; readonly stat: Stat } | undefined {
  let directory: number | undefined;
  try {
    directory = openBelow(root, parentOf(path) ?? ROOT);
    const stat = statAt(directory, nameOf(path));
    const type = TYPE_OF_MODE.get(stat.mode & 0o170000);
    if (type === TYPE.file || type === TYPE.directory) return { directory, stat };
    note('unreadable', path, `it is neither a file nor a folder: ${ADVICE}`);
  } catch (error) {
    if (!isLibcError(error)) throw error;
    note('unreadable', path, `${error.message}: ${ADVICE}`);
  }
  if (directory !== undefined) close(directory);
  return undefined;
}

/** Opens a directory below an open one; no symlink is followed. */
function openBelow(root: number, path: ByteString): number {
  let directory = openDirectoryAt(root, '.' as ByteString);
  for (const name of path.split('/').filter((part) => part !== '') as ByteString[]) {
    const above = directory;
    try {
      directory = openDirectoryAt(above, name);
    } finally {
      close(above);
    }
  }
  return directory;
}

/** The folders above `path` but the root, the uppermost first. */
function foldersAbove(path: ByteString): readonly ByteString[] {
  const up = parentOf(path) ?? ROOT;
  return up === ROOT ? [] : [...foldersAbove(up), up];
}

function made(path: ByteString): Found {
  const fixed = { unreadable: false, flags: 0, ownerless: true, access: NOTHING } as const;
  return { path, type: TYPE.directory, stat: MADE, ...fixed };
}

/** An absolute path as a path of the volume. */
function pathOf(absolute: string): ByteString {
  return byteString(utf8(absolute.slice(1)));
}
