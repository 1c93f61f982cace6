/** Every call that the driver can make of dom0 is on a page that cannot be old, and there is no way around the tables. */

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { METHODS } from '../../dom0/domains/qubes/admin/methods.ts';
import { TOOL_NAMES } from '../../dom0/domains/qubes/tools/tools.ts';
import { PAGE, qubesCalls } from '../../docs/generate/qubes-calls.ts';
import { PROJECT } from '../support/processes.ts';

/** The driver's own files, with their text. */
function driverFiles(): readonly (readonly [file: string, text: string])[] {
  const folder = join(PROJECT, 'dom0/domains/qubes');
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => [file, readFileSync(join(folder, file), 'utf8')] as const);
}

describe('docs/qubes-calls.md', () => {
  it('is what `npm run docs:calls` makes of this version: run that', () => {
    expect(readFileSync(PAGE, 'utf8')).toBe(qubesCalls());
  });

  it('has every program and every method', () => {
    const page = qubesCalls();
    for (const name of TOOL_NAMES) expect(page).toContain(`\n### \`${name}\`\n`);
    for (const { method } of Object.values(METHODS)) expect(page).toContain(`| \`${method}+`);
  });
});

describe('the driver', () => {
  it('starts processes by the table of tools alone', () => {
    const starting = driverFiles().filter(([, text]) =>
      /child_process|startService|runProgram|spawnDetached/.test(text),
    );
    expect(starting.map(([file]) => file).sort()).toEqual(['service-call.ts', 'tools/tools.ts']);
    const finding = driverFiles().filter(([, text]) => /\.find\('[a-z-]+',/.test(text));
    expect(finding.map(([file]) => file)).toEqual(['service-call.ts']);
  });

  it('names methods of qubesd in their table alone', () => {
    const naming = driverFiles().filter(([, text]) =>
      text
        .split('\n')
        .some((line) => /['"`]admin\.[a-zA-Z]+/.test(line) && !/^\s*(?:\*|\/\/|\/\*)/.test(line)),
    );
    expect(naming.map(([file]) => file)).toEqual(['admin/methods.ts']);
  });
});
