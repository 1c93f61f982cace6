/** The programs of the machine that make packages. */

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Release } from './release.ts';

/** The Debian package of each. */
const PACKAGE_OF = { 'dpkg-deb': 'dpkg', rpmbuild: 'rpm', tar: 'tar' } as const;

/** Runs `program` in the same small environment everywhere. Throws with what it said, or what to install. */
export async function runTool(
  program: keyof typeof PACKAGE_OF,
  args: readonly string[],
  { seconds }: Release,
): Promise<void> {
  const env = {
    ...{ PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', TZ: 'UTC' },
    SOURCE_DATE_EPOCH: String(seconds),
  };
  try {
    await promisify(execFile)(program, args, { env, maxBuffer: 16 * 1024 * 1024 });
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const missing = 'code' in error && error.code === 'ENOENT';
    const stderr = 'stderr' in error ? String(error.stderr) : '';
    throw new Error(
      missing
        ? `${program} is missing: install the Debian package ${PACKAGE_OF[program]}`
        : `${program} failed: ${stderr || error.message}`,
      { cause: error },
    );
  }
}
