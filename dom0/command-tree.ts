/** The command line as data: what completion, the manual and tests are made of. */

import type { Argument, Command, Option } from 'commander';

export interface CommandNode {
  /** The words that call it: `['key', 'add']`; none of the program itself. */
  readonly words: readonly string[];
  readonly summary: string;
  readonly args: readonly ArgumentNode[];
  /** Its own; those of the program, among them --help, hold for all commands. */
  readonly options: readonly OptionNode[];
  /** What its help says after the list of options. */
  readonly notes: string;
  readonly commands: readonly CommandNode[];
}

export interface ArgumentNode {
  readonly name: string;
  readonly required: boolean;
  readonly variadic: boolean;
  readonly choices: readonly string[];
}

export interface OptionNode {
  /** All its names: `-r`, `--recursive`. */
  readonly names: readonly string[];
  readonly description: string;
  /** What it takes; undefined of a switch. */
  readonly value: Omit<ArgumentNode, 'variadic'> | undefined;
}

/** The tree of `command`, without what is hidden, and without `help`. */
export function commandTree(command: Command, words: readonly string[] = []): CommandNode {
  const shown = command.createHelp();
  const isOurs = (one: Command) => one.name() !== 'help';
  return {
    words,
    summary: command.description(),
    args: command.registeredArguments.map(argumentNode),
    options: shown
      .visibleOptions(command)
      .map(optionNode)
      .filter(({ names }) => words.length === 0 || !names.includes('--help')),
    notes: notesOf(command),
    commands: shown
      .visibleCommands(command)
      .filter(isOurs)
      .map((one) => commandTree(one, [...words, one.name()])),
  };
}

/** The commands that do something, in their order. */
export function leafCommands(tree: CommandNode): readonly CommandNode[] {
  return tree.commands.length === 0 ? [tree] : tree.commands.flatMap(leafCommands);
}

/** Lines of its help that are examples: commands of this program. */
export function examplesOf({ notes }: Pick<CommandNode, 'notes'>, program: string): readonly string[] {
  return notes
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line.startsWith(`${program} `));
}

function argumentNode(argument: Argument): ArgumentNode {
  return {
    name: argument.name(),
    required: argument.required,
    variadic: argument.variadic,
    choices: argument.argChoices ?? [],
  };
}

function optionNode(option: Option): OptionNode {
  const [, name = ''] = /[<[](.*)[>\]]/.exec(option.flags) ?? [];
  return {
    names: [option.short, option.long].filter((one) => one !== undefined),
    description: option.description,
    value:
      option.required || option.optional
        ? { name, required: option.required, choices: option.argChoices ?? [] }
        : undefined,
  };
}

/** commander keeps such texts as listeners only: so it is asked for its help, and what it says alone is taken away. */
function notesOf(command: Command): string {
  const said: string[] = [];
  const before = command.configureOutput();
  command.configureOutput({ ...before, writeOut: (text) => said.push(text) });
  command.outputHelp();
  command.configureOutput(before);
  return said.slice(1).join('').replace(/^\n+/, '').trimEnd();
}
