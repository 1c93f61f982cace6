/** The methods of the Admin API that the stand-in for qubesd answers. Source: qubes/api/admin.py. */

import { randomBytes } from 'node:crypto';
import { QubesException, Unhandled, permissionDenied, protocolError } from './qubesd-exception.ts';
import { ask, askNamed, give, lines, method } from './qubesd-handler.ts';
import type { Handler, Qubesd } from './qubesd-handler.ts';
import { POOL_HANDLERS } from './qubesd-pool-methods.ts';
import { isCurrent, normalRule } from './qubesd-firewall.ts';
import {
  globalDefault,
  globalPropertyNames,
  globalPropertyType,
  globalValue,
  setGlobalProperty,
} from './qubesd-global-properties.ts';
import {
  isDefault,
  resetVmProperty,
  setVmProperty,
  vmDefault,
  vmPropertyNames,
  vmPropertyType,
  vmValue,
} from './qubesd-properties.ts';
import type { Release } from './qubesd-properties.ts';
import type { Klass, Store, VmState } from './qubesd-state.ts';

const DEVICE_CLASSES = ['pci', 'block'];
const CLASSES: readonly Klass[] = ['AdminVM', 'AppVM', 'DispVM', 'StandaloneVM', 'TemplateVM'];

const HANDLERS: Readonly<Record<string, Handler>> = {
  'admin.vm.List': ask(({ store, release }, { dest }) =>
    lines(
      (dest.klass === 'AdminVM' ? store.vms() : [dest]).map(
        ({ name, klass, power, uuid }) =>
          `${name} class=${klass} state=${power}${release === '4.2' ? '' : ` uuid=${uuid}`}`,
      ),
    ),
  ),
  'admin.vm.property.List': ask(({ release }, { dest }) => lines(vmPropertyNames(dest, release))),
  'admin.vm.property.Get': askNamed((qubesd, { dest, argument }) => {
    needVmProperty(qubesd, dest, argument);
    return vmProperty(qubesd, dest, argument);
  }),
  'admin.vm.property.GetAll': ask((qubesd, { dest }) =>
    lines(
      vmPropertyNames(dest, qubesd.release).map(
        (name) => `${name} ${escaped(vmProperty(qubesd, dest, name))}`,
      ),
    ),
  ),
  'admin.vm.property.GetDefault': askNamed((qubesd, { dest, argument }) => {
    needVmProperty(qubesd, dest, argument);
    const value = vmDefault(qubesd.store, dest, argument);
    return value === undefined ? '' : `type=${vmPropertyType(argument)} ${value ?? ''}`;
  }),
  'admin.vm.property.Set': method(true, null, null, (qubesd, { dest, argument, payload }) => {
    needVmProperty(qubesd, dest, argument);
    setVmProperty(qubesd.store, dest, argument, payload);
    if (argument === 'template') qubesd.volumes.followTemplate(dest);
    qubesd.emit(dest.name, `property-set:${argument}`, { name: argument, newvalue: payload });
    return undefined;
  }),
  'admin.vm.property.Reset': askNamed((qubesd, { dest, argument }) => {
    needVmProperty(qubesd, dest, argument);
    resetVmProperty(qubesd.store, dest, argument);
    qubesd.emit(dest.name, `property-reset:${argument}`, { name: argument });
    return undefined;
  }),
  'admin.property.List': method(false, false, true, () => lines(globalPropertyNames())),
  'admin.property.Get': method(true, false, true, ({ store }, { argument }) => {
    needGlobal(argument);
    return globalProperty(store, argument);
  }),
  'admin.property.GetAll': method(false, false, true, ({ store }) =>
    lines(globalPropertyNames().map((name) => `${name} ${escaped(globalProperty(store, name))}`)),
  ),
  'admin.property.GetDefault': method(true, false, true, (_qubesd, { argument }) => {
    needGlobal(argument);
    return `type=${globalPropertyType(argument)} ${globalDefault(argument) ?? ''}`;
  }),
  'admin.property.Set': method(true, null, true, ({ store, emit }, { argument, payload }) => {
    needGlobal(argument);
    setGlobalProperty(store, argument, payload);
    emit('', `property-set:${argument}`, { name: argument, newvalue: payload });
    return undefined;
  }),
  'admin.property.Reset': method(true, false, true, ({ store, emit }, { argument }) => {
    needGlobal(argument);
    Reflect.deleteProperty(store.state.globals, argument);
    emit('', `property-reset:${argument}`, { name: argument });
    return undefined;
  }),
  'admin.vm.feature.List': ask((_qubesd, { dest }) => lines(Object.keys(dest.features))),
  'admin.vm.feature.Get': askNamed((_qubesd, { dest, argument }) => feature(dest, argument)),
  'admin.vm.feature.CheckWithTemplate': askNamed(({ store }, { dest, argument }) => {
    const template = dest.properties['template'];
    return Object.hasOwn(dest.features, argument) || template === undefined
      ? feature(dest, argument)
      : feature(store.vm(template), argument);
  }),
  'admin.vm.feature.Set': method(true, null, null, ({ emit }, { dest, argument, payload }) => {
    if (!/^[\x00-\x7f]*$/.test(payload)) throw protocolError('Feature value contains non-ASCII characters');
    if (!/^[a-zA-Z0-9_.-]+$/.test(argument)) throw protocolError('feature name contains illegal characters');
    if (!/^[\x20-\x7e]*$/.test(payload)) throw protocolError(`${argument} value contains illegal characters`);
    if (PROHIBITED_FEATURES.includes(argument)) {
      const message = 'changing this feature is prohibited by qubes.ext.admin.AdminExtension';
      throw new QubesException('PermissionDenied', message);
    }
    dest.features[argument] = payload;
    emit(dest.name, `domain-feature-set:${argument}`, { feature: argument, value: payload });
    return undefined;
  }),
  'admin.vm.feature.Remove': askNamed(({ emit }, { dest, argument }) => {
    feature(dest, argument);
    Reflect.deleteProperty(dest.features, argument);
    emit(dest.name, `domain-feature-delete:${argument}`, { feature: argument });
    return undefined;
  }),
  'admin.vm.tag.List': ask((_qubesd, { dest }) => lines([...dest.tags].sort())),
  'admin.vm.tag.Get': askNamed((_qubesd, { dest, argument }) =>
    dest.tags.includes(tag(argument)) ? '1' : '0',
  ),
  'admin.vm.tag.Set': askNamed(({ emit }, { dest, argument }) => {
    if (dest.tags.includes(tag(argument))) return undefined;
    dest.tags.push(argument);
    emit(dest.name, `domain-tag-add:${argument}`, { tag: argument });
    return undefined;
  }),
  'admin.vm.tag.Remove': askNamed(({ emit }, { dest, argument }) => {
    if (!dest.tags.includes(tag(argument)))
      throw new QubesException('QubesTagNotFoundError', `Tag not set for domain ${dest.name}: ${argument}`);
    dest.tags = dest.tags.filter((other) => other !== argument);
    emit(dest.name, `domain-tag-delete:${argument}`, { tag: argument });
    return undefined;
  }),
  'admin.vm.firewall.Get': method(false, false, false, (_qubesd, { dest }) =>
    lines(dest.firewall.filter((rule) => isCurrent(rule, Date.now()))),
  ),
  'admin.vm.firewall.Set': method(false, true, false, ({ emit }, { dest, payload }) => {
    if (!/^[\x00-\x7f]*$/.test(payload)) throw protocolError('Rules contains non-ASCII characters');
    dest.firewall = payload.replace(/\n$/, '').split('\n').map(normalRule);
    emit(dest.name, 'firewall-changed');
    return undefined;
  }),
  'admin.vm.notes.Get': method(false, false, false, (_qubesd, { dest }) => dest.notes),
  'admin.vm.notes.Set': method(false, true, false, (_qubesd, { dest, payload }) => {
    if (payload.length > 256_000)
      throw protocolError(`Maximum note size is 256000 bytes (${payload.length} bytes received)`);
    // What the real one finds unsafe to display is a longer list; control characters are on it.
    const text = Buffer.from(payload, 'latin1').toString('utf8');
    if (text.includes('\ufffd')) throw protocolError('Unable to sanitise qube notes: invalid UTF-8');
    dest.notes = text.replace(/[^\t\n\x20-\x7e\u00a0-\ud7ff\ue000-\ufffd]/g, '_');
    return undefined;
  }),
  'admin.vm.volume.List': ask((_qubesd, { dest }) => lines(Object.keys(dest.volumes))),
  'admin.vm.volume.Info': askNamed(({ volumes, release }, { dest, argument }) =>
    volumes.info(volumes.find(dest, argument), release),
  ),
  'admin.vm.volume.ListSnapshots': askNamed(({ volumes }, { dest, argument }) =>
    lines(volumes.revisions(volumes.find(dest, argument))),
  ),
  'admin.vm.volume.Resize': give(({ volumes }, { dest, argument, payload }) => {
    const volume = volumes.find(dest, argument);
    volumes.resize(volume, checkedNumber(payload.trim(), 'Volume size'));
    return undefined;
  }),
  'admin.vm.volume.Set.revisions_to_keep': give(({ volumes }, { dest, argument, payload }) => {
    const volume = volumes.find(dest, argument);
    const sign = payload.startsWith('-') ? -1 : 1;
    const count = checkedNumber(sign < 0 ? payload.slice(1) : payload, 'Revisions to keep');
    volumes.keepRevisions(dest, volume, sign * count);
    return undefined;
  }),
  'admin.vm.volume.CloneFrom': askNamed(({ store, volumes }, { dest, argument }) => {
    volumes.find(dest, argument);
    const token = Array.from(randomBytes(32), (byte) => LETTERS.charAt(byte % LETTERS.length)).join('');
    store.state.tokens[token] = `${dest.name}/${argument}`;
    return token;
  }),
  'admin.vm.volume.CloneTo': give(async ({ store, volumes }, { dest, argument, payload }) => {
    const to = volumes.find(dest, argument);
    const token = payload.trim();
    const source = Object.hasOwn(store.state.tokens, token) ? store.state.tokens[token] : undefined;
    if (source === undefined) {
      const message = "'Token to clone volume of qube was not found'";
      throw new QubesException('QubesVolumeCopyTokenNotFoundError', message);
    }
    Reflect.deleteProperty(store.state.tokens, token);
    if (store.find(source.slice(0, source.lastIndexOf('/'))) === undefined)
      throw new Unhandled('its VM is gone');
    await volumes.import(source, to);
    return undefined;
  }),
  'admin.vm.CreateDisposable': method(null, null, null, ({ vms, store }, { dest, argument, payload }) => {
    if (argument !== '' && argument !== 'preload') throw permissionDenied("'', 'preload'");
    if (payload !== '' && payload !== 'uuid')
      throw protocolError("Invalid payload, expected empty string or 'uuid'");
    const base = dest.klass === 'AdminVM' ? store.vm(globalValue(store, 'default_dispvm') ?? '') : dest;
    return vms.createDisposable(base);
  }),
  'admin.vm.Remove': ask(({ vms }, { dest }) => {
    vms.remove(dest);
    return undefined;
  }),
  'admin.vm.Start': ask(({ vms }, { dest }) => vms.start(dest).then(() => undefined)),
  'admin.vm.Shutdown': method(null, false, null, ({ vms }, { dest, argument }) => {
    if (!argument.split('+').every((word) => ['', 'force', 'wait'].includes(word)))
      throw protocolError('Argument must match: force, wait');
    return vms.shutdown(dest).then(() => undefined);
  }),
  'admin.vm.Kill': ask(({ vms }, { dest }) => vms.kill(dest).then(() => undefined)),
  'admin.vm.Pause': ask(({ vms }, { dest }) => {
    vms.pause(dest);
    return undefined;
  }),
  'admin.vm.Unpause': ask(({ vms }, { dest }) => {
    vms.unpause(dest);
    return undefined;
  }),
  'admin.vm.CurrentState': ask(
    (_qubesd, { dest }) => `mem=0 mem_static_max=0 cputime=0 power_state=${dest.power}`,
  ),
  ...POOL_HANDLERS,
  'admin.deviceclass.List': method(false, false, true, () => lines(DEVICE_CLASSES)),
};

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';

