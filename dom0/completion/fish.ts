/** Completion in fish. */

import type { ArgumentNode, CommandNode, OptionNode } from '../command-tree.ts';
import { allCommands, kindOf } from './words.ts';
import type { Kind } from './words.ts';

/** The script, for one program of which `tree` is the command line. */
export function fishScript(tree: CommandNode): string {
  const commands = allCommands(tree);
  const valued = commands.flatMap(({ options }) =>
    options.flatMap(({ names, value }) => (value === undefined ? [] : names)),
  );
  return `# fish completion of qubes-backup; made by "qubes-backup completion fish"

# Whether the line leads to the command of these words; then how many arguments it has so far: exactly, or with + at least.
function __qubes_backup_at
    set -l valued ${[...new Set(valued)].join(' ')}
    set -l commands ${commands.flatMap(({ words }) => (words.length === 0 ? [] : [quoted(words.join(' '))])).join(' ')}
    set -l at ''
    set -l count 0
    set -l pending ''
    set -l tokens (commandline -opc)
    for token in $tokens[2..]
        set -l longer (string trim -- "$at $token")
        if test -n "$pending"
            set pending ''
        else if contains -- $token $valued
            set pending $token
        else if string match -q -- '-*' $token
            continue
        else if contains -- $longer $commands
            set at $longer
        else
            set count (math $count + 1)
        end
    end
    test "$at" = "$argv[1]"; or return 1
    switch "$argv[2]"
        case ''
            return 0
        case '*+'
            test $count -ge (string replace '+' '' -- $argv[2])
        case '*'
            test $count -eq $argv[2]
    end
end

function __qubes_backup_vms
    set -l where
    set -l tokens (commandline -opc)
    for i in (seq 2 (math (count $tokens) - 1))
        if contains -- $tokens[$i] --local --config
            set -a where $tokens[$i] $tokens[(math $i + 1)]
        end
    end
    qubes-backup $where vm-names 2>/dev/null
end

complete -c qubes-backup -f
${[...tree.options.map((option) => optionLine(option, undefined)), ...commands.flatMap(linesOf)].join('\n')}
`;
}

function linesOf(command: CommandNode): string[] {
  const at = command.words.join(' ');
  return [
    ...(command.words.length === 0 ? [] : command.options.map((option) => optionLine(option, at))),
    ...command.commands.map(({ words, summary }) =>
      complete([...condition(at), '-a', quoted(words.at(-1) ?? ''), '-d', quoted(summary)]),
    ),
    ...command.args.flatMap((argument, index) => {
      const values = completing(kindOf(argument));
      return values.length === 0 ? [] : [complete([...condition(at, countOf(argument, index)), ...values])];
    }),
  ];
}

function optionLine({ names, description, value }: OptionNode, at: string | undefined): string {
  const flags = names.flatMap((name) =>
    name.startsWith('--') ? ['-l', name.slice(2)] : ['-s', name.slice(1)],
  );
  const values = value === undefined ? [] : valueOf(kindOf(value));
  return complete([
    ...(at === undefined ? [] : condition(at)),
    ...flags,
    ...values,
    '-d',
    quoted(description),
  ]);
}

function countOf({ variadic }: ArgumentNode, index: number): string {
  return `${index}${variadic ? '+' : ''}`;
}

function condition(at: string, count = ''): string[] {
  return ['-n', quoted(`__qubes_backup_at "${at}" ${count}`.trim())];
}

function completing(kind: Kind): string[] {
  if (kind === 'none') return [];
  if (kind === 'files') return ['-F'];
  return ['-a', quoted(kind === 'vms' ? '(__qubes_backup_vms)' : kind.join(' '))];
}

/** An option's value: nothing is offered but what it may be. */
function valueOf(kind: Kind): string[] {
  return [kind === 'files' ? '-r' : '-x', ...completing(kind)];
}

function complete(words: readonly string[]): string {
  return ['complete', '-c', 'qubes-backup', ...words].join(' ');
}

/** As one word of the shell, which takes a backslash before a quote or another backslash. */
function quoted(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`;
}
