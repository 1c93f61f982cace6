/**
 * The texts that qubesd answers with, as values. A release that leaves fields out or adds some is understood; a line that
 * could mean two things, or whose known fields are not what they must be, is refused (`protocol`).
 */

import * as z from 'zod';
import { BackupError } from '../../../../shared/errors.ts';

/** What an answer is: for messages. */
type What = string;

const bool = z.enum(['True', 'False']).transform((text) => text === 'True');
const integer = z
  .string()
  .regex(/^-?[0-9]{1,16}$/)
  .transform(Number)
  .refine(Number.isSafeInteger);
const bytes = integer.refine((value) => value >= 0);
/** Names of VMs as Qubes allows them. */
const vmName = z.string().regex(/^[A-Za-z][A-Za-z0-9_.-]{0,30}$/);
const word = z.string().regex(/^[\x21-\x7e]{1,256}$/);
const line = z.string().regex(/^[\x20-\x7e]*$/);

export const VM_STATES = [
  'Running',
  'Halted',
  'Paused',
  'Suspended',
  'Transient',
  'Halting',
  'Dying',
  'Crashed',
  'NA',
] as const;
export type VmState = (typeof VM_STATES)[number];

const listedVm = z.object({
  name: vmName,
  /** AppVM, StandaloneVM, TemplateVM, DispVM, AdminVM, RemoteVM; a later release may have more. */
  class: z.string().regex(/^[A-Za-z]{1,32}$/),
  state: z.enum(VM_STATES),
  /** Undefined before 4.3: it is a property there. */
  uuid: z.uuid().optional(),
});
export type ListedVm = z.output<typeof listedVm>;

/** `NAME class=… state=… uuid=…` a line. */
export function vmList(what: What, answer: Uint8Array): readonly ListedVm[] {
  const seen = new Set<string>();
  return lines(what, answer).map((text) => {
    const [name = '', ...fields] = text.split(' ');
    if (seen.has(name)) throw odd(what, 'a VM is listed twice');
    seen.add(name);
    return checked(what, listedVm, { ...pairs(what, fields), name });
  });
}

const PROPERTY_TYPES = ['str', 'int', 'bool', 'vm', 'label'] as const;
const property = z.object({ isDefault: bool, type: z.enum(PROPERTY_TYPES), value: z.string() });
/** A property of a VM or of the system: its value as text, empty for none. */
export type Property = z.output<typeof property>;

const PROPERTY = /^default=(\S+) type=(\S+) ([\s\S]*)$/;

/** `default=True|False type=… VALUE`. */
export function oneProperty(what: What, answer: Uint8Array): Property {
  return propertyOf(what, text(what, answer));
}

/** `NAME default=… type=… VALUE` a line, with backslashes and line feeds of a value escaped. */
export function allProperties(what: What, answer: Uint8Array): ReadonlyMap<string, Property> {
  const found = new Map<string, Property>();
  for (const item of lines(what, answer)) {
    const space = item.indexOf(' ');
    const name = checked(what, word, item.slice(0, Math.max(space, 0)));
    if (found.has(name)) throw odd(what, 'a property is listed twice');
    found.set(name, propertyOf(what, unescapeValue(what, item.slice(space + 1))));
  }
  return found;
}

/** The default, undefined where the property has none. */
export function defaultValue(what: What, answer: Uint8Array): string | undefined {
  const found = text(what, answer);
  if (found === '') return undefined;
  const [, type, value] = /^type=(\S+) ([\s\S]*)$/.exec(found) ?? [];
  checked(what, z.enum(PROPERTY_TYPES), type);
  return value;
}

/** Names of features, tags, labels, volumes, pools, device classes: one a line. */
export function names(what: What, answer: Uint8Array): readonly string[] {
  const found = checked(what, z.array(word), lines(what, answer));
  if (new Set(found).size !== found.length) throw odd(what, 'a name is listed twice');
  return found;
}

/** A text of any characters: notes, the value of a feature. */
export function text(what: What, answer: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(answer);
  } catch (cause) {
    throw new BackupError('protocol', `${what}: qubesd's answer is not UTF-8`, { cause });
  }
}

/** The rules of a firewall in the order in which they are tried, in Qubes' normal form. */
export function firewallRules(what: What, answer: Uint8Array): readonly string[] {
  return checked(what, z.array(line.min(1)), lines(what, answer));
}