/** Qubes' own notes about what is going on. Source: qubes/ext/admin.py. */
const PROHIBITED_FEATURES = [
  'deferred-netvm-original',
  'preload-dispvm',
  'preload-dispvm-completed',
  'preload-dispvm-in-progress',
];

/** Methods that only 4.3 has. */
const NEW_METHODS = ['admin.vm.notes.Get', 'admin.vm.notes.Set'];

/** The handler of a method; undefined for what this release does not know. */
export function handlerOf(name: string, release: Release): Handler | undefined {
  const created = /^admin\.vm\.(Create|CreateInPool)\.(\w+)$/.exec(name);
  const klass = CLASSES.find((known) => known === created?.[2]);
  if (klass !== undefined) return creator(klass, created?.[1] === 'CreateInPool');
  const device = /^admin\.vm\.device\.(\w+)\.(\w+)$/.exec(name);
  if (device !== null) return deviceMethod(device[1] ?? '', device[2] ?? '', release);
  if (release === '4.2' && NEW_METHODS.includes(name)) return undefined;
  return Object.hasOwn(HANDLERS, name) ? HANDLERS[name] : undefined;
}

function creator(klass: Klass, inPool: boolean): Handler {
  return method(null, null, true, ({ vms }, { argument, payload }) => {
    vms.create(klass, argument, payload, inPool);
    return undefined;
  });
}

