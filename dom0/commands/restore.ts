/** `restore VM`: one VM, beside those that are there, under another name, or in the place of the one of its name (R32). */

import { BackupError } from '../../shared/errors.ts';
import { parseVmName } from '../../shared/ids.ts';
import type { VmName } from '../../shared/ids.ts';
import { formatTime } from '../../shared/format.ts';
import { requireUsage } from '../app.ts';
import type { App } from '../app.ts';
import { confirm } from '../confirm.ts';
import { readCaptured } from '../domains/captured.ts';
import { DOM0 } from '../domains/dom0-files.ts';
import type { Replaced, Substitutes } from '../domains/domains.ts';
import { ask, hasTerminal } from '../prompt.ts';
import { splitTarget } from '../repository/find-snapshot.ts';
import { choose, requireComplete } from './chosen.ts';
import type { Chosen } from './chosen.ts';
import { restoreVm, tellNotApplied } from './restore-vm.ts';

export interface RestoreOptions {
  /** Take the place of the VM of this name, which is kept under another one. */
  readonly replace?: boolean;
  /** Ask nothing. */
  readonly yes?: boolean;
  /** The template of the restored VM, whatever it had. */
  readonly template?: string;
  /** Its network VM, or `none`. */
  readonly netvm?: string;
}

export const NO_VM =
  'dom0 is not restored as a VM: extract its files, into a VM (--into-vm) or as one archive (--tar), and put back what you want';

/** `as`: another name than its own. */
export async function restore(
  app: App,
  target: string,
  as?: string,
  options: RestoreOptions = {},
): Promise<void> {
  const { replace = false, yes = false } = options;
  requireUsage(!replace || as === undefined, 'give --as to restore beside the VM, or --replace, not both');
  const given = parseSubstitutes(options);
  const name = parseVmName(as ?? splitTarget(target).vm);
  requireUsage(name !== DOM0, NO_VM);
  await app.lock();
  const replaced = replace ? await app.domains.replaceable(name) : undefined;
  if (replaced === undefined) await requireFree(app, name);
  const chosen = await choose(app, target);
  requireComplete(chosen);
  await requireVm(chosen);
  if (replaced !== undefined) await confirmReplacing(app, chosen, replaced, yes);
  const substitutes = yes ? given : await chooseSubstitutes(app, chosen, name, given);
  tellNotApplied(app, name, await restoreVm(app, { chosen, name, substitutes, replaced }));
  await app.closeStorage();
}

function parseSubstitutes({ template, netvm }: RestoreOptions): Substitutes {
  return {
    template: template === undefined ? undefined : parseVmName(template),
    netvm: netvm === undefined ? undefined : parseNetvm(netvm),
  };
}

function parseNetvm(text: string): VmName | null {
  return text === 'none' ? null : parseVmName(text);
}

/** Throws `usage` of dom0: what is in it decides about all VMs, and comes back by the hand of a person, piece by piece. */
export async function requireVm({ history, snapshot }: Chosen): Promise<void> {
  const { klass } = readCaptured(history.name, await history.config(snapshot));
  requireUsage(klass !== 'AdminVM', NO_VM);
}

async function requireFree(app: App, name: VmName): Promise<void> {
  if (!(await app.domains.list()).some((vm) => vm.name === name)) return;
  throw new BackupError(
    'vm-exists',
    `a VM named ${name} exists and is not touched: restore beside it with --as NAME, or in its place with --replace`,
  );
}

async function confirmReplacing(
  app: App,
  { snapshot }: Chosen,
  replaced: Replaced,
  yes: boolean,
): Promise<void> {
  const { name, keptAs, references } = replaced;
  app.output.event('replacing', { vm: name, snapshot: snapshot.number, keptAs, references });
  app.output.line(
    `VM ${name} will be as it was on ${formatTime(snapshot.takenAt)} (snapshot ${snapshot.number}).`,
  );
  app.output.line(`The present one is kept as ${keptAs}, with all of its content.`);
  if (references.length > 0)
    app.output.line(`These refer to it, and will refer to the restored one: ${references.join(', ')}.`);
  await app.storage.abort(); // A person may take longer than a session may.
  await confirm({ question: 'Replace it? [yes/no] ', answer: 'yes', option: '--yes', given: yes });
}

/** Asks what is to take the place of what is not there. Where nobody can be asked, restoring does without, and says so. */
async function chooseSubstitutes(
  app: App,
  { history, snapshot }: Chosen,
  vm: VmName,
  given: Substitutes,
): Promise<Substitutes> {
  const missing = await app.domains.missing(vm, await history.config(snapshot));
  const asked = { template: given.template === undefined, netvm: given.netvm === undefined };
  if (!hasTerminal() || !((asked.template && missing.template) || (asked.netvm && missing.netvm)))
    return given;
  await app.storage.abort();
  let { template, netvm } = given;
  if (asked.template && missing.template !== null) {
    const { wanted, nearest = 'none' } = missing.template;
    const answer = await ask(
      `VM ${vm} had the template ${wanted}, which is not there. Which one now? [${nearest}] `,
    );
    if (answer.trim() !== '') template = parseVmName(answer.trim());
  }
  if (asked.netvm && missing.netvm !== null) {
    const { wanted } = missing.netvm;
    const answer = await ask(
      `VM ${vm} had the network VM ${wanted}, which is not there. Which one now? [none] `,
    );
    netvm = parseNetvm(answer.trim() === '' ? 'none' : answer.trim());
  }
  return { template, netvm };
}
