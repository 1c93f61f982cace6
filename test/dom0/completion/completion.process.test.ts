/** The completion scripts, in the shells that they are for. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { Home } from '../../support/home.ts';
import { program, testNeeding } from '../../support/needs.ts';
import { PROJECT, run } from '../../support/processes.ts';
import { makeTemp, removeTree } from '../../support/temp.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

let folder: string;
let home: Home;

beforeAll(() => {
  folder = makeTemp();
  home = new Home({ folder });
  home.volume('work');
  home.volume('vault');
  writeFileSync(join(folder, 'key one'), '');
  return () => removeTree(folder);
});

/** What each shell offers for a line, whose last word is what was typed of a word so far. */
const SCRIPTS: Readonly<Record<Shell, string>> = {
  // As bash calls it: with the words of the line, and the last one's number.
  bash: `. "$1"; shift
    for line in "$@"; do
      COMP_WORDS=($line); case $line in *' ') COMP_WORDS+=('') ;; esac
      COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _qubes_backup; echo "== \${COMPREPLY[*]}"
    done`,
  // compadd is what gives an offer to zsh: here it prints it, and all else is zsh's own.
  zsh: `autoload -Uz compinit && compinit -u -D; script=$1; shift; . $script
    function _describe() { while [[ $1 == -* ]]; do shift 1; [[ $1 == option ]] && break; done; shift
      for name in $@; do [[ $name == -- ]] || print -l -- "\${(@)\${(P@)name}%%:*}"; done }
    function _files() { print -l -- *(N) }
    function compadd() { while [[ $1 == -* && $1 != -- ]]; do shift; done; shift; print -l -- $@ }
    for line in $@; do words=(\${=line}); [[ $line == *' ' ]] && words+=(''); CURRENT=$#words
      echo "== \${(j: :)\${(f)$(_qubes_backup)}}"; done`,
  fish: `source $argv[1]
    for line in $argv[2..]; set found (complete -C $line | string replace -r '\\t.*' '' | string join ' '); echo "== $found"; end`,
};

/** What is offered for each of `lines`, sorted, without what does not begin as the last word does. */
async function offered(shell: Shell, lines: readonly string[]): Promise<string[][]> {
  const script = join(folder, `script.${shell}`);
  const printed = await run(join(PROJECT, 'bin/qubes-backup'), ['completion', shell]);
  expect(printed.stderr).toBe('');
  writeFileSync(script, printed.stdout);
  const options = { bash: ['--norc', '--noprofile'], zsh: ['-f'], fish: ['--no-config'] }[shell];
  const { stdout, stderr, code } = await run(
    shell,
    [...options, '-c', SCRIPTS[shell], ...(shell === 'fish' ? [] : [shell]), script, ...lines],
    {
      cwd: folder,
      env: { HOME: folder, PATH: `${join(PROJECT, 'bin')}:${process.env['PATH'] ?? ''}`, TERM: 'dumb' },
    },
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const answers = stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line.startsWith('== '));
  return answers.map((answer, index) => {
    const typed = lines[index]?.split(' ').at(-1) ?? '';
    return answer
      .slice(3)
      .split(' ')
      .filter((word) => word !== '' && word.startsWith(typed))
      .sort();
  });
}

describe.each(SHELLS)('completion in %s', (shell) => {
  testNeeding(program(shell))('offers commands, options, words, files and VMs', async () => {
    const local = `--local ${folder}`;
    const answers = await offered(shell, [
      'qubes-backup re',
      'qubes-backup key ',
      'qubes-backup --json key r',
      'qubes-backup backup --au',
      'qubes-backup key list --js',
      'qubes-backup --sandbox b',
      'qubes-backup ls --volume ',
      'qubes-backup completion ',
      'qubes-backup --key-file k',
      `qubes-backup ${local} backup `,
      `qubes-backup ${local} backup work v`,
      `qubes-backup ${local} extract work --into-vm v`,
      `qubes-backup ${local} restore w`,
      `qubes-backup ${local} ls work `,
      'qubes-backup --local /nowhere backup ',
    ]);
    expect(answers).toEqual([
      ['report', 'restore'],
      ['add', 'change', 'list', 'paper', 'remove', 'rotate'],
      ['remove', 'rotate'],
      ['--audit'],
      ['--json'],
      ['bubblewrap'],
      ['private', 'root'],
      ['bash', 'fish', 'zsh'],
      [expect.stringContaining('key')],
      ['vault', 'work'],
      ['vault'],
      ['vault'],
      ['work'],
      [],
      [],
    ]);
  });
});
