/**
 * Walks a volume in path order, by directory descriptors: paths may be of any length, no symlink is followed, and
 * no more than a bounded number of descriptors is open however deep the nesting. One file system only.
 */

import type { ByteString } from '../shared/bytes.ts';
import { MAX_PATH } from '../shared/limits.ts';
import type { NoteCode } from '../shared/protocol/disposable.ts';
import { MountedAccess, asItIs } from './access.ts';
import type { Access, Identify } from './access.ts';
import { TYPE } from './entry.ts';
import type { EntryType } from './entry.ts';
import { nameOf, parentOf } from './leaf.ts';
import type { AllBut, Excludes, Skipped } from './excludes.ts';
import { close, isLibcError, openDirectory, openDirectoryAt, readDirectory } from './libc.ts';
import { statAt, statDescriptor } from './stat.ts';
import type { Stat } from './stat.ts';

/** Directories kept open at a time; the ones further up are opened again, through `..`, on the way back. */
const MAX_OPEN = 64;

/** One entry, valid until the walk goes on. */
export interface Found {
  readonly path: ByteString;
  readonly type: Exclude<EntryType, typeof TYPE.skipped>;
  readonly stat: Stat;
  /** A directory whose names could not be read. */
  readonly unreadable: boolean;
  /** Its portable chattr flags, where they are known already. */
  readonly flags?: number;
  /** True where entries of the volume have no owner: none is stored, and none is missed. */
  readonly ownerless?: true;
  readonly access: Access;
}

/** Takes what a person should know about a path. */
export type Noter = (code: NoteCode, path: ByteString, detail: string) => void;

/** An open directory with what is left to visit in it, the next name last. */
interface Level {
  /** Undefined while it is closed to save descriptors. */
  descriptor: number | undefined;
  readonly path: ByteString;
  /** Its name in the level above. */
  readonly name: ByteString;
  readonly stat: Stat;
  readonly names: ByteString[];
  /** What is mounted on its entries belongs to the volume. */
  readonly isAbove?: true;
  leftOut?: AllBut | undefined;
}

/** What a walk goes by. */
export interface WalkRules {
  readonly note: Noter;
  readonly excludes?: Excludes | undefined;
  /** Paths that are left out whatever else is said, with the reason. */
  readonly hidden?: ReadonlyMap<ByteString, ByteString> | undefined;
  /** How what the kernel says of an entry is told, where inodes of several file systems meet. */
  readonly identify?: Identify | undefined;
}

/** A walk under way. */
interface Walk extends WalkRules {
  readonly levels: Level[];
}

const MOUNTED = 'another file system is mounted there' as ByteString;
const DOT = '.' as ByteString;
const DOT_DOT = '..' as ByteString;

/** S_IFMT bits of each type. */
export const TYPE_OF_MODE = new Map<number, Found['type']>([
  [0o100000, TYPE.file],
  [0o040000, TYPE.directory],
  [0o120000, TYPE.symlink],
  [0o010000, TYPE.fifo],
  [0o140000, TYPE.socket],
  [0o020000, TYPE.characterDevice],
  [0o060000, TYPE.blockDevice],
]);

/**
 * All entries below the absolute path `folder`, its own first (with the empty path), in path order; in place of what
 * `excludes` leaves out or what is on another file system, the path with the reason. What is not there any more or not
 * readable goes to `note`. Throws LibcError if the root cannot be read.
 */
export function* walk(
  folder: string,
  note: Noter,
  excludes?: Excludes,
): Generator<Found | Skipped, void, undefined> {
  const levels: Level[] = [];
  try {
    const root = openRoot(folder);
    levels.push(root);
    const descriptor = root.descriptor ?? -1;
    excludes?.enter(root.path, (name) => lookUp(root, descriptor, name));
    const rest = { path: root.path, type: TYPE.directory, stat: root.stat, unreadable: false };
    yield { ...rest, access: new MountedAccess(descriptor, DOT, root.stat, true) };
    yield* visitAll({ levels, note, excludes });
  } finally {
    closeAll(levels);
  }
}

