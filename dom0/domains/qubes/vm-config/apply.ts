/**
 * Gives a new VM the configuration that was captured, and says what it could not be given. What lets a VM run by itself or
 * reach others comes last and apart (finishVmConfig): until its content was verified a restored VM has no network, is in no
 * backup, and is started by nobody.
 */

import { TEMPORARY_TAG } from '../../domains.ts';
import { isAdminError } from '../admin/admin-error.ts';
import type { Admin } from '../admin/admin.ts';
import { creatorOf, referredVm } from '../../not-applied.ts';
import type { NotApplied, Part } from '../../not-applied.ts';
import type { VmConfig } from './vm-config.ts';

/** Set by finishVmConfig() alone. */
const LATE_PROPERTIES = ['autostart', 'include_in_backups', 'netvm'];
export const LATE_FEATURES = ['preload-dispvm-max', 'preload-dispvm-threshold'];

/** A VM that it refers to and that is not there: none takes its place, as another one might be let see more. */
const NONE_IF_MISSING = ['default_dispvm', 'management_dispvm'];

/** Tags that Qubes itself keeps in step with properties. */
const KEPT_BY_QUBES = /^(guivm|audiovm)-/;

/** Whether a VM is connected as it was, or not at all. */
export type NetworkChoice = 'captured' | 'none';

/** All but what finishVmConfig() does. Idempotent. Throws what Admin throws where qubesd does not work. */
export async function applyVmConfig(
  admin: Admin,
  vm: string,
  config: VmConfig,
): Promise<readonly NotApplied[]> {
  const present = new Set((await admin.list()).map(({ name }) => name));
  const report: NotApplied[] = [];
  const target = { admin, vm, config, present, report };
  const properties = Object.entries(config.properties).filter(([name]) => !LATE_PROPERTIES.includes(name));
  // What refers to a VM comes last: a template for disposables can be its own, once it is one.
  properties.sort(([, a], [, b]) => Number(a.type === 'vm') - Number(b.type === 'vm'));
  for (const [name, { type, value }] of properties) await applyProperty(target, name, type, value);
  for (const [name, value] of Object.entries(config.features)) {
    if (!LATE_FEATURES.includes(name)) await applyFeature(target, name, value);
  }
  for (const tag of config.tags) await applyTag(target, tag);
  await applyFirewall(target);
  await applyNotes(target);
  await growVolatile(target);
  for (const { deviceClass, device } of config.devices) {
    const why = 'devices are not assigned by a restore: assign it yourself';
    report.push({ part: 'device', name: device, wanted: deviceClass, used: null, why });
  }
  return report;
}

/** The last step of a restore: whether it is backed up and started by itself, then its network. Idempotent. */
export async function finishVmConfig(
  admin: Admin,
  vm: string,
  config: VmConfig,
  network: NetworkChoice,
): Promise<readonly NotApplied[]> {
  const present = new Set((await admin.list()).map(({ name }) => name));
  const report: NotApplied[] = [];
  const target = { admin, vm, config, present, report };
  const { autostart, include_in_backups: included } = config.properties;
  const value = config.include_in_backups ? 'True' : 'False';
  if (included === undefined) await admin.resetProperty(vm, 'include_in_backups');
  if (included !== undefined || (await admin.property(vm, 'include_in_backups')).value !== value)
    await applyProperty(target, 'include_in_backups', 'bool', value);
  if (autostart !== undefined) await applyProperty(target, 'autostart', 'bool', autostart.value);
  for (const name of LATE_FEATURES) {
    const feature = config.features[name];
    if (feature !== undefined) await applyFeature(target, name, feature);
  }
  await connect(target, network);
  return report;
}

/**
 * Tries again what of `report` another VM was missing for, which may be there now: its network, properties that refer to it, and tags
 * that let it manage this one. Answers what is not so still; but not what somebody has set otherwise meanwhile.
 */
export async function applyAgain(
  admin: Admin,
  vm: string,
  report: readonly NotApplied[],
): Promise<readonly NotApplied[]> {
  const present = new Set((await admin.list()).map(({ name }) => name));
  const left: NotApplied[] = [];
  for (const one of report) {
    if (!(await isAsLeft(admin, vm, one))) continue;
    const change = laterChange(admin, vm, one, present);
    if (change === undefined) {
      left.push(one);
      continue;
    }
    await tried({ report: left }, one.part, one.name, one.wanted, change());
  }
  return left;
}

/** Whether a reference has what it was given where the VM that it names was missing, or refused. */
async function isAsLeft(admin: Admin, vm: string, { part, name, used }: NotApplied): Promise<boolean> {
  if (part !== 'netvm' && part !== 'property') return true;
  try {
    const { value, isDefault } = await admin.property(vm, part === 'netvm' ? 'netvm' : name);
    return used === null ? isDefault : value === used;
  } catch (error) {
    if (isAdminError(error) && error.type === 'QubesNoSuchPropertyError') return true; // Of another release.
    throw error;
  }
}

function laterChange(
  admin: Admin,
  vm: string,
  one: NotApplied,
  present: ReadonlySet<string>,
): (() => Promise<void>) | undefined {
  if (!present.has(referredVm(one) ?? '')) return undefined;
  const { part, name, wanted } = one;
  if (part === 'tag') return () => admin.setTag(vm, name);
  return () => admin.setProperty(vm, part === 'netvm' ? 'netvm' : name, wanted);
}

