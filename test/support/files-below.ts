/** The files of a store or a state folder, for tests that look into them. */

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** Every file below `folder`, with its size. */
export function filesBelow(folder: string): { path: string; size: number }[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return { path, size: readFileSync(path).length };
    });
}
