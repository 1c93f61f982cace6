/**
 * What this machine remembers of its runs: of each VM the last backup, check and drill, for `status` and to choose what is to
 * be drilled next. Only a convenience: where it is damaged or cannot be written there is a warning, and the run goes on.
 */

import { join } from 'node:path';
import * as z from 'zod';
import { isBackupError, messageOf } from '../../shared/errors.ts';
import type { VmId } from '../../shared/ids.ts';
import { MAX_TEXT } from '../../shared/limits.ts';
import { count, printable } from '../../shared/schema.ts';
import { readChecked, writeChecked } from './checked-file.ts';
import { makePrivateFolder } from './files.ts';

/** When the run ended, in milliseconds since 1970. */
const at = count;
const snapshot = z.int().min(1);

/** The last run of each kind. Each has a file of its own, because a check may run beside a backup. */
const ENTRIES = {
  /** One that took a complete snapshot. */
  backup: z.strictObject({ at, snapshot, warnings: count, seconds: z.number().min(0) }),
  /** Over all stores that could be checked. */
  check: z.strictObject({
    at,
    /** Percent of the objects that was read, 0 to 100. */
    share: z.number().min(0).max(100),
    /** Faults of this VM that remain. */
    faults: count,
  }),
  drill: z.strictObject({ at, snapshot, result: z.enum(['passed', 'failed']), detail: printable(MAX_TEXT) }),
} as const;

const KINDS = ['backup', 'check', 'drill'] as const;
type Kind = (typeof KINDS)[number];

export type DiaryEntry<K extends Kind> = z.output<(typeof ENTRIES)[K]>;

/** What is remembered of one VM. */
export type VmDiary = { readonly [K in Kind]?: DiaryEntry<K> };

const vmId = z.custom<VmId>((value) => typeof value === 'string' && /^[0-9a-f]{32}$/.test(value));

export class Diary {
  readonly #folder: string;
  readonly #warn: (text: string) => void;
  /** Damaged files that were named. */
  readonly #damaged = new Set<Kind>();

  constructor(stateFolder: string, warn: (text: string) => void) {
    this.#folder = join(stateFolder, 'diary');
    this.#warn = warn;
  }

  /** What is remembered of the VM with this id in the store. */
  of(vm: VmId): VmDiary {
    return Object.fromEntries(
      KINDS.flatMap((kind) => {
        const entry = this.#read(kind).get(vm);
        return entry === undefined ? [] : [[kind, entry]];
      }),
    );
  }

  /** Remembers `entries` of their VMs, in place of the last ones of this kind. */
  record<K extends Kind>(kind: K, entries: Iterable<readonly [VmId, DiaryEntry<K>]>): void {
    this.#write(kind, new Map([...this.#read(kind), ...entries]));
  }

  /** Remembers nothing of the VM any more. */
  forget(vm: VmId): void {
    for (const kind of KINDS) {
      const entries = this.#read(kind);
      if (entries.delete(vm)) this.#write(kind, entries);
    }
  }

  #read<K extends Kind>(kind: K): Map<VmId, DiaryEntry<K>> {
    try {
      const schema = z.record(vmId, ENTRIES[kind]);
      const entries = readChecked(this.#file(kind), schema, 'it is written anew') ?? {};
      return new Map(Object.entries(entries) as [VmId, DiaryEntry<K>][]);
    } catch (error) {
      if (!isBackupError(error)) throw error;
      if (!this.#damaged.has(kind))
        this.#warn(`${error.message}; nothing is known of earlier runs (${kind})`);
      this.#damaged.add(kind);
      return new Map();
    }
  }

  #write<K extends Kind>(kind: K, entries: ReadonlyMap<VmId, DiaryEntry<K>>): void {
    try {
      makePrivateFolder(this.#folder);
      writeChecked(this.#file(kind), Object.fromEntries(entries));
    } catch (error) {
      this.#warn(`this run is not remembered: ${messageOf(error)}`);
    }
  }

  #file(kind: Kind): string {
    return join(this.#folder, `${kind}.json`);
  }
}

/** `text` as the detail of an entry: in printable ASCII, cut. */
export function diaryText(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, MAX_TEXT);
}
