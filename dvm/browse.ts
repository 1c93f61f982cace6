/**
 * The job of qubes.BackupBrowse: questions about snapshots' trees, answered as printable ASCII.
 */

import { byteString } from '../shared/bytes.ts';
import type { ByteString } from '../shared/bytes.ts';
import { NumberSet } from '../shared/numbers.ts';
import type { Need, Question, Version, browse } from '../shared/protocol/browse.ts';
import { expect } from '../shared/service.ts';
import type { ServiceSession } from '../shared/service.ts';
import { receiveBlobs } from './blobs.ts';
import type { BlobSource } from './blobs.ts';
import { TYPE } from './entry.ts';
import type { Entry } from './entry.ts';
import { compileFilter } from './find.ts';
import { readHistory } from './history.ts';
import { Pages, listEntryOf, textOf } from './list-entry.ts';
import { findNeeds } from './needs.ts';
import { comparePaths, decodeTop, isWithin, parentOf, readLeaves } from './tree.ts';
import type { Top } from './tree.ts';
import { lastLeafWithin, leafOf } from './tree-search.ts';

type Session = ServiceSession<typeof browse>;

/** Serves one session: takes the question, answers it in pages. */
export async function browseSnapshot(session: Session): Promise<void> {
  const { value: question } = expect(await session.receive(), 'job');
  const blobs = receiveBlobs(session);
  await session.send('done', { found: await answer(session, question, blobs) });
}

function answer(session: Session, question: Question, blobs: BlobSource): Promise<boolean> {
  switch (question.kind) {
    case 'history':
      return answerHistory(session, question, blobs);
    case 'needing':
      return answerNeeds(session, question, blobs);
    default:
      return answerEntries(session, question, blobs);
  }
}

/** Sends the entries that are asked for; false if the path is not there. */
async function answerEntries(
  session: Session,
  question: Extract<Question, { kind: 'list' | 'find' }>,
  blobs: BlobSource,
): Promise<boolean> {
  const pages = new Pages((entries) => session.send('entries', { entries }), textOf);
  const top = decodeTop(await blobs.get(question.top));
  const path = byteString(question.path);
  const isFind = question.kind === 'find';
  const matches = isFind
    ? compileFilter(question.filter)
    : ({ type }: Entry) => (type === TYPE.skipped) === question.skipped;
  let found = false;
  for await (const entry of entriesAt(top, blobs, path, isFind || question.recursive)) {
    const isListedFolder = !found && !isFind && entry.type === TYPE.directory;
    found = true;
    if (!isListedFolder && matches(entry)) await pages.add(listEntryOf(entry));
  }
  await pages.flush();
  return found;
}

async function answerHistory(
  session: Session,
  { tops, path }: Extract<Question, { kind: 'history' }>,
  blobs: BlobSource,
): Promise<boolean> {
  const pages = new Pages<Version>(
    (versions) => session.send('versions', { versions }),
    ({ entry }) => (entry === null ? 0 : textOf(entry)),
  );
  let found = false;
  for await (const { newest, oldest, entry, changed } of readHistory(tops, byteString(path), blobs)) {
    if (entry !== undefined) found = true;
    await pages.add({
      newest,
      oldest,
      entry: entry === undefined ? null : listEntryOf(entry),
      changed: [...changed],
    });
  }
  await pages.flush();
  return found;
}

async function answerNeeds(
  session: Session,
  { tops, blobs: encoded }: Extract<Question, { kind: 'needing' }>,
  blobs: BlobSource,
): Promise<boolean> {
  const pages = new Pages<Need>(
    (needs) => session.send('needs', { needs }),
    ({ path, ...row }) =>
      path.length + (row.kind === 'list' ? (row.until?.length ?? 0) + (row.within?.length ?? 0) : 0),
  );
  let found = false;
  for await (const need of findNeeds(tops, NumberSet.decode(encoded), blobs)) {
    found = true;
    await pages.add(need);
  }
  await pages.flush();
  return found;
}

/**
 * The entry at `path` and, if it is a directory, what is in it: its children, or all below it if `recursive`. Leaves
 * that lie wholly within a child are not read unless `recursive`.
 */
export async function* entriesAt(
  top: Top,
  blobs: BlobSource,
  path: ByteString,
  recursive: boolean,
): AsyncGenerator<Entry> {
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
        if (!found) {
          if (comparePaths(entry.path, path) < 0) continue;
          if (entry.path !== path) return;
          found = true;
          yield entry;
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
