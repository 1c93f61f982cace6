/** R25: chosen files and folders of dom0 on the Qubes driver: read and proven in dom0 itself, unpacked nowhere there. */

import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { backup } from '../../dom0/commands/backup.ts';
import { extract } from '../../dom0/commands/extract.ts';
import { init } from '../../dom0/commands/init.ts';
import { restoreAll } from '../../dom0/commands/restore-all.ts';
import { restore } from '../../dom0/commands/restore.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { openDomains } from '../e2e/drivers/open.ts';
import { rejection } from '../support/failure.ts';
import { runOver } from '../support/in-process.ts';
import { namespaces, testNeeding } from '../support/needs.ts';
import { run } from '../support/processes.ts';
import { tempFolder } from '../support/temp.ts';
import { servedSystem } from './served-system.ts';

const TO = { to: undefined, tar: undefined, intoVm: undefined, overwrite: false };

testNeeding(namespaces())(
  'dom0 is backed up by a child of its own, and comes back as an archive or into a VM',
  async () => {
    const { set, callable } = await servedSystem();
    const folder = tempFolder();
    const chosen = ['home', 'policy.d'].map((name) => join(folder, name));
    const [user = '', policies = ''] = chosen;
    for (const path of [user, policies]) mkdirSync(path);
    writeFileSync(join(user, 'notes'), 'notes of dom0');
    writeFileSync(join(policies, '30-user.policy'), 'a policy');
    const machine = {
      ...({ driver: 'qubes', folder, keyFile: join(user, 'key'), root: set.folder } as const),
      ...{ socket: set.qubesd.socketPath, programs: callable.programs },
      dom0: { chosen, hidden: [join(user, 'key')] },
    };
    createKeyFile(machine.keyFile);
    await set.admin.remove('data');
    const on = (work: Parameters<typeof runOver>[2]) => runOver(openDomains(machine), machine, work);
    await on((app) => init(app, () => app.secrets()));
    const calls = () => callable.seen.filter((line) => !line.includes('-d main '));
    const before = calls();
    const first = await on((app) => backup(app, ['dom0'], { audit: true }));
    expect(first.app.warnings).toBe(0);
    writeFileSync(join(user, 'new'), 'new');
    const { output } = await on((app) => backup(app, ['dom0']));
    const last = output.events.findLast(({ event }) => event === 'backup');
    expect(last).toMatchObject({ vm: 'dom0', changedFiles: 1, skipped: 1, warnings: 0 });
    const tar = join(folder, 'dom0.tar');
    await on((app) => extract(app, 'dom0', ['/'], { ...TO, tar }));
    const listed = (await run('tar', ['-tf', tar])).stdout.toString();
    for (const path of ['home/notes', 'home/new', 'policy.d/30-user.policy'])
      expect(listed).toContain(join(folder, path).slice(1));
    expect(listed).not.toContain('home/key');
    // No other VM had any part in this, and no disposable was made.
    expect(calls()).toEqual(before);
    expect(set.qubesd.store.vms().filter(({ name }) => name.startsWith('qib-'))).toEqual([]);
    const refused = await rejection(on((app) => extract(app, 'dom0', ['/'], { ...TO, to: folder })));
    expect(refused.message).toContain('dom0 unpacks nothing on Qubes OS');
    const restored = await rejection(on((app) => restore(app, 'dom0')));
    expect(restored.message).toContain('not restored as a VM');
    await on((app) => restoreAll(app, { yes: true }));
    // Into a VM, which gets the stream of a child of dom0, and is started for it.
    await set.admin.create({ klass: 'AppVM', name: 'data', label: 'red' });
    await on((app) => extract(app, 'dom0@1', [join(user, 'notes'), policies], { ...TO, intoVm: 'data' }));
    const incoming = join(callable.folder, 'data/home/user/QubesIncoming/dom0/dom0-1');
    expect(readFileSync(join(incoming, user, 'notes'), 'utf8')).toBe('notes of dom0');
    expect(readFileSync(join(incoming, policies, '30-user.policy'), 'utf8')).toBe('a policy');
    expect(readdirSync(join(incoming, user))).toEqual(['notes']);
    expect(await set.admin.state('data')).toBe('Running');
    expect(calls().slice(before.length)).toEqual([
      expect.stringMatching(/^-d data .*QUBESRPC qubes\.Filecopy\+ dom0$/),
    ]);
    expect(set.qubesd.store.vms().filter(({ name }) => name.startsWith('qib-'))).toEqual([]);
    expect(existsSync(join(folder, 'copy'))).toBe(false);
    expect(readdirSync(join(folder, 'journal'))).toEqual([]);
    expect(readFileSync(join(user, 'notes'), 'utf8')).toBe('notes of dom0');
  },
);
