/** Names of VMs for completion. No key is needed, and on Qubes OS not to be root either. */

import { loadConfig } from '../config.ts';
import type { ConfigOptions } from '../config.ts';
import type { Domains } from '../domains/domains.ts';
import { Admin } from '../domains/qubes/admin/admin.ts';

export async function vmNames(options: ConfigOptions, list: Domains['list']): Promise<readonly string[]> {
  if (loadConfig(options).driver.kind === 'local') return (await list()).map(({ name }) => name);
  const vms = await new Admin().list();
  return vms.filter((vm) => vm.class !== 'DispVM').map(({ name }) => name);
}