/** A VM that is being given its configuration. */
interface Target {
  readonly admin: Admin;
  readonly vm: string;
  readonly config: VmConfig;
  /** Names of all VMs. */
  readonly present: ReadonlySet<string>;
  readonly report: NotApplied[];
}

async function applyProperty(target: Target, name: string, type: string, captured: string): Promise<void> {
  const { admin, vm, config, present, report } = target;
  const value = type === 'vm' && captured === config.name ? vm : captured; // It referred to itself.
  const missing = type === 'vm' && value !== '' && !present.has(value);
  if (missing) {
    const used = NONE_IF_MISSING.includes(name) ? '' : null;
    report.push({ part: 'property', name, wanted: captured, used, why: 'there is no such VM' });
    if (used !== null) await tried(target, 'property', name, '', admin.setProperty(vm, name, used));
    return;
  }
  await tried(target, 'property', name, captured, admin.setProperty(vm, name, value));
}

async function applyFeature(target: Target, name: string, value: string): Promise<void> {
  const { admin, vm } = target;
  await tried(target, 'feature', name, value, admin.setFeature(vm, name, value));
}

async function applyTag(target: Target, tag: string): Promise<void> {
  const { admin, vm, present, report } = target;
  if (KEPT_BY_QUBES.test(tag) || tag === TEMPORARY_TAG) return;
  const creator = creatorOf(tag);
  if (creator !== undefined && !present.has(creator)) {
    report.push({ part: 'tag', name: tag, wanted: 'set', used: null, why: 'there is no such VM' });
    return;
  }
  await tried(target, 'tag', tag, 'set', admin.setTag(vm, tag));
}

/** Rules that Qubes does not take as they are become no traffic at all: never more than was allowed. */
async function applyFirewall(target: Target): Promise<void> {
  const { admin, vm, config, report } = target;
  if (config.firewall === null) return;
  const wanted = config.firewall.filter((rule) => !isExpired(rule, Date.now()));
  const before = report.length;
  await tried(target, 'firewall', '', `${wanted.length} rules`, admin.setFirewall(vm, wanted));
  const refused = report.length > before;
  if (!refused && sameRules(await admin.firewall(vm), wanted)) return;
  await admin.setFirewall(vm, []);
  if (refused) report.pop();
  report.push({
    ...{
      part: 'firewall',
      name: '',
      wanted: `${wanted.length} rules`,
      used: 'a firewall that drops everything',
    },
    why: refused ? 'Qubes refused them' : 'Qubes made other rules of them',
  });
}

async function applyNotes(target: Target): Promise<void> {
  const { admin, vm, config } = target;
  if (config.notes !== null)
    await tried(target, 'notes', '', `${config.notes.length} characters`, admin.setNotes(vm, config.notes));
}

async function growVolatile(target: Target): Promise<void> {
  const { admin, vm, config } = target;
  const wanted = config.volatile_size;
  if (wanted === null || (await admin.volume(vm, 'volatile')).size >= wanted) return;
  await tried(target, 'volume', 'volatile', `${wanted} bytes`, admin.growVolume(vm, 'volatile', wanted));
}

/**
 * What it was connected to, or nothing. A VM that had the default of its system gets the default only if that is the same VM:
 * never a way out that it did not have.
 */
async function connect(target: Target, network: NetworkChoice): Promise<void> {
  const { admin, vm, config, present, report } = target;
  const wanted = network === 'none' ? '' : (config.netvm ?? '');
  const isSet = config.properties['netvm'] !== undefined;
  if (network === 'captured' && !isSet && ((await admin.propertyDefault(vm, 'netvm')) ?? '') === wanted) {
    await tried(target, 'netvm', '', wanted, admin.resetProperty(vm, 'netvm'));
    return;
  }
  if (wanted !== '' && !present.has(wanted)) {
    report.push({ part: 'netvm', name: '', wanted, used: '', why: 'there is no such VM' });
    await admin.setProperty(vm, 'netvm', '');
    return;
  }
  const before = report.length;
  await tried(target, 'netvm', '', wanted, admin.setProperty(vm, 'netvm', wanted));
  if (report.length > before) await admin.setProperty(vm, 'netvm', '');
}

/** Reports what qubesd refuses; every other failure is thrown. */
async function tried(
  { report }: Pick<Target, 'report'>,
  part: Part,
  name: string,
  wanted: string,
  change: Promise<void>,
): Promise<void> {
  try {
    await change;
  } catch (error) {
    if (!isAdminError(error) || error.type === 'QubesVMNotFoundError') throw error;
    report.push({ part, name, wanted, used: part === 'netvm' ? '' : null, why: error.message });
  }
}

/** Qubes forgets rules whose time, in seconds since 1970, has passed. */
function isExpired(rule: string, now: number): boolean {
  const [, expire] = /(?:^| )expire=([0-9]+)(?: |$)/.exec(rule) ?? [];
  return expire !== undefined && Number(expire) * 1000 < now;
}

/** Releases write the options of a rule in different orders; a comment is the rest of its line. */
function sameRules(a: readonly string[], b: readonly string[]): boolean {
  const normal = (rules: readonly string[]) =>
    rules.map((rule) => {
      const [options = '', ...comment] = rule.split('comment=');
      return [options.trim().split(' ').sort().join(' '), comment.join('comment=')];
    });
  // No rule at all drops everything, and is written as such.
  const written = b.length === 0 ? ['action=drop'] : b;
  return JSON.stringify(normal(a)) === JSON.stringify(normal(written));
}
