/**
 * A dom0 under attack, as a process of its own: the product's commands over the product's local driver, job after job.
 * Only what is attacked differs: its services are hostile peers, which the driver's policy and sandbox start.
 */

import { join } from 'node:path';
import { App } from '../../dom0/app.ts';
import { backup } from '../../dom0/commands/backup.ts';
import { check } from '../../dom0/commands/check.ts';
import { FaultyObjects, reportDamage } from '../../dom0/commands/damage.ts';
import { diff } from '../../dom0/commands/diff.ts';
import { drill } from '../../dom0/commands/drill.ts';
import { extract } from '../../dom0/commands/extract.ts';
import { history } from '../../dom0/commands/history.ts';
import { list } from '../../dom0/commands/list.ts';
import { ls } from '../../dom0/commands/ls.ts';
import { restore } from '../../dom0/commands/restore.ts';
import { loadConfig } from '../../dom0/config.ts';
import { passphraseOf, readKeyFile } from '../../dom0/keys/secret.ts';
import { historyNamed } from '../../dom0/repository/find-vm.ts';
import { parseVmName } from '../../shared/ids.ts';
import { isBackupError, messageOf } from '../../shared/errors.ts';
import { QuietOutput } from '../support/quiet-output.ts';
import { AttackedDomains } from './attacked-domains.ts';
import type { CommandName, Job, Message, Place, Report } from './job.ts';

/** Characters kept of what would be shown: the rest would count as dom0's memory. */
const MAX_SHOWN = 4 * 1024 * 1024;

/** What a passphrase slot of an attacker's making is tried with. */
const PASSPHRASE = 'correct horse battery staple';

const COMMANDS: Readonly<Record<CommandName, (app: App, vm: string, home: string) => Promise<void>>> = {
  backup: (app, vm) => backup(app, [vm]),
  audit: (app, vm) => backup(app, [vm], { audit: true }),
  restore: (app, vm) => restore(app, vm, 'copy'),
  'restore-first': (app, vm) => restore(app, `${vm}@1`, 'copy'),
  ls: (app, vm) => ls(app, vm, '', { recursive: true, skipped: false }),
  drill: (app, vm) => drill(app, [vm], {}),
  needing: needsFirstBlob,
  history: (app, vm) => history(app, vm, 'file-0'),
  diff: (app, vm) => diff(app, vm, 'live', false),
  'diff-snapshots': (app, vm) => diff(app, `${vm}@1`, '@2', false),
  extract: (app, vm, home) =>
    extract(app, vm, ['/'], {
      to: undefined,
      tar: join(home, 'out.tar'),
      intoVm: undefined,
      overwrite: false,
    }),
  'extract-into': (app, vm) =>
    extract(app, vm, ['/'], { to: undefined, tar: undefined, intoVm: 'vault', overwrite: false }),
  check: (app) => check(app, 100),
  list: (app) => list(app, undefined),
};

/** Asks what is hit if the first blob of `vm`, which is content, is lost. */
async function needsFirstBlob(app: App, vm: string): Promise<void> {
  app.defer(() => app.storage.abort());
  const repository = await app.open();
  const history = await historyNamed(repository, app.domains, parseVmName(vm));
  const { id } = await history.rowOf(0);
  const faulty = new FaultyObjects();
  faulty.add({ found: new Map([[id, 'faulty']]), hitVms: new Set([history.record.id]) });
  await reportDamage(app, repository, faulty);
  await app.closeStorage();
}

let domains: AttackedDomains | undefined;
let place: Place | undefined;

async function run(job: Job, { home, sandbox }: Place, attacked: AttackedDomains): Promise<Report> {
  const config = loadConfig({ file: undefined, localHome: home, sandbox });
  const output = new QuietOutput(MAX_SHOWN);
  const secrets = () =>
    Promise.resolve([job.passphrase ? passphraseOf(PASSPHRASE) : readKeyFile(join(home, 'key-file'))]);
  const trust = { acceptRoot: undefined, expectRoot: undefined };
  const app = new App({ config, domains: attacked, output, secrets, trust });
  const started = performance.now();
  let failure: Report['failure'];
  Object.assign(globalThis, { mutant: job.mutant });
  attacked.begin(job);
  try {
    await COMMANDS[job.command](app, job.vm, home);
  } catch (error) {
    failure = describe(error);
  } finally {
    await app.close();
    await attacked.settle();
  }
  return {
    failure,
    warnings: app.warnings,
    lines: output.lines,
    events: output.events.map((event) => JSON.stringify(event)),
    said: attacked.said(),
    recorded: attacked.recorded(),
    milliseconds: performance.now() - started,
  };
}

function describe(error: unknown): { code: string; message: string } {
  // A backup, or a drill, reports each VM's failure and ends with a summary of which the first is the cause.
  const first =
    isBackupError(error) && isBackupError(error.cause) && /(not backed up|drills failed)$/.test(error.message)
      ? error.cause
      : error;
  if (isBackupError(first)) return { code: first.code, message: first.message };
  return {
    code: 'untyped',
    message: first instanceof Error ? (first.stack ?? messageOf(first)) : messageOf(first),
  };
}

async function take(message: Message): Promise<unknown> {
  if (message.kind === 'place') {
    place = message.place;
    domains = new AttackedDomains(place);
    return 'ready';
  }
  if (place === undefined || domains === undefined) throw new Error('no place to work at');
  return run(message.job, place, domains);
}

process.on('message', (message: Message) => {
  void take(message).then((answer) => process.send?.(answer));
});
process.on('disconnect', () => {
  void domains?.stop();
});
