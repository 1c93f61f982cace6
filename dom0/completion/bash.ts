/** Completion in bash, without the package bash-completion. */

import type { CommandNode } from '../command-tree.ts';
import { allCommands, argumentKinds, kindOf, kindWord } from './words.ts';

/** The script, for one program of which `tree` is the command line. */
export function bashScript(tree: CommandNode): string {
  return `# bash completion of qubes-backup; made by "qubes-backup completion bash"

# Sets what may follow the command whose words are $1.
_qubes_backup_command() {
  case $1 in
${allCommands(tree).map(caseOf).join('\n')}
  esac
}

_qubes_backup() {
  local current=\${COMP_WORDS[COMP_CWORD]} at='' pending='' subcommands flags takes args word kind i count=0
  local -a where=()
  COMPREPLY=()
  _qubes_backup_command ''
  local all_flags=$flags all_takes=$takes; flags='' takes=''
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ -n $pending ]]; then
      if [[ $pending == --local || $pending == --config ]]; then where+=("$pending" "$word"); fi
      pending=''
    elif [[ $word == -* ]]; then
      if [[ " $takes $all_takes " == *" $word:"* ]]; then pending=$word; fi
    elif [[ " $subcommands " == *" $word "* ]]; then
      at=\${at:+$at }$word
      _qubes_backup_command "$at"
    else
      count=$((count + 1))
    fi
  done
  if [[ -n $pending ]]; then
    kind=" $takes $all_takes "
    kind=\${kind#*" $pending:"}
    kind=\${kind%% *}
  elif [[ $current == -* ]]; then
    kind="=\${flags// /,},\${all_flags// /,}"
  elif [[ -n $subcommands ]]; then
    kind="=\${subcommands// /,}"
  else
    local -a kinds=($args)
    i=$count
    if [[ \${#kinds[@]} -gt 0 && \${kinds[-1]} == ... && $i -gt $((\${#kinds[@]} - 2)) ]]; then i=$((\${#kinds[@]} - 2)); fi
    kind=\${kinds[i]-}
  fi
  case $kind in
    files) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    vms) mapfile -t COMPREPLY < <(compgen -W "$(qubes-backup "\${where[@]}" vm-names 2>/dev/null)" -- "$current") ;;
    =*) kind=\${kind#=}; mapfile -t COMPREPLY < <(compgen -W "\${kind//,/ }" -- "$current") ;;
  esac
}
complete -F _qubes_backup qubes-backup
`;
}

function caseOf(command: CommandNode): string {
  const { options } = command;
  const values = options.flatMap(({ names, value }) =>
    value === undefined ? [] : names.map((name) => `${name}:${kindWord(kindOf(value))}`),
  );
  const set = {
    subcommands: command.commands.map(({ words }) => words.at(-1) ?? ''),
    flags: options.flatMap(({ names }) => names),
    takes: values,
    args: argumentKinds(command),
  };
  const lines = Object.entries(set).map(([name, words]) => `      ${name}='${words.join(' ')}'`);
  return [`    '${command.words.join(' ')}')`, ...lines, '      ;;'].join('\n');
}
