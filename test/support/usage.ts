/** Whether a line of documentation uses a command as it is: what no run of it is needed for. */

import type { CommandNode } from '../../dom0/command-tree.ts';

/** What is wrong with a line of shell that calls the program of `tree`; undefined if nothing is. */
export function misuse(line: string, tree: CommandNode): string | undefined {
  const words = wordsOf(line.replace(/^sudo /, '')).slice(1);
  let node = tree;
  let args = 0;
  while (words.length > 0) {
    const word = words.shift() ?? '';
    const below = node.commands.find((one) => one.words.at(-1) === word);
    if (word.startsWith('-') && word !== '-') {
      const [name = '', joined] = word.split(/=(.*)/s);
      const option = [...node.options, ...tree.options].find(({ names }) => names.includes(name));
      if (option === undefined) return `there is no option ${name} of "${node.words.join(' ')}"`;
      if (name === '--help') return undefined;
      if (option.value?.required === true && joined === undefined) {
        const value = words.shift();
        if (value === undefined) return `${name} needs a value`;
        if (option.value.choices.length > 0 && !option.value.choices.includes(value))
          return `${name} is not ${value}`;
      }
    } else if (node.commands.length > 0) {
      if (below === undefined) return `there is no command ${word}`;
      node = below;
    } else {
      const argument =
        node.args[args] ?? (node.args.at(-1)?.variadic === true ? node.args.at(-1) : undefined);
      if (argument === undefined) return `${word} is one argument too many`;
      if (argument.choices.length > 0 && !argument.choices.includes(word))
        return `${argument.name} is not ${word}`;
      args += 1;
    }
  }
  if (!/^(?:sudo )?(?:\S*\/)?qubes-backup(?:-storage)?(?: |$)/.test(line)) return 'it is another program';
  if (node.commands.length > 0) return 'it is no whole command';
  const missing = node.args.slice(args).find(({ required }) => required);
  return missing === undefined ? undefined : `${missing.name} is missing`;
}

/** The words of a simple command, up to a comment, a pipe, or columns that explain it. */
function wordsOf(line: string): string[] {
  const [command = ''] = line.split(/ {2,}|\s#\s|\s[|>;&]/);
  return [...command.matchAll(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g)].map(([word]) => word.replace(/["']/g, ''));
}
