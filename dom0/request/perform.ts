/** Does what a VM asked for, and says of it what that VM may know: of itself, and nothing of dom0 or of others. */

import { escapeText } from '../../shared/bytes.ts';
import { BackupError, isBackupError } from '../../shared/errors.ts';
import type { ErrorCode } from '../../shared/errors.ts';
import type { VmName } from '../../shared/ids.ts';
import { MAX_REQUEST_LISTED } from '../../shared/limits.ts';
import type { App } from '../app.ts';
import { backup } from '../commands/backup.ts';
import { chooseOf } from '../commands/chosen.ts';
import { extractChosen } from '../commands/extract.ts';
import type { Vm } from '../domains/domains.ts';
import { historyOf } from '../repository/find-vm.ts';
import type { Rates } from './rates.ts';
import type { Action, Form } from './request.ts';

/** Lines of printable ASCII; `ok` decides the exit status. */
export interface Answer {
  readonly ok: boolean;
  readonly lines: readonly string[];
}

/** Answers a request of `caller` about itself. `form` says which files to restore. */
export async function perform(
  app: App,
  rates: Rates,
  caller: VmName,
  asked:
    { readonly action: Exclude<Action, 'restore'> } | { readonly action: 'restore'; readonly form: Form },
): Promise<Answer> {
  await admit(app, rates, caller, asked.action === 'backup' ? 'backup' : 'read');
  const vm = await findVm(app, caller);
  switch (asked.action) {
    case 'backup':
      return backUp(app, vm);
    case 'list':
      return list(app, vm);
    case 'restore':
      return restore(app, vm, asked.form);
  }
}

/** Backs up `target` because `caller` asked for it, which the policy lets it. */
export async function start(app: App, rates: Rates, caller: VmName, target: VmName | 'all'): Promise<Answer> {
  await admit(app, rates, caller, 'start');
  if (target !== 'all') return backUp(app, await findVm(app, target));
  await backup(app, [], { all: true, requested: true });
  return done(app, 'backed up');
}

/**
 * Takes the run's lock and counts the request. Who has asked too often does not even touch the lock, so that it keeps out no run of
 * the owner's; and to be told that another run is under way costs nothing.
 */
async function admit(
  app: App,
  rates: Rates,
  caller: VmName,
  kind: 'backup' | 'read' | 'start',
): Promise<void> {
  rates.check(caller, kind);
  await app.lock();
  rates.charge(caller, kind);
  // Whether a store that this machine has never used is the right one is for a person to say.
  if (app.pin.read() === undefined)
    throw new BackupError(
      'not-initialised',
      'this machine has used no repository yet: run a command by hand',
    );
}

/** A VM that has backups. A disposable has none, and its name may be another one's tomorrow. */
async function findVm(app: App, name: VmName): Promise<Vm> {
  const vm = (await app.domains.list()).find((candidate) => candidate.name === name);
  if (vm !== undefined && ['AppVM', 'StandaloneVM', 'TemplateVM'].includes(vm.klass)) return vm;
  throw new BackupError('unknown-vm', `${name} is no VM that is backed up`);
}

async function backUp(app: App, vm: Vm): Promise<Answer> {
  if (!vm.includeInBackups) throw new BackupError('unknown-vm', `${vm.name} is not included in backups`);
  await backup(app, [vm.name], { requested: true });
  return done(app, 'backed up');
}

function done(app: App, what: string): Answer {
  const remark = app.warnings === 0 ? '' : '; dom0 noted warnings';
  return { ok: true, lines: [`ok: ${what}${remark}`] };
}

/** Its newest complete snapshots, oldest first. A VM is known by its UUID: what had its name before is none of its business (R11). */
async function list(app: App, vm: Vm): Promise<Answer> {
  app.defer(() => app.storage.abort());
  const history = await historyOf(await app.open(), vm);
  const complete = (await history.entries()).filter(({ partial }) => !partial);
  await app.closeStorage();
  const shown = complete.slice(-MAX_REQUEST_LISTED);
  return {
    ok: true,
    lines: [
      `ok: ${shown.length} of ${complete.length} snapshots`,
      ...shown.map(({ number, takenAt }) => `${number} ${new Date(takenAt).toISOString()}`),
    ],
  };
}

async function restore(app: App, vm: Vm, { snapshot, paths }: Form): Promise<Answer> {
  app.defer(() => app.storage.abort());
  const repository = await app.open();
  const chosen = await chooseOf(repository, await historyOf(repository, vm), snapshot);
  const destination = { to: undefined, tar: undefined, intoVm: vm.name, overwrite: false };
  await extractChosen(app, chosen, paths.map(escapeText), destination, vm.name);
  return done(app, `copied into QubesIncoming/dom0/${vm.name}-${chosen.snapshot.number}`);
}

/** What a VM is told of a failure. All else is the business of dom0, whose log has it. */
const TOLD: Readonly<Partial<Record<ErrorCode, string>>> = {
  locked: 'busy: another run is under way; try again later',
  limit: 'refused: asked too often; try again later',
  timeout: 'failed: something took too long',
  'unknown-vm': 'refused: there is no VM to do this for',
  'unknown-snapshot': 'refused: this VM has no such snapshot',
  'unknown-path': 'failed: not everything that was asked for is in that snapshot; the rest was copied',
  'vm-exists': 'failed: something in QubesIncoming is in the way; move it away',
};

/** What the VM that asked is told of `error`. */
export function answerTo(error: unknown): Answer {
  const told = isBackupError(error) ? TOLD[error.code] : undefined;
  return { ok: false, lines: [told ?? 'failed: the owner of this machine finds the reason in dom0'] };
}
