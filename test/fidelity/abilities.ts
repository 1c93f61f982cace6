/** What edits are possible in a folder, by whom runs the test and on which file system. */

import { spawnSync } from 'node:child_process';
import { symlinkSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { systemCode } from '../../shared/errors.ts';
import { root, supportsAttributes } from '../support/needs.ts';
import type { Abilities } from './editor.ts';

export function abilitiesIn(folder: string): Abilities {
  const isRoot = root === undefined;
  return {
    root: isRoot,
    attributes: supportsAttributes(folder),
    flags: isRoot && takesFlags(folder),
    longestTarget: longestTarget(folder),
  };
}

function takesFlags(folder: string): boolean {
  const chattr = (flags: string) => spawnSync('chattr', [flags, '--', folder], { stdio: 'ignore' }).status;
  return chattr('+iadSA') === 0 && chattr('-iadSA') === 0;
}

/** PATH_MAX without its NUL, where the file system has no limit of its own (xfs). */
function longestTarget(folder: string): number {
  const probe = join(folder, 'probe');
  for (const length of [4095, 1023]) {
    try {
      symlinkSync('x'.repeat(length), probe);
      unlinkSync(probe);
      return length;
    } catch (error) {
      if (systemCode(error) !== 'ENAMETOOLONG') throw error;
    }
  }
  throw new Error(`no symlinks can be made in ${folder}`);
}
