/** With what a captured VM is created: nothing is changed here, and nothing asked. */

import { BackupError } from '../../../../shared/errors.ts';
import { VOLUME_NAMES } from '../../domains.ts';
import type { Admin, NewVm } from '../admin/admin.ts';
import { nearestTemplate } from './nearest-template.ts';
import type { NotApplied } from './report.ts';
import type { VmConfig } from './vm-config.ts';

/** What to do where the template is not there: refuse, take the nearest one, or this one. */
export type MissingTemplate = 'refuse' | 'nearest' | { readonly use: string };

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
  missingTemplate: MissingTemplate,
): Promise<Plan> {
  const { klass } = config;
  if (klass === 'AdminVM')
    throw new BackupError('refused', `VM ${config.name}: dom0 is not restored as a VM`);
  const report: NotApplied[] = [];
  const label = await chooseLabel(admin, config, report);
  const based = klass === 'AppVM' || klass === 'DispVM';
  const template = based ? await chooseTemplate(admin, config, missingTemplate, report) : undefined;
  const pools = await choosePools(admin, config, report);
  return { create: { klass, name, label, template, pools }, report };
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
  missing: MissingTemplate,
  report: NotApplied[],
): Promise<string> {
  const wanted = config.template ?? '';
  const templates = await templatesFor(admin, config);
  if (templates.includes(wanted)) return wanted;
  const used = await substitute(admin, config, templates, missing);
  const what = config.klass === 'AppVM' ? 'template' : 'template for disposables';
  if (used === undefined || !templates.includes(used)) {
    throw new BackupError(
      'unknown-vm',
      `VM ${config.name}: there is no ${what} ${wanted}${used === undefined ? '' : `, nor ${used}`}: restore or install ` +
        `it first, or name another one (there is ${templates.join(', ') || 'none'})`,
    );
  }
  report.push({ part: 'template', name: '', wanted, used, why: `there is no such ${what}` });
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
  missing: MissingTemplate,
): Promise<string | undefined> {
  if (missing === 'refuse') return undefined;
  if (missing !== 'nearest') return missing.use;
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
