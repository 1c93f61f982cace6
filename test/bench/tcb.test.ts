/** R02: what dom0's process can reach at all. A new import has to be added here, by somebody who has thought about it. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { importGraph } from '../../bench/support/import-graph.ts';
import { COMPILES_TEXT, PROJECT, trusted } from '../../bench/support/trusted.ts';
import { tempFolder } from '../support/temp.ts';

/** What the code may ask of Node.js. No zlib, no vm, no worker, no network but the socket of the state lock. */
const BUILTINS = [
  ...['child_process', 'crypto', 'events', 'fs', 'fs/promises', 'net', 'path', 'process', 'readline'],
  ...['timers/promises', 'tty', 'util'],
];

const PACKAGES = [
  ...[
    '@clack/core',
    '@noble/ciphers',
    '@noble/hashes',
    '@scure/bip39',
    'ansi-regex',
    'cbor-x',
    'cli-progress',
    'commander',
  ],
  ...[
    'emoji-regex',
    'fast-string-truncated-width',
    'fast-string-width',
    'fast-wrap-ansi',
    'is-fullwidth-code-point',
    'sisteransi',
    'smol-toml',
    'string-width',
    'strip-ansi',
    'zod',
  ],
];

describe('R02: dom0’s process', () => {
  const { modules, scripts, node } = trusted();
  const own = modules.filter((module) => module.package === undefined);

  it('consists of dom0’s own code, what is shared, and a few packages', () => {
    expect(own.filter(({ file }) => !/^(dom0|shared|services\/dom0)\//.test(file))).toEqual([]);
    expect(own.length).toBeGreaterThan(50);
    expect([...new Set(modules.flatMap((module) => module.package ?? []))].sort()).toEqual(PACKAGES);
  });

  it('uses nothing of Node.js that decompresses, evaluates, or talks to a network', () => {
    expect([...new Set(modules.flatMap(({ builtins }) => builtins))].sort()).toEqual(BUILTINS);
    const importing = (name: string) =>
      modules.filter(({ builtins }) => builtins.includes(name)).map(({ file }) => file);
    // The lock's name is one of this machine's, and qubesd is reached by its path: sockets of no network.
    const sockets = ['dom0/domains/qubes/admin/connection.ts', 'dom0/domains/qubes/admin/events.ts'];
    expect(importing('net').sort()).toEqual([...sockets, 'dom0/state/lock.ts']);
    const usesOf = (file: string) =>
      readFileSync(join(PROJECT, file), 'utf8').match(/\b(?:connect|listen)\(.*/g) ?? [];
    for (const file of sockets)
      expect(usesOf(file), file).toEqual([expect.stringMatching(/^connect\(\{ path: socketPath,/)]);
    expect(usesOf('dom0/state/lock.ts')).toEqual([expect.stringMatching(/^listen\(`\\0/)]);
  });

  it('starts processes in the drivers alone; commander could, for commands of another kind than ours', () => {
    const starting = modules.filter(({ builtins }) => builtins.includes('child_process'));
    const others = starting.filter(({ file }) => !file.startsWith('dom0/domains/'));
    expect(others.map(({ file }) => file)).toEqual(['node_modules/commander/lib/command.js']);
    // A second argument, a description, is what makes a command an executable of its own.
    expect(readFileSync(join(PROJECT, 'dom0/main.ts'), 'utf8')).not.toMatch(/\.command\([^)]*',/);
  });

  it('loads no native code, imports nothing by a computed name, and compiles no text but where that is switched off', () => {
    const suspicious = modules.filter(({ suspects }) => suspects.length > 0).map(({ file }) => file);
    expect(suspicious.sort()).toEqual(Object.keys(COMPILES_TEXT).sort());
    for (const script of scripts) expect(script.lines, script.file).toBeGreaterThan(2);
    expect(readFileSync(join(PROJECT, 'bin/qubes-backup'), 'utf8')).toContain(
      'node" --disallow-code-generation-from-strings --no-addons',
    );
    expect(node.sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(process.version).toBe(`v${node.version}`);
  });
});

describe('the import graph', () => {
  /** A project of these files, of which `main.ts` is the entry. */
  function graphOf(files: Readonly<Record<string, string>>) {
    const project = tempFolder();
    for (const [file, text] of Object.entries(files)) {
      mkdirSync(dirname(join(project, file)), { recursive: true });
      writeFileSync(join(project, file), text);
    }
    return importGraph(project, ['main.ts']);
  }

  it('follows every form of import but those of types', () => {
    const graph = graphOf({
      'main.ts': `import './a.ts'; import { type B } from './b.ts'; import type { C } from './c.ts'; export * from './d.ts';
        export type { E } from './e.ts'; if (Math.random() > 2) await import('./f.ts'); export * as g from './g.ts';`,
      ...Object.fromEntries(['a', 'b', 'd', 'f', 'g'].map((name) => [`${name}.ts`, 'import "node:os";'])),
    });
    expect([...graph.keys()].sort()).toEqual(['a.ts', 'b.ts', 'd.ts', 'f.ts', 'g.ts', 'main.ts']);
    expect(graph.get('f.ts')?.builtins).toEqual(['os']);
    expect(() => graphOf({ 'main.ts': `import './absent.ts';` })).toThrow('absent.ts, which is not there');
    expect(() => graphOf({ 'main.ts': `import 'absent';` })).toThrow('absent, which is not installed');
  });

  it('finds the file of a package that Node.js would', () => {
    const graph = graphOf({
      'main.ts': `import '@scope/both/sub'; import 'old';`,
      'node_modules/@scope/both/package.json': JSON.stringify({
        exports: {
          './sub': { types: './x.d.ts', browser: './browser.js', require: './c.cjs', import: './m.js' },
        },
      }),
      'node_modules/@scope/both/m.js': `import 'old';`,
      'node_modules/old/package.json': JSON.stringify({ main: 'lib/main' }),
      'node_modules/old/lib/main.js': `const a = require('./more'), b = require('zlib'); require('@scope/both/sub');`,
      'node_modules/old/lib/more/index.js': '',
      'node_modules/@scope/both/c.cjs': '',
    });
    expect([...graph.keys()].sort()).toEqual([
      'main.ts',
      'node_modules/@scope/both/c.cjs',
      'node_modules/@scope/both/m.js',
      'node_modules/old/lib/main.js',
      'node_modules/old/lib/more/index.js',
    ]);
    expect(graph.get('node_modules/old/lib/main.js')).toMatchObject({ package: 'old', builtins: ['zlib'] });
    expect(() =>
      graphOf({
        'main.ts': `import 'closed/inside';`,
        'node_modules/closed/package.json': JSON.stringify({ exports: './index.js' }),
      }),
    ).toThrow('does not export');
  });

  it.each([
    'const name = "a"; await import(name);',
    'const load = eval;',
    'eval("1");',
    'new Function("return 1");',
    'const F = globalThis.Function; new F("");',
    'process.dlopen({ exports: {} }, "x");',
    'const native = "./build/native.node";',
    'import { createRequire } from "node:module";',
    'new WebAssembly.Module(new Uint8Array());',
  ])('suspects %s', (text) => {
    expect(graphOf({ 'main.ts': text }).get('main.ts')?.suspects.length).toBeGreaterThan(0);
  });

  it('suspects no types and no comments, and counts lines of code only', () => {
    const graph = graphOf({
      'main.ts': `/** eval\n * Function */\n\nexport type Run = Function;\n// new Function\nexport const a =\n  \`one\n  two\`;\n\n/* x */ export const b = /\\/\\/"/;\n`,
    });
    expect(graph.get('main.ts')).toMatchObject({ suspects: [], lines: 5 });
  });
});
