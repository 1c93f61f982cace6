/** With what a captured VM is created: nothing is changed here, and nothing asked. */

import { BackupError } from '../../../../shared/errors.ts';
import { VOLUME_NAMES } from '../../domains.ts';
import type { Missing } from '../../domains.ts';
import type { Admin, NewVm } from '../admin/admin.ts';
import { nearestTemplate } from './nearest-template.ts';
import type { NotApplied } from '../../not-applied.ts';
import type { VmConfig } from './vm-config.ts';

/** The template that it had; where that is not there, refuse, or take the nearest one. Or this one in any case. */
export type TemplateChoice = 'refuse' | 'nearest' | { readonly use: string };

export interface Plan {
  readonly create: NewVm;
  readonly report: readonly NotApplied[];
}

/**
 * What to create for `config` under the name `name`. Where there is no template of the family, `nearest` takes the default
 * one; a pool that is gone, the default pool. Throws `unknown-vm` if a template is missing and none may or can take its
 * place, `refused` for dom0.
 */
export async function planVm(
  admin: Admin,
  config: VmConfig,
  name: string,
  choice: TemplateChoice,
): Promise<Plan> {
  const { klass } = config;
  if (klass === 'AdminVM')
    throw new BackupError('refused', `VM ${config.name}: dom0 is not restored as a VM`);
  const report: NotApplied[] = [];
  const label = await chooseLabel(admin, config, report);
  const template = isBased(config) ? await chooseTemplate(admin, config, choice, report) : undefined;
  const pools = await choosePools(admin, config, report);
  return { create: { klass, name, label, template, pools }, report };
}

/** See Domains.missing. */
export async function findMissing(admin: Admin, config: VmConfig): Promise<Missing> {
  const wanted = config.template ?? '';
  const templates = isBased(config) ? await templatesFor(admin, config) : [];
  const nearest = () => substitute(admin, config, templates, 'nearest');
  const { netvm } = config;
  const present = new Set((await admin.list()).map(({ name }) => name));
  return {
    template: isBased(config) && !templates.includes(wanted) ? { wanted, nearest: await nearest() } : null,
    netvm: netvm === null || present.has(netvm) ? null : { wanted: netvm },
  };
}

/** Whether VMs of its class have a template. */
export function isBased({ klass }: VmConfig): boolean {
  return klass === 'AppVM' || klass === 'DispVM';
}

/** Red for one that is not there: the one that is trusted least. */
async function chooseLabel(admin: Admin, { label }: VmConfig, report: NotApplied[]): Promise<string> {
  const labels = await admin.labels();
  if (labels.includes(label)) return label;
  const used = labels.includes('red') ? 'red' : (labels[0] ?? 'red');
  report.push({ part: 'label', name: '', wanted: label, used, why: 'there is no such label' });
  return used;
}

async function chooseTemplate(
  admin: Admin,
  config: VmConfig,
  choice: TemplateChoice,
  report: NotApplied[],
): Promise<string> {
  const wanted = config.template ?? '';
  const templates = await templatesFor(admin, config);
  const chosen = typeof choice === 'object';
  if (!chosen && templates.includes(wanted)) return wanted;
  const used = await substitute(admin, config, templates, choice);
  const what = config.klass === 'AppVM' ? 'template' : 'template for disposables';
  if (used === undefined || !templates.includes(used)) {
    throw new BackupError(
      'unknown-vm',
      `VM ${config.name}: there is no ${what} ${wanted}${used === undefined ? '' : `, nor ${used}`}: restore or install ` +
        `it first, or name another one (there is ${templates.join(', ') || 'none'})`,
    );
  }
  if (!chosen) report.push({ part: 'template', name: '', wanted, used, why: `there is no such ${what}` });
  return used;
}

/** Templates for an AppVM, AppVMs that are templates for disposables for a DispVM. */
async function templatesFor(admin: Admin, { klass }: VmConfig): Promise<readonly string[]> {
  const vms = await admin.list();
  if (klass === 'AppVM') return vms.filter((vm) => vm.class === 'TemplateVM').map(({ name }) => name);
  const candidates = vms.filter((vm) => vm.class === 'AppVM').map(({ name }) => name);
  const flags = await Promise.all(candidates.map((name) => admin.property(name, 'template_for_dispvms')));
  return candidates.filter((_name, i) => flags[i]?.value === 'True');
}

async function substitute(
  admin: Admin,
  { template, klass }: VmConfig,
  templates: readonly string[],
  choice: TemplateChoice,
): Promise<string | undefined> {
  if (choice === 'refuse') return undefined;
  if (choice !== 'nearest') return choice.use;
  const near = nearestTemplate(template ?? '', templates);
  if (near !== undefined) return near;
  const name = klass === 'AppVM' ? 'default_template' : 'default_dispvm';
  return (await admin.globals()).get(name)?.value || undefined;
}

/** The pool that each of its volumes was in, if there is one of that name with that driver. */
async function choosePools(
  admin: Admin,
  { volumes }: VmConfig,
  report: NotApplied[],
): Promise<NewVm['pools']> {
  const present = await admin.pools();
  const chosen: [string, string][] = [];
  for (const name of VOLUME_NAMES) {
    const { pool = '', driver = '' } = volumes[name] ?? {};
    if (pool === '') continue; // No volume of its own, or one of the local driver, which has no pools.
    if (present.includes(pool) && (await admin.pool(pool)).driver === driver) chosen.push([name, pool]);
    else {
      const wanted = `in pool ${pool}`;
      report.push({ part: 'volume', name, wanted, used: 'the default pool', why: 'there is no such pool' });
    }
  }
  return Object.fromEntries(chosen);
}
