/**
 * `drill`: shows that a backup can be restored, by doing it (R37). Each snapshot is written into a temporary VM, which a second
 * disposable must find to be that snapshot; then the command that is configured for the VM, if any, judges it in a third one. The
 * temporary VM never gets a name and is removed in any case; how the drill ended is remembered.
 */

import { randomInt } from 'node:crypto';
import { BackupError, messageOf } from '../../shared/errors.ts';
import { formatBytes, formatCount, formatTime } from '../../shared/format.ts';
import { drill as drillProtocol } from '../../shared/protocol/disposable.ts';
import { parseVmName } from '../../shared/ids.ts';
import type { VmId, VmName } from '../../shared/ids.ts';
import { requireUsage } from '../app.ts';
import type { App } from '../app.ts';
import { splitTarget } from '../repository/find-snapshot.ts';
import { historyNamed } from '../repository/find-vm.ts';
import type { Repository } from '../repository/repository.ts';
import { VmHistory } from '../repository/vm-history.ts';
import { DOM0 } from '../domains/dom0-files.ts';
import { runDrill } from '../session/read-sessions.ts';
import { diaryText } from '../state/diary.ts';
import { asBackupError } from '../storage/store.ts';
import { chooseOf, requireComplete, volumeOf } from './chosen.ts';
import type { Chosen } from './chosen.ts';
import { fillAndProve } from './restore-vm.ts';
import { requireVm } from './restore.ts';

export interface DrillOptions {
  /** Instead of named VMs so many of all, those first that were not drilled for longest. */
  readonly random?: number | undefined;
  /** Of the one VM that is named, instead of the newest. */
  readonly snapshot?: string | undefined;
}

/** Drills each of `targets`, `VM[@SNAPSHOT]`. One that fails does not keep the others from theirs; throws the first failure at the end. */
export async function drill(app: App, targets: readonly string[], options: DrillOptions): Promise<void> {
  const { random, snapshot } = options;
  requireUsage(
    (random === undefined) !== (targets.length === 0),
    'name the VMs to drill, or give --random N',
  );
  requireUsage(
    snapshot === undefined || (targets.length === 1 && !targets[0]?.includes('@')),
    '--snapshot is for one VM, named without a snapshot',
  );
  const wanted = targets.map((target) => {
    const { vm, snapshot: own } = splitTarget(target);
    return { vm: parseVmName(vm), snapshot: snapshot ?? own };
  });
  await app.lock();
  app.defer(() => app.storage.abort());
  const repository = await app.open();
  const chosen =
    random === undefined
      ? await Promise.all(wanted.map((one) => chooseNamed(app, repository, one)))
      : await chooseLongestAgo(app, repository, random);
  const failures: BackupError[] = [];
  for (const one of chosen) {
    const failure = await attempt(app, one);
    if (failure !== undefined) failures.push(failure);
  }
  await app.closeStorage();
  const [first] = failures;
  if (first !== undefined)
    throw new BackupError(first.code, `${failures.length} of ${chosen.length} drills failed`, {
      cause: first,
    });
}

async function chooseNamed(
  app: App,
  repository: Repository,
  { vm, snapshot }: { readonly vm: VmName; readonly snapshot: string },
): Promise<Chosen> {
  const chosen = await chooseOf(repository, await historyNamed(repository, app.domains, vm), snapshot);
  requireComplete(chosen);
  await requireVm(chosen);
  return chosen;
}

