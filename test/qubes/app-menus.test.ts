/** R56: menus are copied as the user of dom0's desktop, and are never what a restore fails on. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { AppMenus } from '../../dom0/domains/qubes/app-menus.ts';
import { TOOLS } from '../../dom0/domains/qubes/tools/tools.ts';
import { BackupError } from '../../shared/errors.ts';
import { tempFolder } from '../support/temp.ts';

async function copy(groups: string | undefined, failure?: Error) {
  const file = join(tempFolder(), 'group');
  if (groups !== undefined) writeFileSync(file, groups);
  const calls: string[] = [];
  const warnings: string[] = [];
  const run = (tool: string, args: readonly string[]) => {
    calls.push([tool, ...args].join(' '));
    return failure === undefined ? Promise.resolve('') : Promise.reject(failure);
  };
  await new AppMenus({ run }, (text) => void warnings.push(text), file).copy('old', 'new');
  return { calls, warnings };
}

const GROUPS = 'root:x:0:\nqubes-x:x:7:mallory\nqubes:x:98:alice,bob\n';

test('as Qubes does it when it clones a VM', async () => {
  const [form] = TOOLS.runuser.calls;
  const wanted = form.replace('USER', 'alice').replace('VM VM', 'old new');
  expect(await copy(GROUPS)).toEqual({ calls: [`runuser ${wanted}`], warnings: [] });
});

test.each([undefined, '', 'qubes:x:98:\n', 'qubes:x:98:-oops\n'])(
  'not at all where nobody has menus: %j',
  async (groups) => {
    expect(await copy(groups)).toEqual({ calls: [], warnings: [] });
  },
);

test('a failure is a warning', async () => {
  expect((await copy(GROUPS, new BackupError('io', 'no desktop'))).warnings).toEqual(['no desktop']);
});
