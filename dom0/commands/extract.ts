/** `extract`: chosen paths of a snapshot into a folder, or as a stream that dom0 passes on unread: a tar file, or into a VM (R33). */

import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { BackupError, messageOf } from '../../shared/errors.ts';
import { parseVmName } from '../../shared/ids.ts';
import type { VmName } from '../../shared/ids.ts';
import { MAX_STREAM_ENTRY } from '../../shared/limits.ts';
import { exportPaths } from '../../shared/protocol/disposable.ts';
import type { ExportOutput } from '../../shared/protocol/disposable.ts';
import { requireUsage } from '../app.ts';
import type { App } from '../app.ts';
import type { Attachment, VolumeName } from '../domains/domains.ts';
import { formatBytes, formatCount } from '../../shared/format.ts';
import type { SnapshotVolume } from '../repository/records.ts';
import { runExport } from '../session/read-sessions.ts';
import type { Exported } from '../session/read-sessions.ts';
import { choose } from './chosen.ts';
import type { Chosen } from './chosen.ts';
import { fileSink, folderSink, stdoutSink, vmSink } from './extract-sinks.ts';
import type { Sink } from './extract-sinks.ts';
import { pathBytes } from './paths.ts';

/** The options that say where to. */
export interface Destination {
  /** `--to FOLDER` */
  readonly to: string | undefined;
  /** `--tar FILE`, `-` for stdout */
  readonly tar: string | undefined;
  /** `--into-vm VM` */
  readonly intoVm: string | undefined;
  readonly overwrite: boolean;
}

/** Where what is extracted goes, in terms of the disposable, of this machine, and for a person. */
interface Target {
  readonly attachment: Attachment;
  readonly output: (folder: string) => ExportOutput;
  readonly sink: Sink;
  /** Undefined on stdout, where only the archive belongs. */
  readonly shown: string | undefined;
}

export async function extract(
  app: App,
  target: string,
  paths: readonly string[],
  destination: Destination,
  volumeName?: VolumeName,
): Promise<void> {
  checkUsage(app, destination);
  const vm = destination.intoVm === undefined ? undefined : await receivingVm(app, destination.intoVm);
  await extractChosen(app, await choose(app, target, volumeName), paths, destination, vm);
}

/** Extracts what was chosen; `vm` is there, and receives it if `intoVm` names one. */
export async function extractChosen(
  app: App,
  chosen: Chosen,
  paths: readonly string[],
  destination: Destination,
  vm: VmName | undefined,
): Promise<void> {
  const extracted = await extractPaths(app, chosen, paths, destination, vm);
  await app.closeStorage();
  if (extracted.text !== undefined) app.output.line(extracted.text);
  requireAll(chosen, extracted);
}

/** What came out. */
export interface ExtractedPaths {
  /** For a person; undefined on stdout, where only the archive belongs. */
  readonly text: string | undefined;
  /** Paths that are not in the snapshot. */
  readonly missing: readonly string[];
}

/** {@link extractChosen}, of which nobody is told but programs. The stores stay open. */
export async function extractPaths(
  app: App,
  chosen: Chosen,
  paths: readonly string[],
  destination: Destination,
  vm: VmName | undefined,
): Promise<ExtractedPaths> {
  const wanted = paths.map(pathBytes);
  const { snapshot, volume, history } = chosen;
  const granted = await chosen.access(false);
  const { attachment, output, sink, shown } = targetOf(app, chosen, destination, vm);
  let result: Exported;
  try {
    result = await app.withDisposable(history.name, attachment, exportPaths.service, (call, attached) => {
      const job = { top: volume.top, paths: wanted, output: output(attached?.path ?? '') };
      return runExport(call, granted, job, sink, streamLimit(volume), app.listener('extract', history.name));
    });
    await sink.finish(result.crc32);
  } finally {
    await sink.abandon();
  }
  const { entries, files, bytes, missing } = result;
  app.output.event('extracted', { vm: history.name, snapshot: snapshot.number, entries, files, bytes });
  return {
    text:
      shown === undefined
        ? undefined
        : `Extracted ${formatCount(files)} files, ${formatBytes(bytes)}, to ${shown}.`,
    missing: missing.map((index) => paths[index] ?? '?'),
  };
}

/** Throws `unknown-path` if some are not in the snapshot. */
export function requireAll({ snapshot, history }: Chosen, { missing }: ExtractedPaths): void {
  if (missing.length === 0) return;
  throw new BackupError(
    'unknown-path',
    `not in snapshot ${snapshot.number} of ${history.name}: ${missing.join(', ')}`,
  );
}

/** The most bytes that a stream of the volume's entries can have. What a checkpoint holds was not counted. */
function streamLimit({ digest, counts: { bytes, entries } }: SnapshotVolume): number {
  return digest === null ? Infinity : bytes + (entries + 1) * MAX_STREAM_ENTRY;
}

function checkUsage(app: App, { to, tar, intoVm, overwrite }: Destination): void {
  const given = [to, tar, intoVm].filter((option) => option !== undefined);
  requireUsage(given.length === 1, 'give one of --to FOLDER, --tar FILE and --into-vm VM');
  requireUsage(tar !== '-' || !app.output.json, '--tar - and --json both need stdout: give --tar FILE');
  requireUsage(
    intoVm === undefined || !overwrite,
    '--overwrite and --into-vm do not go together: the VM that receives files never overwrites any',
  );
}

/** The VM that is to receive files, which is there. Its volume is written: no other run may do that meanwhile. */
async function receivingVm(app: App, text: string): Promise<VmName> {
  await app.lock();
  return knownVm(app, text);
}

/** Throws `unknown-vm` if there is no VM of this name. */
export async function knownVm(app: App, text: string): Promise<VmName> {
  const name = parseVmName(text);
  const vms = await app.domains.list();
  if (vms.some((vm) => vm.name === name)) return name;
  throw new BackupError('unknown-vm', `there is no VM ${name} to copy files into`);
}

function targetOf(
  app: App,
  { history, snapshot }: Chosen,
  { to, tar, overwrite }: Destination,
  vm: VmName | undefined,
): Target {
  const attachment = { kind: 'nothing' } as const;
  if (to !== undefined) {
    const folder = resolve(to);
    makeFolder(folder);
    const output = (path: string) => ({ kind: 'folder', path, overwrite }) as const;
    return { attachment: { kind: 'folder', folder }, output, sink: folderSink(), shown: to };
  }
  if (vm !== undefined) {
    const folder = `${history.name}-${snapshot.number}`;
    const output = () => ({ kind: 'fileCopy', folder }) as const;
    const shown = `~/QubesIncoming/dom0/${folder} of ${vm}`;
    return { attachment, output, sink: vmSink(app.domains, vm), shown };
  }
  const output = () => ({ kind: 'tar' }) as const;
  if (tar === undefined || tar === '-')
    return { attachment, output, sink: stdoutSink(app.output), shown: undefined };
  return { attachment, output, sink: fileSink(tar, overwrite), shown: tar };
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (cause) {
    throw new BackupError('io', `cannot extract to ${folder}: ${messageOf(cause)}`, { cause });
  }
}