/** The newest snapshots of `count` VMs that have a complete one. Of VMs whose last drills are equally long ago, any. */
async function chooseLongestAgo(app: App, repository: Repository, count: number): Promise<Chosen[]> {
  const now = Date.now();
  const lastDrill = (vm: VmId) => {
    const at = app.diary.of(vm).drill?.at ?? 0;
    return at > now ? 0 : at; // The clock was wrong then: nobody knows when that was.
  };
  const ranked = repository.vms
    .filter(({ name }) => name !== DOM0) // It is not restored.
    .map((entry) => ({ entry, at: lastDrill(entry.id), lot: randomInt(2 ** 32) }))
    .sort((a, b) => a.at - b.at || a.lot - b.lot);
  const chosen: Chosen[] = [];
  for (const { entry } of ranked) {
    if (chosen.length === count) break;
    const history = await VmHistory.read(repository, entry);
    const complete = (await history.entries()).filter(({ partial }) => !partial);
    if (complete.length > 0) chosen.push(await chooseOf(repository, history, 'latest'));
  }
  if (chosen.length === 0) app.warn('no VM has a complete snapshot: nothing was drilled');
  return chosen;
}

/** Drills one, and remembers how that ended, unless a person ended it. Answers how it failed, which was told then. */
async function attempt(app: App, chosen: Chosen): Promise<BackupError | undefined> {
  const { history, snapshot } = chosen;
  const { name, record } = history;
  const started = performance.now();
  const remember = (result: 'passed' | 'failed', text: string) => {
    const detail = diaryText(text);
    const seconds = (performance.now() - started) / 1000;
    const entry = { at: Date.now(), snapshot: snapshot.number, result, detail };
    app.diary.record('drill', [[record.id, entry]]);
    app.output.event('drill', { vm: name, snapshot: snapshot.number, result, detail, seconds });
  };
  try {
    if (app.interrupted) throw new BackupError('service-died', 'the run was stopped before');
    const detail = await drillOne(app, chosen);
    remember('passed', detail);
    app.output.line(
      `${name}: the drill of snapshot ${snapshot.number} (${formatTime(snapshot.takenAt)}) passed: ${detail}.`,
    );
    return undefined;
  } catch (error) {
    const failure = asBackupError(error);
    app.output.error(`${name}: the drill of snapshot ${snapshot.number} failed: ${failure.message}`);
    if (!app.interrupted) remember('failed', failure.message);
    await app.storage.recover(); // Sessions may have failed; the next drill gets fresh ones.
    return failure;
  }
}

/** Answers what was seen. Throws what went wrong. */
async function drillOne(app: App, chosen: Chosen): Promise<string> {
  const { history, snapshot } = chosen;
  const config = await history.config(snapshot);
  const temporary = await app.domains.createTemporary(history.name, config, snapshot.volumes);
  try {
    const restored = await fillAndProve(app, chosen, temporary);
    const files = restored.reduce((sum, volume) => sum + volume.files, 0);
    const bytes = restored.reduce((sum, volume) => sum + volume.bytes, 0);
    const seen = `${formatCount(files)} files, ${formatBytes(bytes)}, restored and read by a second disposable`;
    return (await judge(app, chosen, temporary)) ? `${seen}; its command found them good` : seen;
  } finally {
    await app.domains.removeTemporary(temporary).catch((left: unknown) => app.warn(messageOf(left)));
  }
}

/** Has the VM's command judge the restored VM; false if it has none. Throws `verify-failed` if the command says that it is not good. */
async function judge(app: App, { history, snapshot }: Chosen, temporary: VmName): Promise<boolean> {
  const { name } = history;
  const template = (await app.domains.list()).find((vm) => vm.name === name)?.template ?? null;
  const command = app.config.drillCommand({ name, template });
  if (command === undefined) return false;
  const { name: volume, mode } = volumeOf(name, snapshot, undefined);
  const attachment = { kind: 'volume', vm: temporary, volume, mode, writable: false } as const;
  const { status, output } = await app.withVolume(
    temporary,
    attachment,
    drillProtocol.service,
    (call, attached) =>
      runDrill(call, { volume: attached, command: [...command] }, app.listener(name, 'its command')),
  );
  if (status === 0) return true;
  const said = output === '' ? 'it said nothing' : `it said: ${output}`;
  throw new BackupError('verify-failed', `drill_command ended with status ${status}; ${said}`);
}
