/** The storage services for one VM alone: a shell script that carries all that it installs. */

import { createHash } from 'node:crypto';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { PROJECT } from './bundle.ts';
import { storageTree } from './contents.ts';
import type { Release } from './release.ts';
import { runTool } from './tool.ts';
import { layOut } from './tree.ts';

/** What of a VM outlives its restart, beside its homes. */
const LOCAL = '/usr/local';

/** Makes the script in the folder `to`; `work` is an empty folder. Answers the file's name. */
export async function makeInstaller(release: Release, work: string, to: string): Promise<string> {
  const name = 'qubes-backup-storage-install.sh';
  const [root, archive] = [join(work, 'root'), join(work, 'archive.tar')];
  await mkdir(root);
  const tree = await storageTree(`${LOCAL}/lib/qubes-backup`, `${LOCAL}/etc/qubes-rpc`, `${LOCAL}/bin`);
  await layOut(tree, root, release.seconds);
  const owner = ['--owner=root:0', '--group=root:0'];
  await runTool(
    'tar',
    [
      '--create',
      `--file=${archive}`,
      '--format=gnu',
      '--sort=name',
      ...owner,
      `--directory=${root}${LOCAL}`,
      '.',
    ],
    release,
  );
  const payload = gzipSync(await readFile(archive)); // gzip, as every VM has it.
  const script = await readFile(join(PROJECT, 'packaging', 'files', 'storage-install.sh'), 'utf8');
  const head = script
    .replaceAll('@VERSION@', release.version)
    .replaceAll('@SHA256@', createHash('sha256').update(payload).digest('hex'))
    .replaceAll('@SERVICES@', linksBelow(tree, `${LOCAL}/etc/qubes-rpc/`).join(' '))
    .replaceAll('@LINE@', String(script.split('\n').length));
  await writeFile(join(to, name), Buffer.concat([Buffer.from(head), payload]));
  await chmod(join(to, name), 0o755);
  return name;
}

function linksBelow(tree: ReadonlyMap<string, unknown>, folder: string): readonly string[] {
  return [...tree.keys()].filter((path) => path.startsWith(folder)).map((path) => path.slice(folder.length));
}
