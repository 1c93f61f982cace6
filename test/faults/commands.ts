/** What a process under test does: a command of dom0's, or of the storage VM's owner. */

import { join } from 'node:path';
import { backup } from '../../dom0/commands/backup.ts';
import { check } from '../../dom0/commands/check.ts';
import { forget } from '../../dom0/commands/forget.ts';
import { init } from '../../dom0/commands/init.ts';
import { keyAdd } from '../../dom0/commands/key.ts';
import { restore } from '../../dom0/commands/restore.ts';
import type { Config } from '../../dom0/config.ts';
import type { Domains } from '../../dom0/domains/domains.ts';
import { readKeyFile } from '../../dom0/keys/secret.ts';
import { runApp } from '../support/run-app.ts';
import type { Command } from '../support/run-app.ts';

/** The VM that is backed up, and what a restore makes of it. */
export const VM = 'work';
export const COPY = 'copy';
/** In the home, beside the key file that opens the repository: one for a second slot. */
export const SECOND_KEY = 'second-key-file';

export const placeOf = (home: string) => ({ folder: home, keyFile: join(home, 'key-file') });
const storageOf = (home: string) => join(home, 'storage', 'main');
export const storeIn = (home: string) => join(storageOf(home), 'qubes-backup');

/** A checkpoint after each file, as far as the one before is committed. */
const oftenCheckpointed = (config: Config): Config => ({
  ...config,
  backup: (vm) => ({ ...config.backup(vm), checkpointEvery: 0 }),
});

/** Runs one of dom0's commands to its end. */
export async function run(
  domains: Domains,
  home: string,
  command: Command,
  adjust?: (config: Config) => Config,
) {
  const options = { sandbox: 'none', ...(adjust === undefined ? {} : { adjust }) } as const;
  return runApp(domains, placeOf(home), command, options);
}

const COMMANDS = {
  init: (app) => init(app, () => app.secrets()),
  backup: (app) => backup(app, [VM]),
  checkpointed: (app) => backup(app, [VM]),
  restore: (app) => restore(app, `${VM}@1`, COPY),
  check: (app) => check(app, 100),
  forget: (app) => forget(app, [], { rules: { last: 1 }, yes: true }),
  'key add': (app) =>
    keyAdd(app, 'second', () => Promise.resolve(readKeyFile(join(app.config.stateFolder, '..', SECOND_KEY)))),
} as const satisfies Record<string, Command>;

export type CommandName = keyof typeof COMMANDS | 'purge';

/** Runs a command on `home` over `domains`; answers how many warnings there were. */
export async function perform(name: CommandName, home: string, domains: Domains): Promise<number> {
  if (name === 'purge') {
    await purge(home);
    return 0;
  }
  const adjust = name === 'checkpointed' ? oftenCheckpointed : undefined;
  return (await run(domains, home, COMMANDS[name], adjust)).app.warnings;
}

/** The owner empties the trash at once, without a question. dom0's process has none of this code. */
async function purge(home: string): Promise<void> {
  const { openEmbeddedStore } = await import('../../storagevm/config.ts');
  const { sweepStore } = await import('../../storagevm/owner.ts');
  const owner = { line: () => undefined, confirm: () => Promise.resolve(), progress: () => undefined };
  await sweepStore(openEmbeddedStore(storageOf(home)), owner, true);
}

/** The same for the command line, after its options; `checkpointed` is none of them. */
export const ARGUMENTS: Readonly<Partial<Record<CommandName, (home: string) => readonly string[]>>> = {
  init: () => ['init'],
  backup: () => ['backup', VM],
  restore: () => ['restore', `${VM}@1`, '--as', COPY],
  check: () => ['check', '--read-data', '100'],
  forget: () => ['forget', '--keep-last', '1'],
  'key add': (home) => ['key', 'add', '--label', 'second', '--new-key-file', join(home, SECOND_KEY)],
  purge: () => ['purge'],
};

/** The options before them: of dom0's command line, or of the owner's. */
export function optionsOf(name: CommandName, home: string): readonly string[] {
  if (name === 'purge') return ['--home', storageOf(home), '--yes'];
  return ['--local', home, '--sandbox', 'none', '--key-file', placeOf(home).keyFile, '--yes'];
}
