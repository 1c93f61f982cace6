/** `config check` and `config show`: what the configuration says, and whether it is right. Neither opens the repository. */

import { stringify } from 'smol-toml';
import { BackupError, isBackupError } from '../../shared/errors.ts';
import type { Configured } from '../config.ts';
import { settingsOfFile, settingsOfVm } from '../config/effective.ts';
import type { EffectiveSetting } from '../config/effective.ts';
import { readConfigFile } from '../config/file.ts';
import type { ConfigChoice, ConfigFile } from '../config/file.ts';
import { keyOf, sentence } from '../config/problems.ts';
import type { Vm } from '../domains/domains.ts';
import { nearest } from '../nearest.ts';
import type { Output } from '../output.ts';

/** All VMs; throws BackupError where they cannot be listed. */
export type ListVms = () => Promise<readonly Vm[]>;

/** Says all that is wrong. Resolves to how many warnings there are. Throws `usage` if something is wrong. */
export async function configCheck(output: Output, choice: ConfigChoice, list: ListVms): Promise<number> {
  const file = readConfigFile(choice);
  for (const problem of file.problems) {
    output.line(ascii(`${file.path}: ${sentence(problem)}`));
    output.event('config-problem', { file: file.path, ...problem });
  }
  const { length } = file.problems;
  if (length > 0)
    throw new BackupError(
      'usage',
      `the configuration ${file.path} is wrong: ${length} ${length === 1 ? 'problem' : 'problems'}; see qubes-backup.toml(5) for what may be set`,
    );
  const warnings = await unknownNames(file, list).catch((error: unknown) => {
    if (!isBackupError(error)) throw error;
    output.note(`whether the VMs that it names are there was not checked: ${error.message}`);
    return [];
  });
  for (const warning of warnings) output.warn(ascii(warning));
  output.event('config', { file: file.path, problems: 0, warnings });
  output.line(ascii(`${file.path} is right.`));
  return warnings.length;
}

/** Tables for VMs and templates that are not there. */
async function unknownNames({ values, lines }: ConfigFile, list: ListVms): Promise<string[]> {
  if (values === undefined || Object.keys({ ...values.vm, ...values.template }).length === 0) return [];
  const names = (await list()).map(({ name }): string => name);
  return (['vm', 'template'] as const).flatMap((table) =>
    Object.keys(values[table])
      .filter((name) => !names.includes(name))
      .map((name) => {
        const [line, key] = [lines.of([table, name]), keyOf([table, name])];
        return `line ${line ?? 1}: [${key}]: there is no VM of this name${nearest(name, names)}`;
      }),
  );
}

/** Shows what the file sets, or what holds for a VM; with `effective`, also what is so by default. */
export async function configShow(
  output: Output,
  choice: ConfigChoice,
  list: ListVms,
  { vm, effective }: { readonly vm: string | undefined; readonly effective: boolean },
): Promise<void> {
  const file = readConfigFile(choice);
  if (file.values === undefined)
    throw new BackupError(
      'usage',
      `the configuration ${file.path} is wrong: run "qubes-backup config check"`,
    );
  const settings =
    vm === undefined ? settingsOfFile(file, effective) : settingsOfVm(file, await find(vm, list), effective);
  output.line(ascii(`# ${file.path}${vm === undefined ? '' : `: what holds for ${vm}`}`));
  for (const { path, value, table, line } of settings) {
    const key = keyOf(path);
    output.line(`${ascii(`${key} = ${tomlOf(value)}`).padEnd(40)}  # ${ascii(originOf({ table, line }))}`);
    output.event('setting', { key, value, table: table ?? null, line: line ?? null });
  }
}

function originOf({ table, line }: Pick<EffectiveSetting, 'table' | 'line'>): string {
  if (table === undefined) return 'default';
  return [table, line === undefined ? '' : `line ${line}`].filter((part) => part !== '').join(', ');
}

async function find(name: string, list: ListVms): Promise<Configured> {
  const vms = await list();
  const names = vms.map((vm): string => vm.name);
  const found = vms.find((vm) => vm.name === name);
  if (found === undefined)
    throw new BackupError('usage', ascii(`there is no VM named ${name}${nearest(name, names)}`));
  return found;
}

function tomlOf(value: unknown): string {
  return stringify({ x: value }).trim().replace(/^x = /, '');
}

/** Other characters than printable ASCII as TOML escapes them. */
function ascii(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