function deviceMethod(deviceClass: string, verb: string, release: Release): Handler | undefined {
  const verbs = release === '4.2' ? ['Available', 'List'] : ['Available', 'Assigned', 'Attached'];
  if (!DEVICE_CLASSES.includes(deviceClass) || !verbs.includes(verb)) return undefined;
  return method(null, false, null, (_qubesd, { dest }) =>
    verb === 'Assigned' || verb === 'List' ? lines([...(dest.devices[deviceClass] ?? [])].sort()) : '',
  );
}

function needVmProperty({ release }: Qubesd, vm: VmState, name: string): void {
  if (!vmPropertyNames(vm, release).includes(name))
    throw new QubesException('QubesNoSuchPropertyError', `Invalid property '${name}' of ${vm.name}`);
}

function needGlobal(name: string): void {
  if (!globalPropertyNames().includes(name))
    throw new QubesException('QubesNoSuchPropertyError', `Invalid property '${name}' of Qubes`);
}

function vmProperty({ store }: Qubesd, vm: VmState, name: string): string {
  const value = vmValue(store, vm, name) ?? '';
  return `default=${isDefault(vm, name) ? 'True' : 'False'} type=${vmPropertyType(name)} ${value}`;
}

function globalProperty(store: Store, name: string): string {
  const isSet = Object.hasOwn(store.state.globals, name);
  return `default=${isSet ? 'False' : 'True'} type=${globalPropertyType(name)} ${globalValue(store, name) ?? ''}`;
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

function feature(vm: VmState, name: string): string {
  const value = Object.hasOwn(vm.features, name) ? vm.features[name] : undefined;
  if (value === undefined)
    throw new QubesException('QubesFeatureNotFoundError', `Feature not set for domain ${vm.name}: ${name}`);
  return value;
}

function tag(name: string): string {
  if (!/^[A-Za-z0-9_-]+$/.test(name))
    throw new QubesException('QubesInvalidTagError', 'tag name contains illegal characters');
  return name;
}

function checkedNumber(text: string, name: string): number {
  if (!/^[0-9]+$/.test(text)) throw protocolError(`${name} contains non ASCII digits`);
  if (text.length >= 20) throw protocolError(`${name} is bigger than 19 decimal digits`);
  if (/^0./.test(text)) throw protocolError(`${name} contains spurious leading zeros`);
  return Number(text);
}
