/** R58: `backup --audit` and `--reread` through the command line, each reader in a sandbox of its own. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { compareTrees } from '../support/checker.ts';
import { Home } from '../support/home.ts';
import { makeDirtyExt4 } from '../support/images.ts';
import { namespaces, program, testNeeding } from '../support/needs.ts';
import { generateTree } from '../support/tree-generator.ts';

test('R58: any tree, all that is special about its entries, is proven by readers that know nothing of each other', async () => {
  const home = new Home();
  generateTree(home.volume('work'), { seed: 11, entries: 300 });
  await home.expectRun(0, 'init');
  expect((await home.expectRun(0, 'backup', 'work', '--audit')).event('backup')).toMatchObject({
    audited: true,
  });
  home.write('work', 'new', 'and again');
  const { stdout } = await home.runWith(
    ['--key-file', home.keyFile],
    'backup',
    'work',
    '--audit',
    '--reread',
  );
  expect(stdout).toContain('read twice, the same content');
  await home.expectRun(0, 'restore', 'work', '--as', 'copy');
  expect(compareTrees(home.volume('work'), home.volume('copy'))).toEqual([]);
});

test('R58: all volumes of a VM, blocks as well', async () => {
  const home = new Home();
  home.configure('[vm.work.volumes]', 'private = "blocks"', 'root = "blocks"');
  const folder = join(home.folder, 'vms', 'work');
  mkdirSync(folder);
  for (const name of ['private.img', 'root.img'])
    writeFileSync(join(folder, name), Buffer.concat([randomBytes(300_000), Buffer.alloc(2 ** 20)]));
  await home.expectRun(0, 'init');
  for (const options of [[], ['--reread']]) await home.expectRun(0, 'backup', 'work', '--audit', ...options);
  await home.expectRun(0, 'restore', 'work', '--as', 'copy');
});

testNeeding(namespaces(), program('debugfs'))(
  'R58: an image whose journal has what its files have not',
  async () => {
    const home = new Home();
    const folder = join(home.folder, 'vms', 'work');
    mkdirSync(folder);
    makeDirtyExt4(join(folder, 'private.img'), { file: 'old' }, { file: 'new' });
    await home.expectRun(0, 'init');
    await home.expectRun(0, 'backup', 'work', '--audit');
  },
);
