/**
 * DVM templates of ours, one for each template (R04): a disposable is then of the template of the VM that it reads. An AppVM without
 * network that nobody uses for anything else, so that no rc.local of a user's runs in what sees a VM's data.
 */

import { createHash } from 'node:crypto';
import { BackupError } from '../../../shared/errors.ts';
import { parseVmName } from '../../../shared/ids.ts';
import type { VmName } from '../../../shared/ids.ts';
import type { Admin } from './admin/admin.ts';
import { nearestTemplate } from './vm-config/nearest-template.ts';

const PREFIX = 'qib-dvm-';
/** Longest VM name of Qubes OS, and how much of a template's name fits beside a hash of all of it. */
const MAX_NAME = 31;
const CUT = 16;
const TAG = 'qubes-backup-dvm';
const PRELOADED = 'preload-dispvm-max';
const LABEL = 'red';

/** `qib-dvm-TEMPLATE`; of a name that does not fit, its beginning and a hash. */
export function dvmTemplateOf(template: string): VmName {
  const whole = `${PREFIX}${template}`;
  if (whole.length <= MAX_NAME) return parseVmName(whole);
  const hash = createHash('sha256').update(template).digest('hex').slice(0, 6);
  return parseVmName(`${PREFIX}${template.slice(0, CUT)}-${hash}`);
}

/**
 * Makes sure that there is one for `template`, set as it must be; answers its name. Idempotent: one that is half made is finished.
 * Throws `refused` if a VM that is not ours has the name.
 */
export async function ensureDvmTemplate(admin: Admin, template: string): Promise<VmName> {
  const name = dvmTemplateOf(template);
  const found = (await admin.list()).find((vm) => vm.name === name);
  if (found === undefined) await admin.create({ klass: 'AppVM', name, label: LABEL, template });
  else if (found.class !== 'AppVM' || (await admin.property(name, 'template')).value !== template)
    throw new BackupError(
      'refused',
      `VM ${name} is to be the template of disposables with ${template}, and is another VM: remove or rename it`,
    );
  await admin.setTag(name, TAG);
  await admin.setProperty(name, 'template_for_dispvms', 'True');
  await admin.setProperty(name, 'include_in_backups', 'False');
  for (const property of ['netvm', 'default_dispvm']) await admin.setProperty(name, property, '');
  await admin.setFeature(name, 'internal', '1');
  // Qubes 4.3 may start disposables ahead; ours are never taken from those.
  if ((await admin.features(name)).has(PRELOADED)) await admin.removeFeature(name, PRELOADED);
  return name;
}

/** The template of this name or, where it is not there, the nearest, else the default one; empty if there is none. */
export async function templateLike(admin: Admin, template: string): Promise<string> {
  const present = (await admin.list()).filter((vm) => vm.class === 'TemplateVM').map(({ name }) => name);
  const near = nearestTemplate(template, present);
  return near ?? (await admin.globals()).get('default_template')?.value ?? '';
}
