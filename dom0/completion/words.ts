/** What the completion scripts of all shells are made of. */

import type { ArgumentNode, CommandNode } from '../command-tree.ts';

/** What completes a value: files, names of VMs, one of some words, or nothing. */
export type Kind = 'files' | 'vms' | 'none' | readonly string[];

/** A command with all commands below it, itself first. */
export function allCommands(node: CommandNode): readonly CommandNode[] {
  return [node, ...node.commands.flatMap(allCommands)];
}

/** What completes an argument, or the value of an option, by its name in the help. */
export function kindOf({ name, choices }: Pick<ArgumentNode, 'name' | 'choices'>): Kind {
  if (choices.length > 0) return choices;
  if (/^vm\b/.test(name)) return 'vms';
  return /^(?:file|folder|home)$/.test(name) ? 'files' : 'none';
}

/** A word for each: `files`, `vms`, `none`, or `=a,b` of some words. */
export function kindWord(kind: Kind): string {
  return typeof kind === 'string' ? kind : `=${kind.join(',')}`;
}

/** The kinds of a command's arguments in order, `...` after the one that may be repeated. */
export function argumentKinds({ args }: CommandNode): readonly string[] {
  return args.flatMap((argument) => [kindWord(kindOf(argument)), ...(argument.variadic ? ['...'] : [])]);
}
