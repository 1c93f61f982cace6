/**
 * The `browse` job: lists a snapshot's entries, as printable ASCII.
 */

import { byteString, escapeText } from '../shared/bytes.ts';
import type { ByteString } from '../shared/bytes.ts';
import { MAX_REQUEST, MAX_TEXT } from '../shared/limits.ts';
import type { ListEntry, browse } from '../shared/protocol/disposable.ts';
import { expect } from '../shared/service.ts';
import type { ServiceSession } from '../shared/service.ts';
import { receiveBlobs } from './blobs.ts';
import type { BlobSource } from './blobs.ts';
import { TYPE } from './entry.ts';
import type { Entry } from './entry.ts';
import { shownPath } from './restore-report.ts';
import { comparePaths, decodeTop, isWithin, parentOf, readLeaves } from './tree.ts';
import type { Top } from './tree.ts';
import { lastLeafWithin, leafOf } from './tree-search.ts';

/** Bytes of text in one message: half of its cap. */
const MAX_BATCH = 2 * 1024 * 1024;

const TYPE_NAMES = {
  [TYPE.file]: 'file',
  [TYPE.directory]: 'directory',
  [TYPE.symlink]: 'symlink',
  [TYPE.fifo]: 'fifo',
  [TYPE.socket]: 'socket',
  [TYPE.characterDevice]: 'character-device',
  [TYPE.blockDevice]: 'block-device',
  [TYPE.skipped]: 'skipped',
} as const;

/** Serves one `browse` session: a directory's children (or, recursively, all below it), or the entry itself. */
export async function browseSnapshot(session: ServiceSession<typeof browse>): Promise<void> {
  const { top: topNumber, path: untrustedPath, recursive } = expect(await session.receive(), 'job').value;
  const blobs = receiveBlobs(session);
  const top = decodeTop(await blobs.get(topNumber));
  let batch: ListEntry[] = [];
  let size = 0;
  let found = false;
  for await (const entry of listEntries(top, blobs, byteString(untrustedPath), recursive)) {
    found = true;
    if (entry === undefined) continue;
    const line = describe(entry);
    const length = line.path.length + (line.target?.length ?? 0);
    if (batch.length === MAX_REQUEST || (batch.length > 0 && size + length > MAX_BATCH)) {
      await session.send('entries', { entries: batch });
      batch = [];
      size = 0;
    }
    batch.push(line);
    size += length;
  }
  if (batch.length > 0) await session.send('entries', { entries: batch });
  await session.send('done', { found });
}

/**
 * The entry at `path` if it is no directory; else what is in it. A found directory itself is reported as undefined,
 * first. Leaves that lie wholly within a child are not read unless `recursive`.
 */
export async function* listEntries(
  top: Top,
  blobs: BlobSource,
  path: ByteString,
  recursive: boolean,
): AsyncGenerator<Entry | undefined> {
  const last = lastLeafWithin(top, path);
  let found = false;
  let index = leafOf(top, path);
  while (index <= last) {
    let child: ByteString | undefined;
    const end = recursive ? last + 1 : index + 1;
    for await (const { records } of readLeaves(top, blobs, index, end)) {
      for (const record of records) {
        if (record.kind === 'chunk') continue;
        const { entry } = record;
        if (entry.type === TYPE.skipped) continue;
        if (!found) {
          if (comparePaths(entry.path, path) < 0) continue;
          if (entry.path !== path) return;
          found = true;
          yield entry.type === TYPE.directory ? undefined : entry;
          if (entry.type !== TYPE.directory) return;
          continue;
        }
        if (!isWithin(entry.path, path)) return;
        if (recursive) yield entry;
        else if (parentOf(entry.path) === path) {
          child = entry.path;
          yield entry;
        }
      }
    }
    // The next sibling is in the leaf where the child's subtree ends, or after it.
    index = child === undefined ? end : Math.max(end, lastLeafWithin(top, child));
  }
}

function describe(entry: Entry): ListEntry {
  const { seconds, nanoseconds } = entry.mtime;
  return {
    path: shownPath(entry.path),
    type: TYPE_NAMES[entry.type],
    mode: entry.mode,
    uid: entry.uid ?? null,
    gid: entry.gid ?? null,
    size: entry.size,
    mtime: Math.abs(seconds),
    beforeEpoch: seconds < 0,
    mtimeNanoseconds: nanoseconds,
    target: entry.type === TYPE.symlink ? escapeText(entry.target).slice(0, MAX_TEXT) : null,
  };
}
