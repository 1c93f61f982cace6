/** What a configuration that either driver captured says of other VMs: all that the rest of dom0 knows of one. */

import * as z from 'zod';
import { BackupError } from '../../shared/errors.ts';
import { issues, parseJson } from './json.ts';

export interface Captured {
  readonly klass: string;
  readonly template: string | null;
  readonly netvm: string | null;
  readonly providesNetwork: boolean;
  /** VMs that other properties name. */
  readonly others: readonly string[];
}

/** The drivers check the rest. */
const schema = z.looseObject({
  klass: z.string(),
  template: z.nullable(z.string()),
  netvm: z.nullable(z.string()),
  properties: z.record(z.string(), z.unknown()),
});
/** A property of the Qubes driver; of the local one there is a plain value. */
const property = z.object({ type: z.string(), value: z.string() });

/** Throws `store-damaged`. `name` is for the message. */
export function readCaptured(name: string, config: Uint8Array): Captured {
  const result = schema.safeParse(parseJson(Buffer.from(config).toString('utf8')));
  if (!result.success)
    throw new BackupError(
      'store-damaged',
      `VM ${name}: its configuration is not valid: ${issues(result.error)}`,
    );
  const { klass, template, netvm, properties } = result.data;
  const provides = properties['provides_network'];
  const others = Object.values(properties).flatMap((value) => {
    const { success, data } = property.safeParse(value);
    return success && data.type === 'vm' && data.value !== '' ? [data.value] : [];
  });
  const said = property.safeParse(provides);
  return {
    ...{ klass, template, netvm, others },
    providesNetwork: said.success ? said.data.value === 'True' : provides === true,
  };
}
