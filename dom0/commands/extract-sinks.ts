/** Where the stream of an extraction goes: to a file, to stdout, into a VM, or nowhere. */

import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, openSync, statSync, writeSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { BackupError, messageOf, systemCode } from '../../shared/errors.ts';
import type { VmName } from '../../shared/ids.ts';
import type { Domains } from '../domains/domains.ts';
import type { Output } from '../output.ts';
import { FileCopy } from '../session/file-copy.ts';
import type { ExportSink } from '../session/read-sessions.ts';

/** The service of every VM that takes files, and the argument with which it takes names of any bytes. */
const SERVICE = 'qubes.Filecopy';
const ALL_NAMES = 'allow-all-names';

export interface Sink extends ExportSink {
  /** Makes what was written final. `crc32` is that of a file copy; else null. */
  finish(crc32: number | null): Promise<void>;
  /** Removes or ends what is not final. */
  abandon(): Promise<void>;
}

/** For an extraction into a folder, which the disposable writes itself. */
export function folderSink(): Sink {
  return {
    begin: () => unexpected(),
    write: () => unexpected(),
    finish: () => Promise.resolve(),
    abandon: () => Promise.resolve(),
  };
}

export function stdoutSink(output: Output): Sink {
  return {
    ...folderSink(),
    write(piece) {
      output.raw(piece);
      return Promise.resolve();
    },
  };
}

/**
 * A new file, or with `overwrite` whatever has that name: a file is replaced once all is written, a device or a pipe is
 * written to. A new file is removed again unless all of it was written. Throws `io`.
 */
export function fileSink(file: string, overwrite: boolean): Sink {
  const found = overwrite ? whatIs(file) : undefined;
  const isPlain = found?.isFile() ?? true;
  const written = found !== undefined && isPlain ? `${file}.${randomBytes(6).toString('hex')}.part` : file;
  let descriptor: number | undefined = openNew(file, written, isPlain ? 'wx' : 'w');
  const close = () => {
    if (descriptor !== undefined) closeSync(descriptor);
    descriptor = undefined;
  };
  return {
    ...folderSink(),
    write(piece) {
      try {
        for (let at = 0; at < piece.length;) at += writeSync(descriptor ?? -1, piece, at);
        return Promise.resolve();
      } catch (cause) {
        return Promise.reject(cannotWrite(file, cause));
      }
    },
    async finish() {
      try {
        if (isPlain && descriptor !== undefined) fsyncSync(descriptor);
        if (written !== file) await rename(written, file);
        close();
      } catch (cause) {
        throw cannotWrite(file, cause);
      }
    },
    async abandon() {
      if (descriptor === undefined) return;
      close();
      if (isPlain) await rm(written, { force: true });
    },
  };
}

/** The incoming folder of `vm`. The call is made when it is known which names will come. */
export function vmSink(domains: Domains, vm: VmName): Sink {
  let copy: FileCopy | undefined;
  let complete = false;
  return {
    async begin(plainNames) {
      copy = new FileCopy(await domains.callVm(vm, SERVICE, plainNames ? '' : ALL_NAMES));
    },
    write: (piece) => copy?.write(piece) ?? unexpected(),
    async finish(crc32) {
      if (copy === undefined || crc32 === null) return unexpected();
      await copy.finish(crc32);
      complete = true;
    },
    async abandon() {
      if (!complete) await copy?.abort();
    },
  };
}

/** runExport() lets no stream through that was not asked for. */
function unexpected(): Promise<never> {
  return Promise.reject(new BackupError('internal', 'a stream goes nowhere'));
}

function whatIs(file: string): Stats | undefined {
  try {
    return statSync(file, { throwIfNoEntry: false });
  } catch (cause) {
    throw cannotWrite(file, cause);
  }
}

function openNew(file: string, written: string, flags: 'w' | 'wx'): number {
  try {
    return openSync(written, flags, 0o600);
  } catch (cause) {
    throw cannotWrite(file, cause);
  }
}

function cannotWrite(file: string, cause: unknown): BackupError {
  const exists = systemCode(cause) === 'EEXIST';
  const why = exists ? 'it exists and is not overwritten; give --overwrite' : messageOf(cause);
  return new BackupError('io', `cannot write ${file}: ${why}`, { cause });
}
