/**
 * Every command that the README and docs/ show. Blocks `sh run` are run as they stand, those of the guide one after the other in one new
 * home; commands in all others, which are for Qubes OS or stand for themselves, are held against the command lines.
 */

import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { commandTree } from '../../dom0/command-tree.ts';
import { program as backup } from '../../dom0/main.ts';
import { program as storage } from '../../storagevm/main.ts';
import { namespaces, program, testNeeding } from '../support/needs.ts';
import { PROJECT, run } from '../support/processes.ts';
import { blocksOf, ourCommands } from '../support/shell-blocks.ts';
import { tempFolder } from '../support/temp.ts';
import { misuse } from '../support/usage.ts';

const docs = readdirSync(join(PROJECT, 'docs'), { recursive: true, encoding: 'utf8' });
const PAGES = [
  'README.md',
  'policies/README.md',
  ...docs.filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`),
].sort();
const KNOWN = ['', 'sh', 'sh run', 'sh qubes', 'toml', 'json', 'text', 'ts'];

const blocksOfPage = (page: string) => blocksOf(readFileSync(join(PROJECT, page), 'utf8'));
const trees = { 'qubes-backup': commandTree(backup), 'qubes-backup-storage': commandTree(storage) };
const { scripts } = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>;
};

describe.each(PAGES)('%s', (page) => {
  test('shows commands as they are', () => {
    for (const block of blocksOfPage(page)) {
      expect(KNOWN, `line ${block.line - 1}`).toContain(block.info);
      for (const command of ourCommands(block)) {
        const [name = ''] = command.split(' ');
        const problem =
          name === 'npm' ? noScript(command) : misuse(command, trees[name as keyof typeof trees]);
        expect(problem, `the block from line ${block.line} on: ${command}`).toBeUndefined();
      }
    }
  });
});

test('commands that are not are noticed', () => {
  const page =
    '```sh\nnpx qubes-backup --local HOME bakup\n[dom0]  sudo qubes-backup nothing\nnpm run nothing\nnpm ci && npm test\n```';
  const [block] = blocksOf(page);
  expect(ourCommands(block!)).toEqual([
    'qubes-backup --local HOME bakup',
    'qubes-backup nothing',
    'npm run nothing',
    'npm ci && npm test',
  ]);
  expect(misuse('qubes-backup --local HOME bakup', trees['qubes-backup'])).toBe('there is no command bakup');
  expect([noScript('npm run nothing'), noScript('npm ci && npm run attack -- --mutants')]).toEqual([
    'nothing',
    undefined,
  ]);
  expect(() => blocksOf('```\nno end')).toThrow('has no end');
});

describe('what is shown runs, in a new home', () => {
  const guide = PAGES.filter((page) => page.startsWith('docs/guide/'));
  const groups = [
    ['README.md'],
    guide,
    ...PAGES.filter((page) => page !== 'README.md' && !guide.includes(page)).map((page) => [page]),
  ];
  for (const pages of groups) {
    const blocks = pages.flatMap((page) =>
      blocksOfPage(page)
        .filter(({ info }) => info === 'sh run')
        .map((block) => ({ page, ...block })),
    );
    if (blocks.length === 0) continue;
    testNeeding(program('bash'), namespaces())(
      `${pages[0] ?? ''}${pages.length > 1 ? ' and the pages beside it' : ''}`,
      async () => {
        const home = join(tempFolder(), 'home');
        mkdirSync(home);
        // Which command fails is said by bash itself; a status of 3, warnings, fails as well.
        const script = blocks
          .map(({ page, line, lines }) => `# ${page}, line ${line}\n${lines.join('\n')}`)
          .join('\n');
        const env = { HOME: home, TMPDIR: home, PATH: process.env['PATH'], LANG: 'C.UTF-8' };
        const { code, stdout, stderr } = await run(
          'bash',
          ['--noprofile', '--norc', '-exuo', 'pipefail', '-c', script],
          {
            cwd: PROJECT,
            env,
            detached: true, // Without a terminal to be asked on.
          },
        );
        expect(code, `${stdout.toString('utf8')}\n${stderr}`).toBe(0);
      },
    );
  }
});

/** The script that `npm run …` names and package.json does not have. */
function noScript(command: string): string | undefined {
  const names = [...command.matchAll(/npm run (?:-s )?([\w:]+)/g)].map(([, name = '']) => name);
  return names.find((name) => !Object.hasOwn(scripts, name));
}
