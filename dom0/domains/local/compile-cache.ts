/**
 * Compiled code of services, kept beside them: a service then starts in half of the processor time. It is made by `npm ci`
 * (packaging/prepare.ts), out of any sandbox; a service in one can only read it. Without it services compile themselves.
 */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { ServiceRole } from '../../../shared/node-options.ts';

/** Below the program's folder, of services that run from their sources. */
export const COMPILE_CACHE = 'node_modules/.cache/qubes-backup';

/** The same of services that are bundled: beside their code, the one folder that they see. */
export function bundledCompileCache(role: ServiceRole): string {
  return join('services', role, 'compiled');
}

/** Variables by which Node.js finds `cache`, a path below the program's folder, which the service sees as `inside`. */
export function compileCache(
  program: string,
  inside: string,
  cache: string,
): Readonly<Record<string, string>> {
  if (!existsSync(join(program, cache))) return {};
  return { NODE_COMPILE_CACHE: join(inside, cache), NODE_COMPILE_CACHE_PORTABLE: '1' };
}
