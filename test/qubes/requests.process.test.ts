/** Requests of VMs on the Qubes driver: the stand-ins for qubesd and qrexec-client, real services, a real ext4 volume. */

import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { App } from '../../dom0/app.ts';
import { init } from '../../dom0/commands/init.ts';
import { Journal } from '../../dom0/domains/qubes/journal.ts';
import { QubesDomains } from '../../dom0/domains/qubes/qubes.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { perform } from '../../dom0/request/perform.ts';
import type { Answer } from '../../dom0/request/perform.ts';
import { Rates } from '../../dom0/request/rates.ts';
import { byteString, utf8 } from '../../shared/bytes.ts';
import { parseVmName } from '../../shared/ids.ts';
import { rejection } from '../support/failure.ts';
import { mountable, shell, withMounted } from '../support/images.ts';
import { runOver } from '../support/in-process.ts';
import { testNeeding } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';
import { servedSystem } from './served-system.ts';
import { playedTools } from './tools/tools-kit.ts';
import { volumeFile } from './volumes-kit.ts';

/** A Qubes OS with the AppVM `data`, a storage VM, and a repository. */
async function system() {
  const { set, callable } = await servedSystem();
  const folder = tempFolder();
  const home = { folder, keyFile: join(folder, 'key') };
  createKeyFile(home.keyFile);
  const run = (command: (app: App) => Promise<void>) => {
    const domains = new QubesDomains({
      admin: set.admin,
      tools: playedTools(set.folder),
      calls: callable.calls,
      journal: new Journal(join(folder, 'journal')),
      stateFolder: join(folder, 'state/qubes'),
      warn: () => undefined,
      volumes: { root: set.folder, patience: 5_000 },
    });
    return runOver(domains, home, command);
  };
  const own = join(folder, 'state/requests');
  mkdirSync(own, { recursive: true });
  const ask = async (vm: string, asked: Parameters<typeof perform>[3]): Promise<Answer> => {
    const answers: Answer[] = [];
    await run(async (app) => {
      answers.push(await perform(app, new Rates(own), parseVmName(vm), asked));
    });
    return answers[0]!;
  };
  await run((app) => init(app, () => app.secrets()));
  return { set, callable, ask };
}

test('R11: on Qubes OS a VM without a backup has none, and a disposable may not ask at all', async () => {
  const { set, ask } = await system();
  expect(await ask('data', { action: 'list' })).toEqual({ ok: true, lines: ['ok: 0 of 0 snapshots'] });
  await set.admin.create({ klass: 'DispVM', name: 'disp77', label: 'red', template: 'default-dvm' });
  for (const name of ['disp77', 'nobody'])
    expect((await rejection(ask(name, { action: 'list' }))).code).toBe('unknown-vm');
  await set.admin.setProperty('data', 'include_in_backups', 'False');
  expect((await rejection(ask('data', { action: 'backup' }))).code).toBe('unknown-vm');
});

testNeeding(mountable('ext4'))(
  'on Qubes OS a VM is backed up because it asks, and gets its files back by qubes.Filecopy',
  async () => {
    const { set, callable, ask } = await system();
    const image = volumeFile(set, 'committed');
    shell('truncate -s 64M "$1"; mkfs.ext4 -qF "$1"', image);
    withMounted(image, 'rw', 'mkdir -p "$1/home/user"; echo old >"$1/home/user/notes"');
    expect(await ask('data', { action: 'backup' })).toEqual({ ok: true, lines: ['ok: backed up'] });
    withMounted(image, 'rw', 'echo new >"$1/home/user/notes"');
    const form = { snapshot: '1', paths: [byteString(utf8('/home/user/notes'))] };
    expect(await ask('data', { action: 'restore', form })).toEqual({
      ok: true,
      lines: ['ok: copied into QubesIncoming/dom0/data-1'],
    });
    const incoming = join(callable.folder, 'data/home/user/QubesIncoming/dom0/data-1');
    expect(readFileSync(join(incoming, 'home/user/notes'), 'utf8')).toBe('old\n');
    expect((await set.admin.list()).filter((vm) => vm.class === 'DispVM')).toEqual([]);
  },
);
