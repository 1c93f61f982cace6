/** A small program folder with services of the tests' own, so that the real driver runs them as it runs ours. */

import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LocalDomains } from '../../dom0/domains/local/local.ts';
import type { LocalOptions } from '../../dom0/domains/local/local.ts';
import type { ServiceCall } from '../../dom0/domains/domains.ts';
import type { Answers, Questions } from './services/probe.ts';

const ALLOW = `* * @adminvm @tag:qubes-backup-disposable allow
* * @adminvm @tag:qubes-backup-storage allow
`;

/** A program folder in `folder` with the named services of `test/domains/services`, for both roles. */
export function makeProgram(
  folder: string,
  services: Readonly<Record<string, string>>,
  policy = ALLOW,
): string {
  const root = join(folder, 'program');
  for (const path of [
    'node_modules',
    'shared',
    'dvm',
    'storagevm',
    'dom0',
    'policies',
    'services/dvm',
    'services/storagevm',
  ]) {
    mkdirSync(join(root, path), { recursive: true });
  }
  writeFileSync(join(root, 'package.json'), '{ "type": "module" }\n');
  writeFileSync(join(root, 'dom0', 'secret'), 'secret');
  writeFileSync(join(root, 'policies', '10-test.policy'), policy);
  for (const [name, source] of Object.entries(services)) {
    for (const role of ['dvm', 'storagevm']) {
      copyFileSync(join(import.meta.dirname, 'services', source), join(root, 'services', role, `${name}.ts`));
    }
  }
  return root;
}

/** A home of the driver in `folder`, with one VM, one storage VM and something secret in dom0's state. */
export function makeHome(
  folder: string,
  options: Partial<LocalOptions>,
): { home: string; domains: LocalDomains } {
  const home = join(folder, 'home');
  mkdirSync(join(home, 'vms', 'work', 'private'), { recursive: true });
  mkdirSync(join(home, 'vms', 'vault', 'private'), { recursive: true });
  mkdirSync(join(home, 'storage', 'main'), { recursive: true });
  mkdirSync(join(home, 'state'));
  writeFileSync(join(home, 'vms', 'work', 'private', 'mine'), 'mine');
  writeFileSync(join(home, 'vms', 'vault', 'private', 'theirs'), 'theirs');
  writeFileSync(join(home, 'state', 'key'), 'secret');
  return { home, domains: new LocalDomains({ home, sandbox: 'auto', ...options }) };
}

/** All that the service writes, once it has ended. */
export async function readAll(call: ServiceCall): Promise<string> {
  const pieces: Buffer[] = [];
  const buffer = Buffer.alloc(64 * 1024);
  for (;;) {
    const length = await call.io.read(buffer);
    if (length === 0) break;
    pieces.push(Buffer.from(buffer.subarray(0, length)));
  }
  await call.exited;
  return Buffer.concat(pieces).toString('utf8');
}

/** Asks a running probe. */
export async function askProbe(call: ServiceCall, questions: Partial<Questions> = {}): Promise<Answers> {
  await call.io.write([Buffer.from(JSON.stringify({ read: [], write: [], device: [], ...questions }))]);
  call.hangUp();
  const text = await readAll(call);
  try {
    return JSON.parse(text) as Answers;
  } catch (cause) {
    throw new Error(`the probe said ${JSON.stringify(text)} and ${JSON.stringify(call.stderr())}`, { cause });
  }
}
