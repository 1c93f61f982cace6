/** `config check` and `config show` as they are typed. */

import { beforeAll, describe, expect, test } from 'vitest';
import { Home } from '../../support/home.ts';
import { makeTemp, removeTree } from '../../support/temp.ts';

let home: Home;

beforeAll(() => {
  const folder = makeTemp();
  home = new Home({ folder });
  home.volume('work');
  return () => removeTree(folder);
});

describe('config check', () => {
  test('says all that is wrong with lines, and ends with status 2', async () => {
    home.configure('jobz = 2', '[backup]', 'exlude = ["*.iso"]');
    const { code, stdout, stderr } = await home.runWith([], 'config', 'check');
    const file = `${home.folder}/config.toml`;
    expect(stdout).toBe(
      `${file}: line 1: jobz: unknown key; did you mean jobs?\n${file}: line 3: backup.exlude: unknown key; did you mean exclude?\n`,
    );
    expect([code, stderr]).toEqual([2, expect.stringContaining('is wrong: 2 problems')]);
    const { events } = await home.run('config', 'check');
    expect(events).toContainEqual({
      event: 'config-problem',
      file,
      key: 'jobz',
      line: 1,
      message: expect.any(String) as string,
    });
  });

  test('warns of tables for VMs that are not there, and ends with status 3', async () => {
    home.configure('[vm.wrok]', 'compress = false', '[vm.work]', 'compress = false');
    const { code, stderr } = await home.runWith([], 'config', 'check');
    expect([code, stderr]).toEqual([
      3,
      expect.stringContaining('line 1: [vm.wrok]: there is no VM of this name; did you mean work?'),
    ]);
  });

  test('says that it is right, with status 0; a missing file is wrong usage', async () => {
    home.configure('jobs = 2');
    const { code, stdout } = await home.runWith([], 'config', 'check');
    expect([code, stdout]).toEqual([0, expect.stringMatching(/config\.toml is right\.\n$/)]);
    const missing = await home.runWith(['--config', '/nowhere/a.toml'], 'config', 'check');
    expect([missing.code, missing.stderr]).toEqual([2, expect.stringContaining('/nowhere/a.toml')]);
  });
});

test('config show: what holds for a VM, and from where; one that is not there is named', async () => {
  home.configure('jobs = 2', '[vm.work]', 'exclude = ["é.iso"]');
  const { stdout } = await home.runWith([], 'config', 'show', 'work', '--effective');
  expect(stdout).toMatch(/^compress = true +# default$/m);
  expect(stdout).toMatch(/^exclude = \[ "\\u00e9\.iso" \] +# \[vm\.work\], line 3$/m);
  const file = await home.runWith([], 'config', 'show');
  expect(file.stdout).toMatch(/^jobs = 2 +# line 1$/m);
  const other = await home.runWith([], 'config', 'show', 'wrok');
  expect([other.code, other.stderr]).toEqual([
    2,
    expect.stringContaining('there is no VM named wrok; did you mean work?'),
  ]);
});
