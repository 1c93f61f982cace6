/** Runs one command of the command line: options to an App, the outcome to an exit status. */

import { resolve } from 'node:path';
import { isBackupError, messageOf } from '../shared/errors.ts';
import { App } from './app.ts';
import { loadConfig } from './config.ts';
import type { Config, ConfigOptions } from './config.ts';
import type { Sandbox } from './config/schema.ts';
import type { Domains } from './domains/domains.ts';
import { LocalDomains } from './domains/local/local.ts';
import { openQubes } from './domains/qubes/open.ts';
import { STATUS } from './exit-status.ts';
import type { Status } from './exit-status.ts';
import { copySecret, passphraseOf } from './keys/secret.ts';
import type { Secret } from './keys/secret.ts';
import { opensUnattended, unattendedOpener } from './keys/unattended.ts';
import { readSecrets } from './new-secret.ts';
import { Output } from './output.ts';
import { RunLog } from './state/run-log.ts';
import { askSecret } from './prompt.ts';

export interface GlobalOptions {
  readonly config?: string;
  readonly local?: string;
  readonly json: boolean;
  /** Show what services say. */
  readonly verbose?: boolean;
  /** Yes to every question whether to go on. */
  readonly yes: boolean;
  readonly passphraseFile?: string;
  readonly keyFile?: string;
  readonly paperFile?: string;
  readonly sandbox?: Sandbox;
  readonly acceptRoot?: string;
  readonly expectRoot?: string;
  /** KiB per second, for all stores instead of their own. */
  readonly limitUpload?: number;
  readonly limitDownload?: number;
}

/** What a command of the command line does. */
export type Work = (app: App, options: GlobalOptions) => Promise<void>;

/** Runs `command`, reports what it threw, and sets the exit status. */
export async function run(options: GlobalOptions, command: Work): Promise<void> {
  process.exitCode = (await runWork(options, new Output(options.json), command)).status;
}

/**
 * Runs `command` and reports what it threw; answers the status, and whether a signal told it to end. `secret`: what opens the
 * repository, if that was asked for before.
 */
export async function runWork(
  options: GlobalOptions,
  output: Output,
  command: Work,
  secret?: Secret,
): Promise<{ readonly status: Status; readonly interrupted: boolean }> {
  let app: App | undefined;
  try {
    app = createApp(options, output, secret);
    const log = new RunLog(app.config.stateFolder, process.argv.slice(2).join(' '));
    output.logTo(log, options.verbose ?? false);
    const stopListening = stopOnSignal(app);
    try {
      await command(app, options);
    } finally {
      stopListening();
      await app.close();
    }
    const status = app.differs ? STATUS.differs : app.warnings > 0 ? STATUS.warnings : STATUS.complete;
    return { status, interrupted: app.interrupted };
  } catch (error) {
    return { status: report(output, error), interrupted: app?.interrupted ?? false };
  }
}

/** What a command has that opens no repository. */
export interface Plain {
  readonly output: Output;
  readonly options: ConfigOptions;
  /** All VMs. Throws `usage` if the configuration is wrong. */
  readonly list: Domains['list'];
}

/** Runs a command that opens no repository; it resolves to how many warnings there were. */
export type RunPlain = (work: (plain: Plain) => Promise<number> | Promise<void>) => Promise<void>;

/** Runs `command` so, reports what it threw, and sets the exit status. */
export async function runPlain(options: GlobalOptions, command: Parameters<RunPlain>[0]): Promise<void> {
  const output = new Output(options.json);
  const chosen = configOptions(options);
  const list = async () => openDomains(loadConfig(chosen), (text) => output.warn(text)).list();
  try {
    const warnings = await command({ output, options: chosen, list });
    process.exitCode = typeof warnings === 'number' && warnings > 0 ? STATUS.warnings : STATUS.complete;
  } catch (error) {
    process.exitCode = report(output, error);
  }
}

