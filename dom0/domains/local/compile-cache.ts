/**
 * Compiled code of the services of a checkout, kept beside the packages: a service then starts in a quarter of the processor time. It
 * is made by `npm ci` (packaging/compile-services.ts), out of any sandbox; a service in one can only read it. Without it services
 * compile themselves.
 */

import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** Below the program's folder; the command line keeps its own there as well (bin/qubes-backup). */
export const COMPILE_CACHE = 'node_modules/.cache/qubes-backup';

/** Variables by which Node.js finds it; `inside`: the program's folder as the service sees it. */
export function compileCache(program: string, inside: string): Readonly<Record<string, string>> {
  if (!existsSync(join(program, COMPILE_CACHE))) return {};
  return { NODE_COMPILE_CACHE: join(inside, COMPILE_CACHE), NODE_COMPILE_CACHE_PORTABLE: '1' };
}
