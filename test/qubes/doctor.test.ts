/** `doctor` on the Qubes driver: policy, storage VMs, disposables, pools, each against what it has to be. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Agent } from '../../dom0/domains/qubes/agent.ts';
import { ensureDvmTemplate } from '../../dom0/domains/qubes/dvm-template.ts';
import { Journal } from '../../dom0/domains/qubes/journal.ts';
import { QubesDomains } from '../../dom0/domains/qubes/qubes.ts';
import { comparePolicy, shippedPolicy } from '../../dom0/domains/qubes/shipped-policy.ts';
import { loadPolicyOf } from '../../dom0/domains/policy-loader.ts';
import { PROJECT } from '../support/processes.ts';
import { tempFolder } from '../support/temp.ts';
import { Callable } from './calls-kit.ts';
import { playedTools } from './tools/tools-kit.ts';
import { setting } from './volumes-kit.ts';

const POLICY = readFileSync(join(PROJECT, 'policies/30-qubes-backup.policy'), 'utf8');
const ID = '0.1.0-00112233aabbccdd';

async function rules(text: string) {
  const folder = tempFolder();
  writeFileSync(join(folder, '30-test.policy'), text);
  return loadPolicyOf({ folders: [folder] });
}

describe('the policy', () => {
  test('that is shipped is all there', async () => {
    expect(await shippedPolicy()).toBe(POLICY);
    expect(comparePolicy(POLICY, await rules(POLICY))).toEqual([expect.objectContaining({ level: 'ok' })]);
  });

  test.each(
    POLICY.split('\n')
      .filter((line) => /^\S/.test(line) && !line.startsWith('#'))
      .map((line) => [line.replace(/\s+/g, ' ')]),
  )('lacks a line: %s', async (line) => {
    const without = POLICY.split('\n').filter((other) => other.replace(/\s+/g, ' ') !== line);
    const findings = comparePolicy(POLICY, await rules(without.join('\n')));
    expect(findings).toEqual([
      {
        level: line.endsWith('allow') ? 'fail' : 'warn',
        about: 'policy',
        text: expect.stringContaining(`add "${line}"`) as string,
      },
    ]);
  });

  test('has the line in another file, in other spaces: nothing is missing', async () => {
    const other = POLICY.replace(
      /^qubes.BackupPut .*allow$/m,
      'qubes.BackupPut + @adminvm @tag:qubes-backup-storage allow',
    );
    expect(comparePolicy(POLICY, await rules(other))).toEqual([expect.objectContaining({ level: 'ok' })]);
  });
});

/** A Qubes OS with the VM `data`, the storage VM `main` and disposables that have the agent `id`. */
async function system(id = ID) {
  const set = await setting('lvm');
  await set.admin.create({ klass: 'AppVM', name: 'main', label: 'gray' });
  await set.admin.setTag('main', 'qubes-backup-storage');
  await set.admin.setProperty('main', 'include_in_backups', 'False');
  const callable = new Callable();
  callable.evaluator('exit 2');
  callable.policy(POLICY);
  callable.vm('disposable', {
    'qubes.BackupAgent': `cat /proc/self/root${join(set.folder, 'agent-id')}`,
    'qubes.VMExec': `cat >/dev/null; echo '${ID}' >${join(set.folder, 'agent-id')}`,
  });
  writeFileSync(join(set.folder, 'agent-id'), `${id}\n`);
  const program = tempFolder();
  mkdirSync(join(program, 'services/dvm'), { recursive: true });
  mkdirSync(join(program, 'bin'));
  writeFileSync(join(program, 'bin/node'), 'binary');
  writeFileSync(join(program, 'services/dvm/agent'), `${ID}\n`);
  const warn = () => undefined;
  const domains = new QubesDomains({
    admin: set.admin,
    tools: playedTools(set.folder),
    calls: callable.calls,
    agent: new Agent({ calls: callable.calls, program, warn }),
    journal: new Journal(join(set.folder, 'journal')),
    stateFolder: join(set.folder, 'state'),
    warn,
    policy: { folders: [callable.programs.policy] },
    volumes: { root: set.folder },
  });
  const examine = async () => {
    const vms = (await domains.list()).filter(({ name }) => name === 'data');
    const findings = await domains.examine(vms, ['main']);
    // Pools of the stand-in have one byte, and it is taken; root is for a real dom0.
    return findings
      .filter(({ about }) => !/^(pool |dom0)/.test(about))
      .map(({ level, about, text }) => `${level} ${about}: ${text}`);
  };
  return { set, callable, domains, examine };
}

const notOk = (lines: readonly string[]) => lines.filter((line) => !line.startsWith('ok '));

describe('the system', () => {
  test('is well, and nothing of the examination is left', async () => {
    const { set, examine } = await system();
    const found = await examine();
    expect(notOk(found)).toEqual([]);
    expect(found).toEqual(
      expect.arrayContaining([
        'ok storage VM main: has the tag qubes-backup-storage',
        'ok disposables of qib-dvm-debian-12: are made at the first use',
        'ok disposables of qib-dvm-debian-12: start, and have the services of this version',
      ]),
    );
    expect((await set.admin.list()).filter(({ name }) => name.startsWith('qib-disp-'))).toEqual([]);
  });

  test('has a storage VM without tag that is backed up itself, and a template of disposables with network and preloading', async () => {
    const { set, examine } = await system();
    await set.admin.removeTag('main', 'qubes-backup-storage');
    await set.admin.setProperty('main', 'include_in_backups', 'True');
    const dvm = await ensureDvmTemplate(set.admin, 'debian-12');
    await set.admin.create({ klass: 'AppVM', name: 'net', label: 'red', template: 'debian-12' });
    await set.admin.setProperty('net', 'provides_network', 'True');
    await set.admin.setProperty(dvm, 'netvm', 'net');
    await set.admin.setFeature(dvm, 'preload-dispvm-max', '2');
    expect(notOk(await examine())).toEqual([
      expect.stringMatching(/^fail storage VM main: .*qvm-tags main add/),
      expect.stringMatching(/^warn storage VM main: .*include_in_backups False/),
      expect.stringMatching(/^warn disposables of qib-dvm-debian-12: .*has the network net/),
      expect.stringMatching(/^warn disposables of qib-dvm-debian-12: 2 are started ahead/),
    ]);
  });

  test('has an older agent in a template, or a policy that denies', async () => {
    const { callable, examine } = await system('0.0.9-00112233aabbccdd');
    expect(notOk(await examine())).toEqual([
      expect.stringMatching(/^warn disposables of qib-dvm-debian-12: start, but has the agent 0\.0\.9/),
    ]);
    callable.policy('nonsense');
    expect(notOk(await examine())).toEqual([
      expect.stringMatching(/^fail policy: .*five columns/),
      expect.stringMatching(/^fail disposables of qib-dvm-debian-12: /),
    ]);
  });

  test('has no storage VM of that name', async () => {
    const { domains } = await system();
    const findings = await domains.examine([], ['nowhere']);
    expect(findings).toContainEqual(expect.objectContaining({ level: 'fail', about: 'storage VM nowhere' }));
  });

  test('has a pool without room', async () => {
    const { domains } = await system();
    const vms = (await domains.list()).filter(({ name }) => name === 'data');
    const findings = await domains.examine(vms, []);
    expect(findings.filter(({ about }) => about.startsWith('pool '))).toEqual([
      expect.objectContaining({ level: 'fail', text: expect.stringContaining('0 B of 1 B free') as string }),
    ]);
  });
});
