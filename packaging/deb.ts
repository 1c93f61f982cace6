/** Debian packages, by dpkg-deb. There are no maintainer scripts: nothing that is installed needs one. */

import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PROJECT } from './bundle.ts';
import type { Package } from './contents.ts';
import type { Release } from './release.ts';
import { runTool } from './tool.ts';
import { file, layOut, merge } from './tree.ts';
import type { Tree } from './tree.ts';

/** Makes the package in the folder `to`; `work` is an empty folder. Answers the file's name. */
export async function makeDeb(what: Package, release: Release, work: string, to: string): Promise<string> {
  const control = await readFile(join(PROJECT, 'packaging', 'deb', `${what.name}.control`), 'utf8');
  const architecture = /^Architecture: (\w+)$/m.exec(control)?.[1] ?? '';
  const name = `${what.name}_${release.version}_${architecture}.deb`;
  const root = join(work, 'root');
  await mkdir(root);
  const controlFiles: Tree = new Map([
    ['/DEBIAN/control', file(control.replaceAll('@VERSION@', release.version))],
    ['/DEBIAN/md5sums', file(await checksums(what.tree))],
    ...conffiles(what.tree),
  ]);
  await layOut(merge(what.tree, controlFiles), root, release.seconds);
  // Level 3: Node.js is most of it, and four more seconds of work would save a tenth.
  await runTool(
    'dpkg-deb',
    ['--root-owner-group', '-Zzstd', '-z3', '--build', root, join(to, name)],
    release,
  );
  return name;
}

/** Files under /etc are the administrator's to change. Links there are not: they go with the package. */
function conffiles(tree: Tree): Tree {
  const paths = [...tree].filter(([path, { kind }]) => path.startsWith('/etc/') && kind === 'file');
  if (paths.length === 0) return new Map();
  return new Map([['/DEBIAN/conffiles', file(paths.map(([path]) => `${path}\n`).join(''))]]);
}

/** What `dpkg --verify` compares with: md5sum(1) of all other files. */
async function checksums(tree: Tree): Promise<string> {
  const lines: string[] = [];
  for (const [path, entry] of tree) {
    if ((entry.kind !== 'file' && entry.kind !== 'copy') || path.startsWith('/etc/')) continue;
    const bytes = entry.kind === 'file' ? entry.bytes : await readFile(entry.source);
    lines.push(`${createHash('md5').update(bytes).digest('hex')}  ${path.slice(1)}\n`);
  }
  return lines.sort().join('');
}
