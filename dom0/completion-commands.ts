/** The command `completion` of the command line, and the hidden one that its scripts call. */

import type { Command } from 'commander';
import { Argument } from 'commander';
import { commandTree } from './command-tree.ts';
import { bashScript } from './completion/bash.ts';
import { fishScript } from './completion/fish.ts';
import { zshScript } from './completion/zsh.ts';
import { vmNames } from './completion/vm-names.ts';
import type { Row } from './output.ts';
import type { RunPlain } from './run.ts';

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript };

const HELP = `
  Packages install these scripts; for a checkout, load one in the profile of the shell:

  qubes-backup completion bash > ~/.local/share/bash-completion/completions/qubes-backup
  qubes-backup completion zsh > ~/.zfunc/_qubes-backup      with that folder in fpath
  qubes-backup completion fish > ~/.config/fish/completions/qubes-backup.fish`;

/** Adds them to `program`; `run` runs what one of them does. */
export function addCompletionCommands(program: Command, run: RunPlain): void {
  program
    .command('completion')
    .description('print what completes this command line in a shell')
    .addArgument(new Argument('<shell>', 'which one').choices(Object.keys(SCRIPTS)))
    .addHelpText('after', HELP)
    .action((shell: keyof typeof SCRIPTS) =>
      run(({ output }) => output.rows([scriptRow(shell, SCRIPTS[shell](commandTree(program)).trimEnd())])),
    );
  program
    .command('vm-names', { hidden: true })
    .description('the names of VMs, which need no key')
    .action(() =>
      run(async ({ output, options, list }) => {
        for (const name of await vmNames(options, list)) output.line(name);
      }),
    );
}

function scriptRow(shell: string, text: string): Row {
  return { line: text, event: 'script', fields: { shell, text } };
}
