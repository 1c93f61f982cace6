/**
 * The configuration of a VM as it travels with its backups (R25): canonical JSON, the same bytes for the same configuration.
 * It has all that the local driver's vm.json has, under the same names, so that each driver can restore what the other one
 * backed up; `qubes_config` marks the one of Qubes OS, and is its version.
 */

import * as z from 'zod';
import { utf8 } from '../../../../shared/bytes.ts';
import { BackupError } from '../../../../shared/errors.ts';
import { MAX_VM_CONFIG } from '../../../../shared/limits.ts';
import { canonicalJson, issues, parseJson } from '../../json.ts';
import { parseDescription } from '../../local/vms.ts';

export const KLASSES = ['AppVM', 'StandaloneVM', 'TemplateVM', 'DispVM', 'AdminVM'] as const;

/** Names that Qubes gives: they are arguments of its calls. */
const word = z.string().regex(/^[A-Za-z0-9._+:@-]{1,256}$/);
const text = z.string().max(MAX_VM_CONFIG);
const property = z.strictObject({
  /** Qubes' own; `str` of what the local driver had. */
  type: z.enum(['str', 'int', 'bool', 'vm', 'label']),
  value: text,
});
const volume = z.strictObject({
  /** A device, for both drivers. */
  kind: z.literal('image'),
  size: z.int().min(0),
  /** The pool it was in and that pool's driver. */
  pool: text,
  driver: text,
});

export const vmConfigSchema = z.strictObject({
  qubes_config: z.literal(1),
  name: word,
  klass: z.enum(KLASSES),
  uuid: z.uuid(),
  label: word,
  template: z.nullable(word),
  /** What it is connected to, whether by itself or as the default. */
  netvm: z.nullable(word),
  include_in_backups: z.boolean(),
  tags: z.array(word).max(10_000),
  /** Services are the features `service.NAME`. */
  features: z.record(word, text),
  /** Those that do not have their default. */
  properties: z.record(word, property),
  /** In the order in which they are tried, as Qubes writes them; null where a VM has none to be asked for. */
  firewall: z.nullable(z.array(text).max(100_000)),
  /** Null before Qubes OS 4.3. */
  notes: z.nullable(text),
  /** Those with content of their own. */
  volumes: z.strictObject({ private: volume.optional(), root: volume.optional() }),
  /** Bytes of the volume that is empty at every start; null if there is none. */
  volatile_size: z.nullable(z.int().min(0)),
  /** Devices that it got at its start: listed for a person, never attached. */
  devices: z.array(z.strictObject({ deviceClass: word, device: text, options: text })).max(10_000),
});
export type VmConfig = z.output<typeof vmConfigSchema>;

/** Throws `limit` beyond MAX_VM_CONFIG. */
export function encodeVmConfig(config: VmConfig): Uint8Array {
  const bytes = utf8(canonicalJson(config));
  if (bytes.length > MAX_VM_CONFIG)
    throw new BackupError(
      'limit',
      `VM ${config.name}: its configuration has ${bytes.length} bytes, more than ${MAX_VM_CONFIG}`,
    );
  return bytes;
}

/** The configuration in a backup of either driver. Throws `store-damaged`, `store-version` of a later version. */
export function parseVmConfig(name: string, bytes: Uint8Array): VmConfig {
  const found = parseJson(Buffer.from(bytes).toString('utf8'));
  const version = z.looseObject({ qubes_config: z.int().min(2) }).safeParse(found);
  if (version.success)
    throw new BackupError(
      'store-version',
      `VM ${name}: its configuration was written by a newer version of this program`,
    );
  if (!z.looseObject({ qubes_config: z.unknown() }).safeParse(found).success) return fromLocal(name, bytes);
  const result = vmConfigSchema.safeParse(found);
  if (!result.success)
    throw new BackupError(
      'store-damaged',
      `VM ${name}: its configuration is not valid: ${issues(result.error)}`,
    );
  return result.data;
}

/** What the local driver wrote: a person's vm.json, of which anything may be missing. */
function fromLocal(name: string, bytes: Uint8Array): VmConfig {
  const { config, volumes } = parseDescription(bytes);
  const sized = (kind: 'private' | 'root') => {
    const found = volumes[kind];
    return found === undefined
      ? {}
      : { [kind]: { kind: 'image', size: found.size, pool: '', driver: '' } as const };
  };
  const values = Object.entries(config.properties).flatMap(([key, value]) => {
    const as = propertyText(value);
    return as === undefined ? [] : [[key, { type: 'str', value: as }] as const];
  });
  const own = {
    ...{ qubes_config: 1, name, klass: config.klass, uuid: config.uuid ?? NO_UUID, label: config.label },
    ...{ template: config.template, netvm: config.netvm, include_in_backups: config.include_in_backups },
    tags: config.tags,
    features: Object.fromEntries(
      Object.entries(config.features).flatMap(([key, value]) => {
        const as = featureText(value);
        return as === undefined ? [] : [[key, as]];
      }),
    ),
    properties: { ...Object.fromEntries(values), netvm: { type: 'vm', value: config.netvm ?? '' } },
    ...{ firewall: null, notes: null, volatile_size: null, devices: [] },
    volumes: { ...sized('private'), ...sized('root') },
  };
  const result = vmConfigSchema.safeParse(own);
  if (!result.success)
    throw new BackupError(
      'store-damaged',
      `VM ${name}: no VM of Qubes OS can be configured like this: ${issues(result.error)}`,
    );
  return result.data;
}

const NO_UUID = '00000000-0000-0000-0000-000000000000';

/** Qubes writes True and False, and nothing for no VM. */
function propertyText(value: unknown): string | undefined {
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (value === null) return '';
  return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined;
}

/** A feature is a text; 1 and nothing stand for true and false. */
function featureText(value: unknown): string | undefined {
  if (typeof value === 'boolean') return value ? '1' : '';
  return propertyText(value);
}
