/** A man page of a command line, made of nothing but what it says itself when it is asked for help. */

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

export interface ManPage {
  readonly name: string;
  readonly version: string;
  /** When this version was made, in seconds since 1970. */
  readonly seconds: number;
  /** What is run, with `--help` after it. */
  readonly command: readonly [string, ...string[]];
}

/** The page as troff. */
export async function manPage({ name, version, seconds, command }: ManPage): Promise<string> {
  const help = await helpOf(command, []);
  const date = new Date(seconds * 1000).toISOString().slice(0, 10);
  const sections = await Promise.all(commandsIn(help, []).map((words) => sectionsOf(command, words)));
  const [, summary = ''] = help.split('\n\n');
  return [
    `.TH ${name.toUpperCase()} 1 ${date} "qubes-incremental-backup ${version}"`,
    `.SH NAME\n${name} \\- ${escaped(summary.trim().replace(/\.$/, ''))}`,
    `.SH SYNOPSIS\n${verbatim(help)}`,
    `.SH COMMANDS\n${sections.flat().join('\n')}`,
    '',
  ].join('\n');
}

/** A command's section, and those of the commands below it. */
async function sectionsOf(command: ManPage['command'], words: readonly string[]): Promise<string[]> {
  const help = await helpOf(command, words);
  const below = await Promise.all(commandsIn(help, words).map((longer) => sectionsOf(command, longer)));
  return [`.SS ${words.join(' ')}\n${verbatim(help)}`, ...below.flat()];
}

/** What is said of `words`, without what is said of all commands. */
async function helpOf([program, ...args]: ManPage['command'], words: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(program, [...args, ...words, '--help'], {
    env: { LANG: 'C', COLUMNS: '80', PATH: '/usr/bin:/bin' },
  });
  return words.length === 0 ? stdout : stdout.replace(/\nGlobal Options:\n(?: .*\n)*/, '');
}

/** The commands below `words` that their help text lists, in its order. */
function commandsIn(help: string, words: readonly string[]): readonly (readonly string[])[] {
  const [, list = ''] = help.split('\nCommands:\n');
  const names = [...list.matchAll(/^ {2}([a-z][a-z-]*)/gm)].map(([, name = '']) => name);
  return names.filter((name) => name !== 'help').map((name) => [...words, name]);
}

function verbatim(text: string): string {
  return `.nf\n${escaped(text.trimEnd())}\n.fi`;
}

/** A line that begins with a dot or an apostrophe would be a request. */
function escaped(text: string): string {
  return text
    .replace(/\\/g, '\\e')
    .replace(/-/g, '\\-')
    .replace(/^(?=[.'])/gm, '\\&');
}
