/**
 * `npm run docs:man [FOLDER]`: the manual pages, made of what the command lines say of themselves and of the schema of settings. Packages
 * have them; they are in no checkout, as each command would be in the repository twice. Default folder: dist/man.
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { commandTree, leafCommands } from '../../dom0/command-tree.ts';
import type { CommandNode, OptionNode } from '../../dom0/command-tree.ts';
import type { JsonSchema } from '../../dom0/config/json-schema.ts';
import { STATUS } from '../../dom0/exit-status.ts';
import { program as backup } from '../../dom0/main.ts';
import { readRelease } from '../../packaging/release.ts';
import { program as storage } from '../../storagevm/main.ts';
import { rangeOf, settings } from './config.ts';
import type { Setting } from './config.ts';
import { header, item, paragraph, section, subsection, text, verbatim } from './roff.ts';

/** Which version the pages are of, and when it was made in seconds since 1970. */
export interface PageVersion {
  readonly version: string;
  readonly seconds: number;
}

const EXIT_STATUS: Readonly<Record<keyof typeof STATUS, string>> = {
  complete: 'complete',
  failed: 'failed; the store and every VM are as they were',
  usage: 'wrong usage, or a wrong configuration',
  warnings: 'finished with warnings, each named on stderr',
  differs: 'verify finished, and a volume differs from the snapshot',
  busy: 'another run is under way',
};

/** All pages by the name of their file: `qubes-backup.1`. */
export function manPages(version: PageVersion): ReadonlyMap<string, string> {
  return new Map([
    [
      'qubes-backup.1',
      commandPage('qubes-backup', commandTree(backup), version, [
        section(
          'EXIT STATUS',
          ...Object.entries(STATUS).map(([name, status]) =>
            item(String(status), '', EXIT_STATUS[name as keyof typeof STATUS]),
          ),
        ),
        section(
          'FILES',
          item('/etc/qubes-backup/config.toml', '', 'the configuration: qubes-backup.toml(5)'),
          item(
            '/var/lib/qubes-backup/state',
            '',
            'what dom0 remembers: the newest root, what is to be tidied up, a cache',
          ),
        ),
        seeAlso('qubes-backup.toml(5)', 'qubes-backup-storage(1)'),
      ]),
    ],
    [
      'qubes-backup-storage.1',
      commandPage('qubes-backup-storage', commandTree(storage), version, [
        section('FILES', item('/rw/config/qubes-backup/storage.toml', '', 'the settings of this storage VM')),
        seeAlso('qubes-backup(1)'),
      ]),
    ],
    ['qubes-backup.toml.5', configPage(version)],
  ]);
}

function seeAlso(...pages: readonly string[]): string {
  return section('SEE ALSO', text(pages.join(', ')));
}

function commandPage(name: string, tree: CommandNode, version: PageVersion, more: readonly string[]): string {
  const synopsis = `\\fB${text(name)}\\fR [\\fIoptions\\fR] \\fIcommand\\fR [\\fIarguments\\fR]`;
  return page(
    header(name, 1, version),
    section('NAME', `${text(name)} \\- ${text(tree.summary.replace(/\.$/, ''))}`),
    section('SYNOPSIS', synopsis),
    section('OPTIONS', ...tree.options.map(option)),
    section('COMMANDS', ...leafCommands(tree).map(command)),
    ...more,
  );
}

function command({ words, args, summary, options, notes }: CommandNode): string {
  const usage = args.map(({ name, required, variadic }) => {
    const shown = `${name.toUpperCase()}${variadic ? '...' : ''}`;
    return required ? shown : `[${shown}]`;
  });
  return subsection(
    [...words, ...usage].join(' '),
    paragraph(sentence(summary)),
    ...options.map(option),
    ...notes.split(/\n\s*\n/).flatMap((block) => (block.trim() === '' ? [] : [blockOf(block)])),
  );
}

/** Examples and columns keep their lines; prose is filled. */
function blockOf(block: string): string {
  const lines = block.split('\n').filter((line) => line.trim() !== '');
  const isVerbatim = lines.some((line) => /^\s*(?:qubes-backup|#|\[)/.test(line) || /\S {2,}\S/.test(line));
  return isVerbatim ? verbatim(lines) : paragraph(lines.join('\n'));
}

function option({ names, value, description }: OptionNode): string {
  const choices = value?.choices ?? [];
  return item(
    names.join(', '),
    value?.name.toUpperCase() ?? '',
    sentence(`${description}${choices.length === 0 ? '' : `: ${choices.join(', ')}`}`),
  );
}

function sentence(words: string): string {
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}${words.endsWith('.') ? '' : '.'}`;
}

function configPage(version: PageVersion): string {
  const name = 'qubes-backup.toml';
  const all = settings();
  const isTable = ({ settings: below, schema }: Setting) =>
    below.length > 0 || Boolean(schema.additionalProperties);
  return page(
    header(name, 5, version),
    section('NAME', `${name} \\- configuration of ${text('qubes-backup')}`),
    section(
      'DESCRIPTION',
      paragraph('The file /etc/qubes-backup/config.toml, or the one that --config names, is in TOML.'),
      paragraph(
        '"qubes-backup config check" says whether it is right, and "qubes-backup config show --effective VM" what holds for a VM: the nearest of [vm.NAME], the table of its template and [backup] that sets a key decides.',
      ),
    ),
    section('BEFORE THE FIRST TABLE', ...all.filter((one) => !isTable(one)).map(settingItem)),
    section('TABLES', ...all.filter(isTable).flatMap(tableItems)),
    section('EXAMPLE', verbatim(EXAMPLE.split('\n'))),
    seeAlso('qubes-backup(1)'),
  );
}

const EXAMPLE = `driver = "qubes"
[[storage]]
vm = "backup-store"
[backup]
exclude = ["*.iso"]
[backup.keep]
daily = 7
weekly = 4
[vm.vault]
compress = false`;

function tableItems({ path, schema, settings: below }: Setting): string[] {
  const name = path.join('.');
  const title = schema.additionalProperties
    ? `[${name}.NAME]`
    : name.endsWith('[]')
      ? `[[${name.slice(0, -2)}]]`
      : `[${name}]`;
  const plain = below.filter((one) => one.settings.length === 0);
  const about = schema.additionalProperties ? ' It takes what [backup] takes.' : '';
  return [
    subsection(title, paragraph(`${schema.description ?? ''}${about}`), ...plain.map(settingItem)),
    ...below.filter((one) => one.settings.length > 0).flatMap(tableItems),
  ];
}

function settingItem({ path, schema }: Setting): string {
  const { default: preset, description } = schema;
  const byDefault = preset === undefined ? '' : ` Default: ${JSON.stringify(preset)}.`;
  return item(path.at(-1) ?? '', typeOf(schema), `${description ?? ''}${rangeOf(schema)}${byDefault}`);
}

function typeOf({ type, enum: words, anyOf, items, const: only }: JsonSchema): string {
  if (only !== undefined) return JSON.stringify(only);
  if (words !== undefined) return words.map((word) => JSON.stringify(word)).join(' | ');
  if (anyOf !== undefined) return anyOf.map(typeOf).join(' | ');
  return type === 'array' ? `array of ${items?.type ?? 'string'}s` : (type ?? '');
}

function page(...parts: readonly string[]): string {
  return `${parts.join('\n')}\n`;
}

if (import.meta.main) {
  const folder = process.argv[2] ?? join(import.meta.dirname, '../../dist/man');
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of manPages(readRelease())) writeFileSync(join(folder, name), content);
}
