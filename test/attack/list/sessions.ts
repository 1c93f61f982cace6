/** The sessions that are attacked: what a service says in each, and what dom0 may have left when it fails. */

import type { CommandName } from '../job.ts';
import { typeOf } from '../program.ts';
import type { Trace } from '../case.ts';

export interface Target {
  /** Begins the ids of its cases. */
  readonly key: string;
  readonly command: CommandName;
  readonly service: string;
  /** The frame that carries its result, and whether that is CBOR. */
  readonly frame: number;
  readonly form: 'control' | 'page' | 'bulk';
  readonly leaves: readonly Trace[];
  /** A storage VM's: it is real, and its sessions last a whole run. */
  readonly storage: boolean;
}

function target(
  key: string,
  command: CommandName,
  service: string,
  frame: string,
  form: Target['form'],
  leaves: readonly Trace[] = [],
): Target {
  const storage = ['put', 'get', 'list', 'setRoot'].includes(key);
  return { key, command, service, frame: typeOf(service, frame), form, leaves, storage };
}

export const SCAN = target('scan', 'backup', 'qubes.BackupScan', 'done', 'control', ['objects']);
export const RESTORE = target('restore', 'restore', 'qubes.BackupRestore', 'done', 'control');
export const VERIFY = target('verify', 'restore', 'qubes.BackupVerify', 'done', 'control');
export const PROVE = target('prove', 'audit', 'qubes.BackupProve', 'done', 'control', ['objects']);
export const DRILL = target('drill', 'drill', 'qubes.BackupDrill', 'done', 'control');
export const EXPORT = target('export', 'extract', 'qubes.BackupExport', 'done', 'control');
export const BROWSE = target('browse', 'ls', 'qubes.BackupBrowse', 'entries', 'page');
export const NEEDING = target('needing', 'needing', 'qubes.BackupBrowse', 'needs', 'page');
export const COMPARE = target('compare', 'diff', 'qubes.BackupCompare', 'differences', 'page');
export const PUT = target('put', 'backup', 'qubes.BackupPut', 'ack', 'control', ['objects']);
export const GET = target('get', 'ls', 'qubes.BackupGet', 'object', 'bulk');
export const LIST = target('list', 'check', 'qubes.BackupList', 'page', 'bulk');
/** The root may be published although its answer was garbled: then the next run finds it, and nothing is lost. */
export const SET_ROOT = target('setRoot', 'backup', 'qubes.BackupSetRoot', 'done', 'control', [
  'objects',
  'root',
  'pending',
]);

export const TARGETS = [
  SCAN,
  RESTORE,
  VERIFY,
  PROVE,
  DRILL,
  EXPORT,
  BROWSE,
  NEEDING,
  COMPARE,
  PUT,
  GET,
  LIST,
  SET_ROOT,
] as const;
