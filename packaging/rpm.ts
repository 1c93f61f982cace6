/** RPM packages, by rpmbuild: also that of Debian. One package suits every release of Fedora in use. */

import { copyFile, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PROJECT } from './bundle.ts';
import type { Package } from './contents.ts';
import type { Release } from './release.ts';
import { runTool } from './tool.ts';
import { layOut } from './tree.ts';

/** Makes the package in the folder `to`; `work` is an empty folder. Answers the file's name. */
export async function makeRpm(what: Package, release: Release, work: string, to: string): Promise<string> {
  const [tree, made] = [join(work, 'root'), join(work, 'RPMS')];
  const folder = join(PROJECT, 'packaging', 'rpm');
  await mkdir(tree);
  await layOut(what.tree, tree, release.seconds);
  const defines = {
    ...{
      _topdir: join(work, 'rpmbuild'),
      _rpmdir: made,
      _rpmfilename: '%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm',
    },
    ...{ _tmppath: work, packaging: folder, tree, product_version: release.version },
  };
  await runTool(
    'rpmbuild',
    [
      ...['-bb', '--quiet', '--target', 'x86_64-linux'],
      ...Object.entries(defines).flatMap(([name, value]) => ['--define', `${name} ${value}`]),
      join(folder, `${what.name}.spec`),
    ],
    release,
  );
  const [name, ...others] = await readdir(made);
  if (name === undefined || others.length > 0) throw new Error(`${what.name}.spec must make one package`);
  await copyFile(join(made, name), join(to, name));
  return name;
}