/**
 * The entry `path` and all below it, whatever is mounted on it; the rest as {@link walk}. `directory` is the open one that it is in,
 * and closed afterwards.
 */
export function* walkEntry(
  directory: number,
  path: ByteString,
  rules: WalkRules,
): Generator<Found | Skipped, void, undefined> {
  const stat = (rules.identify ?? asItIs)(statDescriptor(directory));
  const above = { path: parentOf(path) ?? ('' as ByteString), name: DOT, names: [nameOf(path)] };
  const levels: Level[] = [{ ...above, descriptor: directory, stat, isAbove: true }];
  try {
    yield* visitAll({ ...rules, levels });
  } finally {
    closeAll(levels);
  }
}

/** Visits what is left of all levels, the innermost first. */
function* visitAll(walk: Walk): Generator<Found | Skipped, void, undefined> {
  const { levels } = walk;
  for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
    const name = level.names.pop();
    if (name === undefined || level.descriptor === undefined) leave(walk);
    else yield* visit(walk, level, level.descriptor, name);
  }
}

function closeAll(levels: readonly Level[]): void {
  for (const { descriptor } of levels) if (descriptor !== undefined) close(descriptor);
}

function openRoot(folder: string): Level {
  const descriptor = openDirectory(folder);
  try {
    const names = sortedNames(descriptor);
    return { descriptor, path: '' as ByteString, name: DOT, stat: statDescriptor(descriptor), names };
  } catch (error) {
    close(descriptor);
    throw error;
  }
}

/** Names in descending order: the walk pops them off the end. */
function sortedNames(descriptor: number): ByteString[] {
  return readDirectory(descriptor).sort().reverse();
}

/** Yields the entry `name` of `level`; if it is a directory, the walk goes on in it. */
function* visit(walk: Walk, level: Level, directory: number, name: ByteString): Generator<Found | Skipped> {
  const { note, excludes, hidden, identify } = walk;
  const path = (level.path === '' ? name : `${level.path}/${name}`) as ByteString;
  if (path.length > MAX_PATH) {
    note('unreadable', path, `the path is longer than ${MAX_PATH} bytes`);
    return;
  }
  if (level.leftOut !== undefined && name !== level.leftOut.kept) {
    yield { path, type: TYPE.skipped, reason: level.leftOut.reason };
    return;
  }
  const found = attempt(() => statFound(directory, name, path, identify), path, note);
  if (found === undefined) return;
  const { type, stat } = found;
  // On some file systems (overlayfs) files and their directory differ in device: a file's own mount is seen by its flag.
  const isMounted = stat.mountRoot || (type === TYPE.directory && stat.fileSystem !== level.stat.fileSystem);
  const isForeign = isMounted && level.isAbove !== true;
  const reason = hidden?.get(path) ?? excludes?.reasonFor(found) ?? (isForeign ? MOUNTED : undefined);
  if (reason !== undefined) {
    if (reason === MOUNTED) note('mount-skipped', path, `${MOUNTED}: it is not part of this volume`);
    yield { path, type: TYPE.skipped, reason };
    return;
  }
  const inside = type === TYPE.directory ? enter(walk, directory, name, path, stat) : undefined;
  if (inside !== undefined) {
    walk.levels.push(inside); // Before the yield: an abandoned walk closes what is listed.
    inside.leftOut = excludes?.enter(path, (child) => lookUp(inside, inside.descriptor, child));
  }
  yield { ...found, unreadable: type === TYPE.directory && inside === undefined };
}

/** Undefined for a kind of file that Linux does not have. */
function statFound(
  directory: number,
  name: ByteString,
  path: ByteString,
  identify: Identify = asItIs,
): Found | undefined {
  const stat = identify(statAt(directory, name));
  const type = TYPE_OF_MODE.get(stat.mode & 0o170000);
  if (type === undefined) return undefined;
  const access = new MountedAccess(directory, name, stat, type === TYPE.directory, identify);
  return { path, type, stat, unreadable: false, access };
}

