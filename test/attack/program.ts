/** The program as it is installed in hostile VMs: the real one, but every service is a hostile peer. */

import { cpSync, mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { browse, compare } from '../../shared/protocol/browse.ts';
import { exportPaths, prove, restore, scan, verify } from '../../shared/protocol/disposable.ts';
import { get, list, put, setRoot } from '../../shared/protocol/storage.ts';
import type { FrameTable, Protocol } from '../../shared/wire/frame.ts';
import type { Assignment } from './peer/main.ts';

const PROJECT = join(import.meta.dirname, '..', '..');

export type Role = 'dvm' | 'storagevm';

export const PROTOCOLS: Readonly<Record<Role, readonly Protocol[]>> = {
  dvm: [scan, restore, verify, prove, exportPaths, browse, compare],
  storagevm: [put, get, list, setRoot],
};

/** The protocol of `service`. */
export function protocolOf(service: string): Protocol {
  const found = [...PROTOCOLS.dvm, ...PROTOCOLS.storagevm].find((protocol) => protocol.service === service);
  if (found === undefined) throw new Error(`no service ${service}`);
  return found;
}

export function roleOf(service: string): Role {
  return PROTOCOLS.dvm.some((protocol) => protocol.service === service) ? 'dvm' : 'storagevm';
}

/** The type of the frame `name` that `service` says. */
export function typeOf(service: string, name: string): number {
  const table: FrameTable = protocolOf(service).toCaller;
  const spec = table[name];
  if (spec === undefined) throw new Error(`${service} says no ${name}`);
  return spec.type;
}

/** Makes the program folder `folder`, with the project's own policy. Its services play what {@link assign} says. */
export function makeHostileProgram(folder: string): void {
  for (const part of ['package.json', 'node_modules', 'shared', 'dvm', 'storagevm', 'policies']) {
    mkdirSync(folder, { recursive: true });
    symlinkSync(join(PROJECT, part), join(folder, part));
  }
  for (const role of ['dvm', 'storagevm'] as const) {
    const services = join(folder, 'services', role);
    mkdirSync(services, { recursive: true });
    cpSync(join(import.meta.dirname, 'peer'), join(services, 'peer'), { recursive: true });
    for (const { service } of PROTOCOLS[role])
      writeFileSync(join(services, `${service}.ts`), "import './peer/main.ts';\n");
  }
}

/** Says what the services of `role` play from now on. */
export function assign(folder: string, role: Role, assignment: Assignment): void {
  const file = join(folder, 'services', role, 'script.json');
  writeFileSync(`${file}.new`, JSON.stringify(assignment));
  renameSync(`${file}.new`, file);
}
