/**
 * File systems that are mounted inside what a sandbox is shown. Some sandboxes bring them along, others show what lies below them,
 * which would pass for what is there. So something empty is bound over each: a reader then sees, in every sandbox, that another file
 * system is there, and says that it is not part of the volume.
 */

import { lstat, readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bind } from './local/sandbox-spec.ts';
import { systemCode } from '../../shared/errors.ts';

/** `binds`, and over each mount inside a folder of them something empty; `empty` is a folder with nothing in it. */
export async function maskMounts(binds: readonly Bind[], empty: string): Promise<readonly Bind[]> {
  const mounts = visibleMounts(await readFile('/proc/self/mountinfo', 'latin1'));
  const masks = await Promise.all(binds.map((bind) => masksOf(bind, mounts, empty)));
  return [...binds, ...masks.flat()];
}

async function masksOf({ source, target }: Bind, mounts: readonly string[], empty: string): Promise<Bind[]> {
  const folder = await realpath(source);
  const inside = mounts.filter((mount) => mount.startsWith(folder === '/' ? folder : `${folder}/`));
  const outermost = inside.filter((mount) => !inside.some((other) => mount.startsWith(`${other}/`)));
  const masks = outermost.map(async (mount): Promise<Bind[]> => {
    const kind = await kindOf(mount);
    if (kind === undefined) return [];
    const place = join(target, mount.slice(folder.length));
    return [{ source: kind === 'folder' ? empty : '/dev/null', target: place, writable: false }];
  });
  return (await Promise.all(masks)).flat();
}

/** Undefined of what cannot be reached. */
async function kindOf(path: string): Promise<'folder' | 'other' | undefined> {
  try {
    return (await lstat(path)).isDirectory() ? 'folder' : 'other';
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return undefined;
  }
}

/**
 * The mount points of /proc/self/mountinfo (proc_pid_mountinfo(5)) that can be reached: a later mount at or above a place hides what
 * was mounted there before. Exported for tests.
 */
export function visibleMounts(text: string): readonly string[] {
  const mounts = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [id = '', parent = '', , , point = ''] = line.split(' ');
      return { id, parent, path: unescaped(point) };
    });
  const parents = new Map(mounts.map(({ id, parent }) => [id, parent]));
  const isBelow = (id: string | undefined, above: string): boolean => {
    const seen = new Set<string>();
    for (let at = id; at !== undefined && !seen.has(at); at = parents.get(at)) {
      if (at === above) return true;
      seen.add(at);
    }
    return false;
  };
  const contains = (folder: string, path: string) =>
    path === folder || path.startsWith(folder === '/' ? folder : `${folder}/`);
  return mounts
    .filter(({ id, path }) => !mounts.some((other) => contains(other.path, path) && !isBelow(id, other.id)))
    .map(({ path }) => path);
}

/** Space, tab, newline and backslash are octal; the bytes are those of UTF-8. */
function unescaped(point: string): string {
  const bytes = point.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
