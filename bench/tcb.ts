/** `npm run tcb`: the code that must be trusted with the keys, counted by what dom0's entry points reach. */

import { realpathSync } from 'node:fs';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SourceModule } from './support/import-graph.ts';
import { COMPILES_TEXT, PROJECT, trusted } from './support/trusted.ts';

interface Group {
  files: number;
  lines: number;
}

const { modules, scripts, node } = trusted();
const own = modules.filter((module) => module.package === undefined);
const foreign = modules.filter((module) => module.package !== undefined);

/** Sums by the name that `nameOf` gives, sorted by it. */
function grouped<T extends { readonly lines: number }>(items: readonly T[], nameOf: (item: T) => string) {
  const groups = new Map<string, Group>();
  for (const item of items) {
    const group = groups.get(nameOf(item)) ?? { files: 0, lines: 0 };
    group.files += 1;
    group.lines += item.lines;
    groups.set(nameOf(item), group);
  }
  return [...groups].sort(([a], [b]) => (a < b ? -1 : 1));
}

const COLUMNS = [34, 7, 9];

function row(name: string, files: number | string, lines: number | string): void {
  const number = (value: number | string) => (typeof value === 'number' ? value.toLocaleString('en') : value);
  console.log(
    `  ${name.padEnd(COLUMNS[0] ?? 0)}${number(files).padStart(COLUMNS[1] ?? 0)}${number(lines).padStart(COLUMNS[2] ?? 0)}`,
  );
}

function table(title: string, groups: readonly (readonly [string, Group])[]): Group {
  const total = { files: 0, lines: 0 };
  row(title, 'files', 'lines');
  for (const [name, { files, lines }] of groups) {
    row(name, files, lines);
    total.files += files;
    total.lines += lines;
  }
  row('total', total.files, total.lines);
  console.log();
  return total;
}

const folderOf = ({ file }: SourceModule) => file.split('/').slice(0, -1).join('/');

function versionOf(name: string): string {
  const file = foreign.find((module) => module.package === name)?.file ?? '';
  const root = file.slice(0, file.lastIndexOf(`node_modules/${name}/`) + `node_modules/${name}/`.length);
  return (JSON.parse(readFileSync(join(PROJECT, root, 'package.json'), 'utf8')) as { version: string })
    .version;
}

console.log(
  'Who has the keys: all code that runs in dom0’s process. Lines are lines of code, without blank ones and comments.\n',
);
const ours = table('this program', grouped(own, folderOf));
const packages = table(
  'packages',
  grouped(foreign, (module) => `${module.package ?? ''} ${versionOf(module.package ?? '')}`),
);
const texts = foreign.filter(({ file }) => file.includes('/zod/v4/locales/'));
const shell = table(
  'shell scripts',
  scripts.map(({ file, lines }) => [file, { files: 1, lines }] as const),
);

console.log(
  `Of zod, ${texts.length} files with ${texts.reduce((sum, { lines }) => sum + lines, 0).toLocaleString('en')} lines are texts in other languages, which its one entry point loads.\n`,
);
console.log('And what runs it:');
console.log(`  Node.js ${node.version}, ${node.path}: ${(node.bytes / 2 ** 20).toFixed(0)} MiB`);
console.log(`  SHA-256 ${node.sha256}`);
console.log(
  `  of its modules: ${[...new Set(modules.flatMap(({ builtins }) => builtins))].sort().join(', ')}`,
);
console.log(
  `  /bin/sh, here ${realpathSync('/bin/sh')}, and what the local driver calls: bwrap or unshare, setpriv, env, mount, cp`,
);
console.log('  the kernel, and on Qubes OS Xen and dom0 itself\n');
console.log(
  'Code among the packages that would compile text as code. The launcher’s --disallow-code-generation-from-strings forbids it:',
);
for (const [file, why] of Object.entries(COMPILES_TEXT)) console.log(`  ${file}: ${why}`);
console.log();
console.log(
  `${ours.lines.toLocaleString('en')} lines of this program, ${packages.lines.toLocaleString('en')} of packages, ${shell.lines.toLocaleString('en')} of shell; no native code but Node.js.`,
);
