/** The program as it is installed in hostile VMs: the real one, but every service is a hostile peer. */

import { cpSync, mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { browse, compare } from '../../shared/protocol/browse.ts';
import { drill, exportPaths, prove, restore, scan, verify } from '../../shared/protocol/disposable.ts';
import { get, list, put, setRoot } from '../../shared/protocol/storage.ts';
import type { FrameTable, Protocol } from '../../shared/wire/frame.ts';
import type { Assignment } from './peer/main.ts';
import type { Move } from './peer/receiver.ts';

const PROJECT = join(import.meta.dirname, '..', '..');

/** Of every VM: takes files. */
export const RECEIVE = 'qubes.Filecopy';

export type Role = 'dvm' | 'storagevm';

export const PROTOCOLS: Readonly<Record<Role, readonly Protocol[]>> = {
  dvm: [scan, restore, verify, prove, exportPaths, browse, compare, drill],
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

/** Makes the program folder `folder`, with the project's own policy, and no services yet. */
export function linkProgram(folder: string): void {
  mkdirSync(folder, { recursive: true });
  for (const part of ['package.json', 'node_modules', 'shared', 'dvm', 'storagevm', 'policies'])
    symlinkSync(join(PROJECT, part), join(folder, part));
}

/** Makes the program folder `folder`. Its services play what {@link assign} says. */
export function makeHostileProgram(folder: string): void {
  linkProgram(folder);
  const install = (role: string, services: readonly string[], peer: string) => {
    const target = join(folder, 'services', role);
    mkdirSync(target, { recursive: true });
    cpSync(join(import.meta.dirname, 'peer'), join(target, 'peer'), { recursive: true });
    for (const service of services)
      writeFileSync(join(target, `${service}.ts`), `import './peer/${peer}';\n`);
  };
  for (const role of ['dvm', 'storagevm'] as const)
    install(
      role,
      PROTOCOLS[role].map(({ service }) => service),
      'main.ts',
    );
  install('vm', [RECEIVE], 'receiver.ts');
}

/** Says what the VM does that receives files. */
export function assignReceiver(folder: string, moves: readonly Move[]): void {
  writeScript(join(folder, 'services', 'vm'), moves);
}

/** Says what the services of `role` play from now on. */
export function assign(folder: string, role: Role, assignment: Assignment): void {
  writeScript(join(folder, 'services', role), assignment);
}

function writeScript(services: string, script: unknown): void {
  const file = join(services, 'script.json');
  writeFileSync(`${file}.new`, JSON.stringify(script));
  renameSync(`${file}.new`, file);
}
