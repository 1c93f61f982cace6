/** The license text of a package: the program's own, then that of everything that was made part of it. */

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { PROJECT } from './bundle.ts';

/** `packages`: folders of node_modules. */
export function copyright(packages: readonly string[]): string {
  const own = readFileSync(join(PROJECT, 'LICENSE'), 'utf8');
  const byText = new Map<string, string[]>();
  for (const name of packages) {
    const text = licenseOf(name);
    byText.set(text, [...(byText.get(text) ?? []), name]);
  }
  const others = [...byText].map(([text, names]) => `The following is in ${names.join(', ')}:\n\n${text}`);
  return ['qubes-incremental-backup, GPL-2.0-or-later:\n\n' + own, ...others]
    .map((text) => `${text.trimEnd()}\n`)
    .join(`\n${'-'.repeat(78)}\n\n`);
}

/** The packages whose files are among `inputs` of a bundle, sorted. */
export function packagesOf(inputs: readonly string[]): readonly string[] {
  const names = inputs.flatMap(
    (file) => /(?:^|\/)node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*node_modules\/)/.exec(file)?.[1] ?? [],
  );
  return [...new Set(names)].sort();
}

function licenseOf(name: string): string {
  const folder = join(PROJECT, 'node_modules', name);
  const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one));
  if (file !== undefined) return readFileSync(join(folder, file), 'utf8');
  const { license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { license?: string };
  if (license === undefined) throw new Error(`the package ${name} names no license`);
  return `${license}, as its package.json says; it comes without the text.`;
}
