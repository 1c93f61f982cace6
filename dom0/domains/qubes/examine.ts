/** What `doctor` looks at on Qubes OS: policy, storage VMs, pools, and what disposables are made of. */

import { messageOf } from '../../../shared/errors.ts';
import type { VmName } from '../../../shared/ids.ts';
import { spaceFinding } from '../../doctor/space.ts';
import type { Disposable, Vm } from '../domains.ts';
import { fail, ok, warn } from '../finding.ts';
import type { Finding } from '../finding.ts';
import { QUBES_POLICY, loadPolicyOf } from '../policy-loader.ts';
import type { PolicyFolders } from '../policy-loader.ts';
import type { Admin } from './admin/admin.ts';
import type { Agent } from './agent.ts';
import type { DisposableSettings } from './disposable.ts';
import { dvmTemplateOf } from './dvm-template.ts';
import { comparePolicy, shippedPolicy, unreadable } from './shipped-policy.ts';

const STORAGE_TAG = 'qubes-backup-storage';
const PRELOADED = 'preload-dispvm-max';

export interface ExamineOptions {
  readonly admin: Admin;
  readonly agent: Agent | undefined;
  /** Default: those of Qubes OS. */
  readonly policy?: PolicyFolders | undefined;
  /** See QubesOptions. */
  readonly chosen: (vm: { name: string; template: string | null }) => Partial<DisposableSettings>;
  readonly startDisposable: (vm: VmName) => Promise<Disposable>;
}

/** Of the VMs that are backed up, and the storage VMs. */
export async function examineQubes(
  options: ExamineOptions,
  vms: readonly Vm[],
  storageVms: readonly string[],
): Promise<readonly Finding[]> {
  const { admin } = options;
  return [
    process.getuid?.() === 0 ? ok('dom0', 'runs as root') : fail('dom0', 'does not run as root: use sudo'),
    ...(await examinePolicy(options.policy ?? QUBES_POLICY)),
    ...(await inTurn(storageVms, (name) => examineStorageVm(admin, name))),
    ...(await examinePools(admin, vms)),
    ...(await examineTemplates(options, vms)),
  ];
}

async function examinePolicy(folders: PolicyFolders): Promise<readonly Finding[]> {
  try {
    return comparePolicy(await shippedPolicy(), await loadPolicyOf(folders));
  } catch (error) {
    return [unreadable(error)];
  }
}

async function examineStorageVm(admin: Admin, name: string): Promise<readonly Finding[]> {
  const about = `storage VM ${name}`;
  if (!(await admin.list()).some((vm) => vm.name === name))
    return [fail(about, 'is not there: create it (docs/install-qubes.md, step 5)')];
  const tagged = (await admin.tags(name)).includes(STORAGE_TAG);
  const { size, usage } = await admin.volume(name, 'private');
  const included = (await admin.property(name, 'include_in_backups')).value === 'True';
  return [
    tagged
      ? ok(about, `has the tag ${STORAGE_TAG}`)
      : fail(about, `the policy lets nobody use it: qvm-tags ${name} add ${STORAGE_TAG}`),
    ...(included ? [warn(about, `is backed up itself: qvm-prefs ${name} include_in_backups False`)] : []),
    ...(usage === undefined
      ? []
      : [spaceFinding(about, size, size - usage, `enlarge it: qvm-volume resize ${name}:private SIZE`)]),
  ];
}

/** Those that have the VMs' volumes: a snapshot needs room there. */
async function examinePools(admin: Admin, vms: readonly Vm[]): Promise<readonly Finding[]> {
  const pools = new Set<string>();
  for (const { name, volumes } of vms)
    for (const volume of volumes) pools.add((await admin.volume(name, volume)).pool);
  return inTurn([...pools].sort(), async (pool) => {
    const { size, usage, driver } = await admin.pool(pool);
    const [whole, used] = [Number(size), Number(usage)];
    if (!Number.isSafeInteger(whole) || !Number.isSafeInteger(used))
      return [ok(`pool ${pool}`, `${driver}; it does not say how full it is`)];
    const advice =
      'remove what is not needed: a full pool stops every VM, and no snapshot can be taken of it';
    return [spaceFinding(`pool ${pool}`, whole, whole - used, advice)];
  });
}

/** One VM for each kind of disposable that backups need. */
async function examineTemplates(options: ExamineOptions, vms: readonly Vm[]): Promise<readonly Finding[]> {
  const byTemplate = new Map<string, VmName>();
  const findings: Finding[] = [];
  for (const { name, klass, template } of vms) {
    const base = klass === 'TemplateVM' ? name : template;
    const dvm =
      options.chosen({ name, template: base }).template ?? (base === null ? undefined : dvmTemplateOf(base));
    if (dvm !== undefined) byTemplate.set(dvm, byTemplate.get(dvm) ?? name);
    else
      findings.push(
        fail(
          `VM ${name}`,
          `has no template: name one for its disposables ([vm.${name}.disposable] template)`,
        ),
      );
  }
  const checked = await inTurn([...byTemplate], ([dvm, vm]) => examineDvm(options, dvm, vm));
  return [...findings, ...checked];
}

async function examineDvm(options: ExamineOptions, dvm: string, vm: VmName): Promise<readonly Finding[]> {
  const about = `disposables of ${dvm}`;
  return [
    ...(await examineSettings(options.admin, about, dvm)),
    await tryDisposable(options, about, dvm, vm),
  ];
}

/** What a person, or an earlier version, may have set; ours are set anew by the next run. */
async function examineSettings(admin: Admin, about: string, dvm: string): Promise<readonly Finding[]> {
  if (!(await admin.list()).some(({ name }) => name === dvm)) return [ok(about, 'are made at the first use')];
  const netvm = (await admin.property(dvm, 'netvm')).value;
  const preloaded = (await admin.features(dvm)).get(PRELOADED) ?? '0';
  const forDisposables = (await admin.property(dvm, 'template_for_dispvms')).value === 'True';
  const findings = [
    ...(netvm === '' ? [] : [warn(about, `${dvm} has the network ${netvm}: qvm-prefs ${dvm} netvm ''`)]),
    ...(Number(preloaded) === 0
      ? []
      : [
          warn(
            about,
            `${preloaded} are started ahead and never used here: qvm-features --unset ${dvm} ${PRELOADED}`,
          ),
        ]),
    ...(forDisposables ? [] : [fail(about, `qvm-prefs ${dvm} template_for_dispvms True`)]),
  ];
  return findings.length > 0 ? findings : [ok(about, 'have no network, and none is started ahead')];
}

/** Starts one, with nothing attached. */
async function tryDisposable(
  { agent, startDisposable }: ExamineOptions,
  about: string,
  dvm: string,
  vm: VmName,
): Promise<Finding> {
  try {
    await (await startDisposable(vm)).destroy();
  } catch (error) {
    return fail(about, messageOf(error));
  }
  if (agent === undefined) return ok(about, 'start');
  const lacks = agent.lacks(dvm);
  return lacks === undefined
    ? ok(about, 'start, and have the services of this version')
    : warn(
        about,
        `start, but ${lacks}: each is given dom0's own; qubes-backup-dvm in the template saves that`,
      );
}

async function inTurn<T>(
  all: readonly T[],
  examine: (one: T) => Promise<readonly Finding[]>,
): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  for (const one of all) findings.push(...(await examine(one)));
  return findings;
}