const volumeInfo = z.object({
  pool: word,
  /** The pool's own name for it, for example `qubes_dom0/vm-work-private`. */
  vid: line,
  size: bytes,
  /** The volume that it is a snapshot of when it starts, or empty. */
  source: line,
  /** The device or file that a running VM uses. */
  path: line,
  rw: bool,
  save_on_stop: bool,
  snap_on_start: bool,
  /** -1 from 4.3: the running VM writes to the volume itself. */
  revisions_to_keep: integer,
  usage: bytes.optional(),
  ephemeral: bool.optional(),
  is_outdated: bool.optional(),
});
export type VolumeInfo = z.output<typeof volumeInfo>;

/** `key=value` a line, twelve of them, fewer in older releases. */
export function oneVolume(what: What, answer: Uint8Array): VolumeInfo {
  return checked(what, volumeInfo, pairs(what, lines(what, answer)));
}

const poolInfo = z.object({ driver: word }).catchall(line);
/** `driver`, and what the driver needs to find its volumes (`volume_group`, `thin_pool`, `dir_path`, `container`). */
export type PoolInfo = z.output<typeof poolInfo>;

export function onePool(what: What, answer: Uint8Array): PoolInfo {
  return checked(what, poolInfo, pairs(what, lines(what, answer)));
}

const currentState = z.object({ power_state: z.enum(VM_STATES) });

/** `mem=… mem_static_max=… cputime=… power_state=…` without a line feed. */
export function powerState(what: What, answer: Uint8Array): VmState {
  return checked(what, currentState, pairs(what, text(what, answer).split(' '))).power_state;
}

/** A device that a VM gets when it starts. What a device says of itself comes from the VM that has it. */
export interface AssignedDevice {
  /** `BACKEND+PORT`, from 4.3 with `:DEVICE`. */
  readonly device: string;
  /** Its options as Qubes writes them; printable ASCII. */
  readonly options: string;
}

/** `BACKEND+PORT OPTIONS` a line; bytes that are not printable ASCII become question marks. */
export function assignedDevices(what: What, answer: Uint8Array): readonly AssignedDevice[] {
  const found = Buffer.from(answer)
    .toString('latin1')
    .replace(/[^\x20-\x7e\n]/g, '?');
  return lines(what, Buffer.from(found, 'latin1')).map((item) => {
    const [device = '', ...options] = item.split(' ');
    return { device: checked(what, word, device), options: options.join(' ') };
  });
}

/** The name of a new disposable. */
export function newName(what: What, answer: Uint8Array): string {
  return checked(what, vmName, text(what, answer));
}

/** The token of a volume to clone, good once. */
export function cloneToken(what: What, answer: Uint8Array): string {
  return checked(what, z.string().regex(/^[A-Za-z0-9]{1,64}$/), text(what, answer));
}

/** An answer that must be empty: the call only does something. */
export function nothing(what: What, answer: Uint8Array): void {
  if (answer.length > 0) throw odd(what, 'it says something where nothing is to be said');
}

function propertyOf(what: What, item: string): Property {
  const [, isDefault, type, value] = PROPERTY.exec(item) ?? [];
  return checked(what, property, { isDefault, type, value });
}

/** GetAll escapes a backslash and a line feed, and nothing else. */
function unescapeValue(what: What, value: string): string {
  return value.replace(/\\([\s\S]?)/g, (_whole, escaped: string) => {
    if (escaped === '\\') return '\\';
    if (escaped === 'n') return '\n';
    throw odd(what, 'a value has an escape that Qubes does not write');
  });
}

/** Lines that each end in a line feed. */
function lines(what: What, answer: Uint8Array): readonly string[] {
  const found = text(what, answer).split('\n');
  if (found.pop() !== '') throw odd(what, 'its last line is cut off');
  return found;
}

/** `key=value`, each key once. */
function pairs(what: What, items: readonly string[]): Record<string, string> {
  const found = new Map<string, string>();
  for (const item of items) {
    const [, key = '', value = ''] = /^([a-z_]+)=([\s\S]*)$/.exec(item) ?? [];
    if (key === '') throw odd(what, 'a field is not KEY=VALUE');
    if (found.has(key)) throw odd(what, `it has ${key} twice`);
    found.set(key, value);
  }
  return Object.fromEntries(found);
}

function checked<T>(what: What, schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw odd(what, `${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
}

function odd(what: What, why: string): BackupError {
  return new BackupError(
    'protocol',
    `${what}: qubesd's answer is none that this program knows of Qubes OS 4.2 or 4.3 (${why})`,
  );
}
