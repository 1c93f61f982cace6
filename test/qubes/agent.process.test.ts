/** R03: the agent in a disposable: dom0's own, from the template or copied in, before the disposable is given anything. */

import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { agentArchive } from '../../dom0/domains/qubes/agent-archive.ts';
import { Agent } from '../../dom0/domains/qubes/agent.ts';
import { Disposables } from '../../dom0/domains/qubes/disposable.ts';
import { Journal } from '../../dom0/domains/qubes/journal.ts';
import { runVerify } from '../../dom0/session/read-sessions.ts';
import { packages } from '../../packaging/contents.ts';
import { readRelease } from '../../packaging/release.ts';
import { layOut } from '../../packaging/tree.ts';
import { parseVmName } from '../../shared/ids.ts';
import { rejection } from '../support/failure.ts';
import { PROJECT } from '../support/processes.ts';
import { tempFolder } from '../support/temp.ts';
import { Callable } from './calls-kit.ts';
import { machine } from './qubes-kit.ts';

const work = parseVmName('work');
const OWN = '0.1.0-00112233aabbccdd';
const POLICY = readFileSync(join(PROJECT, 'policies/30-qubes-backup.policy'), 'utf8');

/** dom0's program with little in it. */
function smallProgram(): string {
  const folder = tempFolder();
  for (const [path, text, mode] of [
    ['bin/node', 'binary', 0o755],
    ['services/dvm/agent', `${OWN}\n`, 0o644],
    ['services/dvm/qubes.BackupAgent', '#!/bin/sh\nself=$(readlink -f "$0")\ncat "${self%/*}/agent"', 0o755],
    ['services/dvm/qubes.BackupScan.mjs', 'code', 0o644],
    ['services/dvm/rpc-config/qubes.BackupScan', "force-user='root'\n", 0o644],
    ['dom0/main.mjs', 'no part of it', 0o644],
  ] as const) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text, { mode });
  }
  return folder;
}

/** A disposable's template with `services`, and dom0 that starts disposables. */
async function setting(
  services: Readonly<Record<string, string>>,
  { program = smallProgram(), ask = 20_000 } = {},
) {
  const system = await machine();
  const callable = new Callable();
  callable.vm('disposable', services);
  callable.evaluator('exit 2');
  callable.policy(POLICY);
  const warnings: string[] = [];
  const warn = (text: string) => void warnings.push(text);
  const patience = { ask, copy: 20_000 };
  const agent = new Agent({ calls: callable.calls, program, warn, patience });
  const journal = new Journal(join(system.folder, 'journal'));
  const disposables = new Disposables(system.admin, callable.calls, journal, agent);
  const given: string[] = [];
  const begin = () =>
    disposables.start(work, { template: 'default-dvm' }, (name) => {
      given.push(name);
      return Promise.resolve(undefined);
    });
  const left = async () => (await system.admin.list()).filter((vm) => vm.class === 'DispVM');
  const copies = () => callable.seen.filter((line) => line.includes('qubes.VMExec'));
  return { callable, begin, given, warnings, left, copies };
}

const answering = (id: string) => ({ 'qubes.BackupAgent': `echo ${id}` });

