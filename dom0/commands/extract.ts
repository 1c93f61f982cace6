/** `extract`: chosen paths of a snapshot into a folder, or as a tar stream that dom0 passes on unread (R33). */

import { closeSync, fsyncSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { resolve } from 'node:path';
import { BackupError, messageOf, systemCode } from '../../shared/errors.ts';
import { exportPaths } from '../../shared/protocol/disposable.ts';
import { requireUsage } from '../app.ts';
import type { App } from '../app.ts';
import { formatBytes, formatCount } from '../format.ts';
import { runExport } from '../session/read-sessions.ts';
import { choose } from './chosen.ts';
import { pathBytes } from './paths.ts';

export interface Destination {
  /** `--to FOLDER` */
  readonly to: string | undefined;
  /** `--tar FILE`, `-` for stdout */
  readonly tar: string | undefined;
  readonly overwrite: boolean;
}

export async function extract(
  app: App,
  target: string,
  paths: readonly string[],
  destination: Destination,
): Promise<void> {
  const { to, tar, overwrite } = destination;
  requireUsage((to === undefined) !== (tar === undefined), 'give --to FOLDER or --tar FILE');
  requireUsage(tar !== '-' || !app.output.json, '--tar - and --json both need stdout: give --tar FILE');
  const wanted = paths.map(pathBytes);
  const { snapshot, history, access } = await choose(app, target);
  const folder = to === undefined ? undefined : resolve(to);
  if (folder !== undefined) mkdirSync(folder, { recursive: true });
  const attachment =
    folder === undefined ? ({ kind: 'nothing' } as const) : ({ kind: 'folder', folder } as const);
  const granted = await access(false);
  const sink = tar === undefined ? undefined : openSink(app, tar, overwrite);
  try {
    const result = await app.withDisposable(history.name, attachment, exportPaths.service, (call, inside) => {
      const job = {
        top: snapshot.top,
        paths: wanted,
        folder: folder === undefined ? undefined : inside,
        overwrite,
      };
      const write = (piece: Uint8Array) => sink?.write(piece) ?? Promise.resolve();
      return runExport(call, granted, job, write, app.listener('extract'));
    });
    sink?.finish();
    await app.closeStorage();
    const { entries, files, bytes } = result;
    if (tar !== '-')
      app.output.line(`Extracted ${formatCount(files)} files, ${formatBytes(bytes)}, to ${to ?? tar ?? ''}.`);
    app.output.event('extracted', { vm: history.name, snapshot: snapshot.number, entries, files, bytes });
    const missing = result.missing.map((index) => paths[index] ?? '?');
    if (missing.length > 0) {
      throw new BackupError(
        'unknown-path',
        `not in snapshot ${snapshot.number} of ${history.name}: ${missing.join(', ')}`,
      );
    }
  } finally {
    sink?.abandon();
  }
}

interface Sink {
  write(piece: Uint8Array): Promise<void>;
  /** Makes what was written final. */
  finish(): void;
  /** Removes an unfinished file. */
  abandon(): void;
}

function openSink(app: App, file: string, overwrite: boolean): Sink {
  if (file === '-') {
    return {
      write(piece) {
        app.output.raw(piece);
        return Promise.resolve();
      },
      finish: () => undefined,
      abandon: () => undefined,
    };
  }
  let descriptor: number | undefined;
  try {
    descriptor = openSync(file, overwrite ? 'w' : 'wx', 0o600);
  } catch (cause) {
    const hint =
      systemCode(cause) === 'EEXIST'
        ? 'it exists and is not overwritten; give --overwrite'
        : messageOf(cause);
    throw new BackupError('io', `cannot write ${file}: ${hint}`, { cause });
  }
  const close = () => {
    if (descriptor !== undefined) closeSync(descriptor);
    descriptor = undefined;
  };
  return {
    write(piece) {
      for (let at = 0; at < piece.length;) at += writeSync(descriptor ?? -1, piece, at);
      return Promise.resolve();
    },
    finish() {
      if (descriptor !== undefined) fsyncSync(descriptor);
      close();
    },
    abandon() {
      if (descriptor === undefined) return;
      close();
      rmSync(file, { force: true });
    },
  };
}
