/** The rclone back end on real remotes: a folder, and WebDAV. */

import { randomBytes } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { RemoteBackEnd } from '../../../storagevm/remote/back-end.ts';
import { LocalState } from '../../../storagevm/remote/local-state.ts';
import { RcloneDaemon } from '../../../storagevm/remote/rclone-daemon.ts';
import { RcloneRemote } from '../../../storagevm/remote/rclone.ts';
import { program } from '../../support/needs.ts';
import { theRemotes } from '../../support/rclone.ts';
import type { RcloneRemotes } from '../../support/rclone.ts';
import { tempFolder } from '../../support/temp.ts';
import { backEndContract } from '../back-end-contract.ts';

const missing = program('rclone') ?? program('setpriv');
let remotes: RcloneRemotes;
let daemon: RcloneDaemon;

beforeAll(async () => {
  if (missing !== undefined) return;
  remotes = await theRemotes();
  daemon = new RcloneDaemon(remotes.config, { temporary: remotes.temporary });
});
afterAll(() => daemon.stop());

/** More than a sweep removes at once are removed from the folder: rclone asks a WebDAV server 100 times a second at most. */
for (const [kind, many] of [
  ['folder', undefined],
  ['dav', 40],
] as const)
  backEndContract(
    `RcloneRemote on the remote ${kind}`,
    () => {
      const path = randomBytes(6).toString('hex');
      const remote = new RcloneRemote({ remote: `${kind}:${path}`, daemon });
      const state = tempFolder();
      return {
        open: () => new RemoteBackEnd(remote, new LocalState(state, remote.place)),
        damage: async (name, bytes) => {
          const file = join(remotes.folder, path, name);
          await mkdir(dirname(file), { recursive: true });
          await rm(file, { force: true });
          await writeFile(file, bytes);
        },
      };
    },
    missing,
    many,
  );