/** Says what was thrown; answers the exit status that it means. */
export function report(output: Output, error: unknown): Status {
  output.error(messageOf(error));
  output.event('error', {
    code: isBackupError(error) ? error.code : 'internal',
    message: messageOf(error),
  });
  if (!isBackupError(error) && error instanceof Error && error.stack !== undefined) output.error(error.stack);
  if (isBackupError(error, 'usage')) return STATUS.usage;
  return isBackupError(error, 'locked') ? STATUS.busy : STATUS.failed;
}

/** What the command line says of the configuration. */
export function configOptions(options: GlobalOptions): ConfigOptions {
  return {
    file: options.config,
    localHome: options.local,
    sandbox: options.sandbox,
    limits: { upload: options.limitUpload, download: options.limitDownload },
  };
}

function createApp(options: GlobalOptions, output: Output, secret: Secret | undefined): App {
  const config = loadConfig(configOptions(options));
  const isGiven = secret !== undefined || secretIsGiven(options);
  return new App({
    config,
    domains: openDomains(config, (text) => output.warn(text), secretFiles(options)),
    output,
    secrets: () => (secret === undefined ? secretsToOpen(options) : Promise.resolve([copySecret(secret)])),
    opener: (slots) =>
      isGiven ? Promise.resolve(undefined) : unattendedOpener(config, slots, (text) => output.note(text)),
    asks: async () => !isGiven && !(await opensUnattended(config)),
    trust: { acceptRoot: options.acceptRoot, expectRoot: options.expectRoot },
    yes: options.yes,
  });
}

/** Files of which each may open the repository. */
function secretFiles({ passphraseFile, keyFile, paperFile }: GlobalOptions): readonly string[] {
  return [passphraseFile, keyFile, paperFile].flatMap((file) => (file === undefined ? [] : [resolve(file)]));
}

/** The driver that is configured. `secrets`: files that are in no backup of dom0, beside those of the configuration. */
export function openDomains(
  config: Config,
  warn: (text: string) => void,
  secrets: readonly string[] = [],
): Domains {
  const { driver } = config;
  const dom0 = { ...config.dom0, hidden: [...config.dom0.hidden, ...secrets] };
  if (driver.kind === 'qubes') {
    const disposable = config.disposable.bind(config);
    return openQubes(config.stateFolder, { disposable, dom0, warn });
  }
  const { home, sandbox } = driver;
  if (sandbox === 'none')
    warn('running without sandboxes: nothing confines the parts that read your files and the store');
  return new LocalDomains({ home, sandbox, dom0, warn });
}

/** Lets a first signal end the run in order; a second one ends it at once. */
export function stopOnSignal(app: App): () => void {
  const stop = (signal: NodeJS.Signals) => {
    const next = app.committing ? 'a checkpoint that has begun is finished first' : 'tidying up';
    app.output.error(`stopped by ${signal}: ${next}; a second time ends it at once`);
    process.removeListener(signal, stop);
    void app.interrupt();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  return () => {
    process.removeListener('SIGINT', stop);
    process.removeListener('SIGTERM', stop);
  };
}

/** Runs `work`, which a signal ends by its own; this process outlives that, to tell and to tidy up. */
export async function whileStoppable<T>(
  output: Output,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const stop = (signal: NodeJS.Signals) => {
    if (!controller.signal.aborted) output.error(`stopped by ${signal}: ending the hook that runs`);
    controller.abort();
  };
  const signals = ['SIGINT', 'SIGTERM'] as const;
  for (const signal of signals) process.on(signal, stop);
  try {
    return await work(controller.signal);
  } finally {
    for (const signal of signals) process.removeListener(signal, stop);
  }
}

/** True if options say which secret opens the repository. */
export function secretIsGiven({ passphraseFile, keyFile, paperFile }: GlobalOptions): boolean {
  return [passphraseFile, keyFile, paperFile].some((file) => file !== undefined);
}

async function secretsToOpen(options: GlobalOptions): Promise<readonly Secret[]> {
  const secrets = readSecrets(options);
  return secrets.length > 0 ? secrets : [passphraseOf(await askSecret('Passphrase: '))];
}