describe('a disposable', () => {
  test('whose template has dom0’s agent is asked once, and given nothing', async () => {
    const { begin, callable, given, warnings } = await setting(answering(OWN));
    const disposable = await begin();
    expect(callable.seen).toEqual([
      `-d ${disposable.name} -w 60 -T -- DEFAULT:QUBESRPC qubes.BackupAgent+ dom0`,
    ]);
    expect([given, warnings]).toEqual([[disposable.name], []]);
  });

  test.each([
    ['none', {}, 'default-dvm has no agent'],
    ['another one', answering('0.0.9-00'), 'default-dvm has the agent 0.0.9-00, which is not dom0'],
  ])(
    'whose template has %s gets dom0’s, as root, by the one command that the policy names',
    async (_what, services, said) => {
      const { begin, callable, copies, given, warnings } = await setting(services);
      const { name } = await begin();
      expect(copies()).toEqual([
        `-d ${name} -w 60 -T -- root:QUBESRPC qubes.VMExec+tar+--xf+--+--C+-2F dom0`,
      ]);
      expect(callable.seen).toHaveLength(3);
      expect(given).toEqual([name]);
      const at = (path: string) => join(callable.folder, name, path);
      const text = (path: string) => readFileSync(at(path), 'utf8');
      expect(text('usr/local/lib/qubes-backup/bin/node')).toBe('binary');
      expect(lstatSync(at('usr/local/lib/qubes-backup/bin/node')).mode & 0o777).toBe(0o755);
      expect(text('usr/local/lib/qubes-backup/services/dvm/qubes.BackupScan.mjs')).toBe('code');
      expect(text('etc/qubes/rpc-config/qubes.BackupScan')).toBe("force-user='root'\n");
      expect(existsSync(at('usr/local/lib/qubes-backup/dom0'))).toBe(false);
      await begin(); // Each is another VM; what it lacks is said once.
      expect(copies()).toHaveLength(2);
      expect(warnings).toEqual([expect.stringContaining(said)]);
    },
  );

  test.each([
    [
      'keeps another agent',
      { ...answering('0.0.9-00'), 'usr/local/etc/qubes-rpc/qubes.BackupAgent+': 'echo other' },
      'refused',
    ],
    ['answers without end', { 'qubes.BackupAgent': 'yes' }, 'protocol'],
    ['answers nonsense', { 'qubes.BackupAgent': 'printf "\\033[31m\\n"' }, 'service-failed'],
    ['answers two lines', { 'qubes.BackupAgent': `echo ${OWN}; echo ${OWN}` }, 'service-failed'],
    ['does not answer', { 'qubes.BackupAgent': 'exec sleep 1000' }, 'timeout'],
    ['fails', { 'qubes.BackupAgent': 'echo broken >&2; exit 3' }, 'service-failed'],
    ['takes nothing', { 'qubes.VMExec': 'exit 1' }, 'service-failed'],
    ['has no way to take it', { 'qubes.VMExec': 'exit 127' }, 'service-failed'],
    ['takes it and throws it away', { 'qubes.VMExec': 'cat >/dev/null' }, 'refused'],
  ])('that %s gets no data and is removed', async (_what, services, code) => {
    const { begin, given, left } = await setting(services, { ask: code === 'timeout' ? 200 : 20_000 });
    expect((await rejection(begin())).code).toBe(code);
    expect([given, await left()]).toEqual([[], []]);
  });

  test('is given nothing where the policy forbids it', async () => {
    const { begin, callable, given, left, copies } = await setting({});
    callable.policy(`qubes.VMExec * @adminvm * deny\n${POLICY}`);
    expect((await rejection(begin())).code).toBe('policy-denied');
    expect([given, await left(), copies()]).toEqual([[], [], []]);
  });

  test('is not started where dom0’s own agent is not whole', async () => {
    for (const damage of [
      (folder: string) => rmSync(join(folder, 'services/dvm/agent')),
      (folder: string) => writeFileSync(join(folder, 'services/dvm/agent'), 'two\nlines\n'),
    ]) {
      const program = smallProgram();
      damage(program);
      const { begin, given, left } = await setting(answering(OWN), { program });
      expect(await rejection(begin())).toMatchObject({
        code: 'io',
        message: expect.stringContaining('install qubes-backup-dom0 anew') as string,
      });
      expect([given, await left()]).toEqual([[], []]);
    }
  });
});

test('the agent of dom0’s package runs in a disposable of a template that has nothing of ours', async () => {
  const release = readRelease();
  const folder = tempFolder();
  const { tree } = (await packages(release)).find(({ name }) => name === 'qubes-backup-dom0')!;
  const program = '/usr/lib/qubes-backup';
  await layOut(
    new Map([...tree].filter(([path]) => path.startsWith(`${program}/services/dvm/`))),
    folder,
    release.seconds,
  );
  mkdirSync(join(folder, program, 'bin'));
  symlinkSync(process.execPath, join(folder, program, 'bin/node'));
  let bytes = 0;
  for await (const piece of agentArchive(join(folder, program))) bytes += piece.length;
  expect(bytes % 512).toBe(0);
  expect(readFileSync(join(PROJECT, 'docs/install-qubes.md'), 'utf8')).toContain(
    `${Math.round(bytes / 1e6)} MB of which Node.js`,
  );
  const { begin } = await setting({}, { program: join(folder, program) });
  const disposable = await begin();
  const volume = tempFolder();
  writeFileSync(join(volume, 'file'), 'content');
  const listener = { progress: () => undefined, note: () => undefined };
  const job = {
    volume: { kind: 'folder', path: volume },
    owners: false,
    excludes: null,
    deviceSize: null,
  } as const;
  expect(await runVerify(await disposable.call('qubes.BackupVerify'), job, listener)).toMatch(
    /^[0-9a-f]{64}$/,
  );
  await disposable.destroy();
});
