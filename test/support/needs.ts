/**
 * What some tests need of the machine. A test of which a need is missing is skipped, and the reason is printed
 * at the end of the run (skip-reporter.ts).
 */

import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { test } from 'vitest';
import type { TestContext } from 'vitest';
import { makeTemp, removeTree } from './temp.ts';

/** Why a need is not met, or undefined if it is. */
export type Missing = string | undefined;

/** True if `program` is in PATH or one of the folders of system programs. */
export function isInstalled(program: string): boolean {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false; // Not there: the next folder may have it.
    }
  });
}

export function program(name: string): Missing {
  return isInstalled(name) ? undefined : `${name} is not installed`;
}

export const root: Missing = process.getuid?.() === 0 ? undefined : 'needs root';
export const notRoot: Missing = process.getuid?.() === 0 ? 'needs an unprivileged user' : undefined;

/** Whether this user may create the namespaces of a sandbox. */
export function namespaces(): Missing {
  const flags =
    root === undefined
      ? ['--net', '--pid', '--fork', '--mount']
      : ['--user', '--net', '--pid', '--fork', '--mount'];
  const tried = spawnSync('unshare', [...flags, 'true'], { stdio: 'ignore' });
  return tried.status === 0 ? undefined : 'namespaces are forbidden here';
}

/** Whether user attributes can be set in `folder`, which is the caller's own. */
export function supportsAttributes(folder: string): boolean {
  if (!isInstalled('setfattr')) return false;
  const set = spawnSync('setfattr', ['-n', 'user.qib-probe', '-v', '1', '--', folder], { stdio: 'ignore' });
  if (set.status !== 0) return false;
  return spawnSync('setfattr', ['-x', 'user.qib-probe', '--', folder], { stdio: 'ignore' }).status === 0;
}

/** Whether they can be set in temporary folders. */
export function attributes(): Missing {
  const folder = makeTemp();
  try {
    return supportsAttributes(folder) ? undefined : 'no extended attributes here';
  } finally {
    removeTree(folder);
  }
}

/** Whether chattr(1) works on temporary files. */
export function fileFlags(): Missing {
  const folder = makeTemp();
  try {
    const set = spawnSync('chattr', ['+d', '--', folder], { stdio: 'ignore' });
    return set.status === 0 ? undefined : 'no chattr flags here';
  } finally {
    removeTree(folder);
  }
}

/** `test`, skipped with the first reason of `needs` that is missing. */
export function testNeeding(...needs: Missing[]) {
  const reason = needs.find((need) => need !== undefined);
  return (title: string, body: (context: TestContext) => void | Promise<void>, timeout?: number): void => {
    test(
      title,
      async (context) => {
        context.skip(reason !== undefined, reason);
        await body(context);
      },
      timeout,
    );
  };
}
