/** `ls`: what a snapshot holds, listed by a disposable. */

import { bytesOf, unescapeText } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { browse } from '../../shared/protocol/disposable.ts';
import type { ListEntry } from '../../shared/protocol/disposable.ts';
import type { App } from '../app.ts';
import { formatTime } from '../format.ts';
import { runBrowse } from '../session/read-sessions.ts';
import { choose } from './chosen.ts';

export async function ls(app: App, target: string, path: string, recursive: boolean): Promise<void> {
  const bytes = bytesOf(unescapeText(trimSlashes(path)));
  const { snapshot, history, access } = await choose(app, target);
  const show = (entries: readonly ListEntry[]) => {
    for (const entry of entries) {
      app.output.line(lineOf(entry));
      const { mtime, beforeEpoch, ...fields } = entry;
      app.output.event('entry', { ...fields, mtime: beforeEpoch ? -mtime : mtime });
    }
    return Promise.resolve();
  };
  const granted = await access(true);
  const job = { top: snapshot.top, path: bytes, recursive };
  const found = await app.withDisposable(history.name, { kind: 'nothing' }, browse.service, (call) =>
    runBrowse(call, granted, job, show, app.listener(history.name)),
  );
  if (!found) {
    throw new BackupError(
      'unknown-path',
      `${path} is not in snapshot ${snapshot.number} of ${history.name}; list its folder to see what is`,
    );
  }
  await app.closeStorage();
}

/** A path relative to the volume's root, as the format has it. */
export function trimSlashes(path: string): string {
  return path
    .replace(/^(?:\.?\/)+/, '')
    .replace(/\/+$/, '')
    .replace(/^\.$/, '');
}

const LETTERS: Readonly<Record<ListEntry['type'], string>> = {
  file: '-',
  directory: 'd',
  symlink: 'l',
  fifo: 'p',
  socket: 's',
  'character-device': 'c',
  'block-device': 'b',
  skipped: 'x',
};

function lineOf(entry: ListEntry): string {
  const owner = `${entry.uid ?? '?'}:${entry.gid ?? '?'}`.padEnd(11);
  const time = formatTime((entry.beforeEpoch ? -entry.mtime : entry.mtime) * 1000);
  const target = entry.target === null ? '' : ` -> ${entry.target}`;
  return `${LETTERS[entry.type]}${permissions(entry.mode)}  ${owner}  ${String(entry.size).padStart(12)}  ${time}  ${entry.path || '.'}${target}`;
}

/** `rwxr-sr-t` and so on, from the low 12 bits of a mode. */
function permissions(mode: number): string {
  const triple = (bits: number, special: boolean, letter: string) => {
    const execute = special
      ? (bits & 1) === 1
        ? letter
        : letter.toUpperCase()
      : (bits & 1) === 1
        ? 'x'
        : '-';
    return `${bits & 4 ? 'r' : '-'}${bits & 2 ? 'w' : '-'}${execute}`;
  };
  return (
    triple(mode >> 6, (mode & 0o4000) !== 0, 's') +
    triple((mode >> 3) & 7, (mode & 0o2000) !== 0, 's') +
    triple(mode & 7, (mode & 0o1000) !== 0, 't')
  );
}