/** The entry `name` of a directory that was just opened. */
function lookUp(level: Level, descriptor: number | undefined, name: ByteString): Found | undefined {
  if (descriptor === undefined || !level.names.includes(name)) return undefined;
  return statFound(descriptor, name, level.path);
}

/** Opens a directory and reads its names, or notes why not. */
function enter(
  { levels, note }: Walk,
  directory: number,
  name: ByteString,
  path: ByteString,
  stat: Stat,
): Level | undefined {
  return attempt(
    () => {
      const descriptor = openDirectoryAt(directory, name);
      try {
        const level = { descriptor, path, name, stat, names: sortedNames(descriptor) };
        spareDescriptors(levels);
        return level;
      } catch (error) {
        close(descriptor);
        throw error;
      }
    },
    path,
    note,
  );
}

/** Closes the uppermost directory but the root that is still open, once there are many; the innermost ones stay. */
function spareDescriptors(levels: Level[]): void {
  const index = levels.length - MAX_OPEN;
  const level = levels[index];
  if (index < 1 || level?.descriptor === undefined) return;
  close(level.descriptor);
  level.descriptor = undefined;
}

/** Goes back up, opening the parent again if it was closed meanwhile. What cannot be opened again is noted and left out. */
function leave({ levels, note, identify }: Walk): void {
  const left = levels.pop();
  const parent = levels.at(-1);
  if (parent !== undefined && parent.descriptor === undefined) {
    parent.descriptor = reopenAbove(left?.descriptor, parent, identify) ?? reopenBelow(levels, identify);
    if (parent.descriptor === undefined && parent.names.length > 0) {
      note('vanished', parent.path, 'it was moved while it was read');
      parent.names.length = 0;
    }
  }
  if (left?.descriptor !== undefined) close(left.descriptor);
}

/** Opens `level` as the parent of its child `below`. */
function reopenAbove(
  below: number | undefined,
  level: Level,
  identify: Identify | undefined,
): number | undefined {
  return below === undefined ? undefined : reopen(below, DOT_DOT, level, identify);
}

/** Opens the last level by going down from the root, which always is open. */
function reopenBelow(levels: readonly Level[], identify: Identify | undefined): number | undefined {
  let descriptor = levels[0]?.descriptor;
  for (const level of levels.slice(1)) {
    const next: number | undefined =
      descriptor === undefined ? undefined : reopen(descriptor, level.name, level, identify);
    if (descriptor !== undefined && descriptor !== levels[0]?.descriptor) close(descriptor);
    descriptor = next;
  }
  return descriptor;
}

/** Opens `name` if it still is the directory that `level` was. */
function reopen(
  directory: number,
  name: ByteString,
  level: Level,
  identify: Identify = asItIs,
): number | undefined {
  let descriptor: number;
  try {
    descriptor = openDirectoryAt(directory, name);
  } catch (error) {
    if (isLibcError(error)) return undefined; // The caller tries another way, or notes it.
    throw error;
  }
  const { inode, fileSystem } = identify(statDescriptor(descriptor));
  if (inode === level.stat.inode && fileSystem === level.stat.fileSystem) return descriptor;
  close(descriptor);
  return undefined;
}

/** What `call` answers; undefined, with a note, if the entry is gone or refuses to be read. */
export function attempt<T>(call: () => T, path: ByteString, note: Noter): T | undefined {
  try {
    return call();
  } catch (error) {
    if (!isLibcError(error)) throw error;
    const gone = error.code === 'ENOENT' || error.code === 'ESTALE';
    note(gone ? 'vanished' : 'unreadable', path, gone ? 'it disappeared while it was read' : error.message);
    return undefined;
  }
}
