/** `npm run docs:calls`: docs/qubes-calls.md, made of the tables that the Qubes driver itself runs by. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { METHODS } from '../../dom0/domains/qubes/admin/methods.ts';
import type { Method } from '../../dom0/domains/qubes/admin/methods.ts';
import { TOOLS, TOOL_NAMES } from '../../dom0/domains/qubes/tools/tools.ts';
import type { Tool } from '../../dom0/domains/qubes/tools/tools.ts';

export const PAGE = join(import.meta.dirname, '..', 'qubes-calls.md');

/** The page as the tables of this version make it. */
export function qubesCalls(): string {
  return `# What the Qubes driver asks of the system

Generated from \`dom0/domains/qubes/tools/tools.ts\` and \`dom0/domains/qubes/admin/methods.ts\` by \`npm run docs:calls\`; a test fails
when it is old. The driver runs no other program and calls no other method. Nothing of another VM is in an argument, but for names of
VMs that qubesd has confirmed.

## Programs

By absolute path, without a shell, in a clean environment, stdin empty but for a service call. What one says is capped. One that takes
longer than its time is killed, with all that it started. What is in capitals stands for a value; \`qib-ID\` is a name of ours, of
8 random hexadecimal digits.

${TOOL_NAMES.map((name) => programSection(name, TOOLS[name])).join('\n')}
## Methods of qubesd

By its socket, one connection a call, as dom0. \`CLASS\` is a class of VMs or of devices. A method that only asks changes nothing,
whatever the answer.

${methodTable('Those that only ask', false)}
${methodTable('Those that change something', true)}`;
}

function programSection(name: string, tool: Tool): string {
  const { paths, package: from, purpose, calls, failure, timeout, root } = tool;
  return `### \`${name}\`

${paths.map(code).join(' or ')}, of the package ${from}; ${root ? 'as root' : 'as root or a user of the group qubes'}; ${timeout === undefined ? 'as long as the session lasts' : `at most ${duration(timeout)}`}.
What for: ${purpose}.

${calls.map((form) => `- \`${name} ${form}\``).join('\n')}

If it fails: ${failure}
`;
}

function methodTable(title: string, changing: boolean): string {
  const methods: readonly Method[] = Object.values(METHODS);
  const rows = methods
    .filter(({ changes }) => changes === changing)
    .map(({ method, argument, destination, timeout, use, failure }) => [
      code(`${method}+${argument}`),
      destination,
      use,
      duration(timeout),
      failure,
    ]);
  const lines = [
    ['method', 'of', 'what for', 'at most', 'if it fails'],
    Array<string>(5).fill('---'),
    ...rows,
  ];
  return `### ${title}

${lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n')}
`;
}

function code(text: string): string {
  return `\`${text}\``;
}

/** Milliseconds as a person says them. */
function duration(milliseconds: number): string {
  const seconds = milliseconds / 1000;
  if (seconds <= 120) return `${seconds} s`;
  return seconds < 7200 ? `${seconds / 60} min` : `${seconds / 3600} h`;
}

if (import.meta.main) writeFileSync(PAGE, qubesCalls());
