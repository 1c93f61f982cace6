/** Completion in zsh, by its completion system. */

import type { CommandNode } from '../command-tree.ts';
import { allCommands, argumentKinds, kindOf, kindWord } from './words.ts';

/** The script, for one program of which `tree` is the command line. */
export function zshScript(tree: CommandNode): string {
  return `#compdef qubes-backup
# zsh completion of qubes-backup; made by "qubes-backup completion zsh"

# Sets what may follow the command whose words are $1.
_qubes_backup_command() {
  case $1 in
${allCommands(tree).map(caseOf).join('\n')}
  esac
}

_qubes_backup() {
  local at='' pending='' word kind
  local -i i count=0
  local -a subcommands flags args where all_flags
  local -A takes all_takes
  _qubes_backup_command ''
  all_flags=("\${flags[@]}") all_takes=("\${(@kv)takes}") flags=() takes=()
  for ((i = 2; i < CURRENT; i++)); do
    word=$words[i]
    if [[ -n $pending ]]; then
      if [[ $pending == (--local|--config) ]]; then where+=("$pending" "\${(Q)word}"); fi
      pending=''
    elif [[ $word == -* ]]; then
      if (( \${+takes[$word]} || \${+all_takes[$word]} )); then pending=$word; fi
    elif (( \${subcommands[(I)$word:*]} )); then
      at="\${at:+$at }$word"
      _qubes_backup_command "$at"
    else
      count+=1
    fi
  done
  if [[ -n $pending ]]; then
    kind=\${takes[$pending]-$all_takes[$pending]}
  elif [[ $words[CURRENT] == -* ]]; then
    _describe -o option flags -- all_flags
    return
  elif (( $#subcommands )); then
    _describe command subcommands
    return
  else
    if [[ $args[-1] == ... ]] && (( count > $#args - 2 )); then count=$(( $#args - 2 )); fi
    kind=$args[count+1]
  fi
  case $kind in
    files) _files ;;
    vms) compadd -- \${(f)"$(qubes-backup $where vm-names 2>/dev/null)"} ;;
    '='*) compadd -- \${(s:,:)kind#=} ;;
  esac
}

if [[ $funcstack[1] == _qubes-backup ]]; then
  _qubes_backup "$@"
else
  compdef _qubes_backup qubes-backup
fi
`;
}

function caseOf(command: CommandNode): string {
  const { options } = command;
  const values = options.flatMap(({ names, value }) =>
    value === undefined ? [] : names.flatMap((name) => [name, kindWord(kindOf(value))]),
  );
  const described = (words: readonly string[], text: string) =>
    words.map((word) => quoted(`${word}:${text}`));
  const set = {
    subcommands: command.commands.flatMap(({ words, summary }) => described(words.slice(-1), summary)),
    flags: options.flatMap(({ names, description }) => described(names, description)),
    takes: values.map(quoted),
    args: argumentKinds(command).map(quoted),
  };
  const lines = Object.entries(set).map(([name, words]) => `      ${name}=(${words.join(' ')})`);
  return [`    '${command.words.join(' ')}')`, ...lines, '      ;;'].join('\n');
}

/** As one word of the shell. */
function quoted(text: string): string {
  return `'${text.replace(/'/g, "'\\''")}'`;
}
