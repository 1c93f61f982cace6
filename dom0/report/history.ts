/** What is known of the runs of each VM: the snapshots that are in the store, and what the log of this machine has beyond them. */

import * as z from 'zod';
import type { VmName } from '../../shared/ids.ts';
import { count, printable } from '../../shared/schema.ts';
import { MAX_TEXT } from '../../shared/limits.ts';
import { totalsOf } from '../repository/records.ts';
import type { Repository } from '../repository/repository.ts';
import { VmHistory } from '../repository/vm-history.ts';
import type { LogEntry } from '../state/run-log.ts';

/** A run that took a complete snapshot. */
export interface Run {
  /** When it was taken, or where only the log has it, when the run ended; milliseconds since 1970. */
  readonly at: number;
  /** Bytes of all files. */
  readonly bytes: number;
  /** Bytes added to the store. */
  readonly added: number;
  readonly seconds: number;
  /** Its snapshot was forgotten since. */
  readonly forgotten: boolean;
}

export interface Failure {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly message: string;
}

export interface VmRuns {
  /** Ascending by time. */
  readonly runs: readonly Run[];
  readonly failures: readonly Failure[];
}

/** By the name that a VM has in the store. */
export async function historyOfRuns(
  repository: Repository,
  log: readonly LogEntry[],
): Promise<ReadonlyMap<VmName, VmRuns>> {
  const all = new Map<VmName, VmRuns>();
  for (const entry of repository.vms) {
    const history = await VmHistory.read(repository, entry);
    const stored: Run[] = [];
    const numbers = new Set<number>();
    for (const { partial, ...marks } of await history.entries()) {
      numbers.add(marks.number);
      if (partial) continue;
      const snapshot = await history.snapshot({ partial, ...marks });
      const { counts } = totalsOf(snapshot);
      const seconds = (snapshot.finishedAt - snapshot.takenAt) / 1000;
      stored.push({
        at: snapshot.takenAt,
        bytes: counts.bytes,
        added: counts.storedBytes,
        seconds,
        forgotten: false,
      });
    }
    const logged = loggedOf(log, entry.name);
    const forgotten = logged.runs.filter(({ snapshot }) => !numbers.has(snapshot)).map(({ run }) => run);
    // Two VMs may have had one name.
    const before = all.get(entry.name)?.runs ?? [];
    const runs = [...before, ...stored, ...forgotten].sort((a, b) => a.at - b.at);
    all.set(entry.name, { runs, failures: logged.failures });
  }
  return all;
}

/** Results as the log has them; fields that are added to them later do no harm. */
const backupResult = z.object({
  event: z.literal('backup'),
  vm: printable(256),
  snapshot: z.int().min(1),
  bytes: count,
  storedBytes: count,
  seconds: z.number().min(0),
});
const failedResult = z.object({
  event: z.literal('failed'),
  vm: printable(256),
  message: printable(MAX_TEXT),
});

function loggedOf(log: readonly LogEntry[], vm: VmName) {
  const runs: { readonly snapshot: number; readonly run: Run }[] = [];
  const failures: Failure[] = [];
  for (const { level, text, at: when } of log) {
    const at = Date.parse(when);
    if (level !== 'result' || Number.isNaN(at)) continue;
    const value = jsonOf(text);
    const backup = backupResult.safeParse(value);
    if (backup.success && backup.data.vm === vm) {
      const { snapshot, bytes, storedBytes: added, seconds } = backup.data;
      runs.push({ snapshot, run: { at, bytes, added, seconds, forgotten: true } });
    }
    const failed = failedResult.safeParse(value);
    if (failed.success && failed.data.vm === vm) failures.push({ at, message: failed.data.message });
  }
  return { runs, failures };
}

/** A line of the log is cut where it is too long. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
