/** One of dom0's commands, run in this process over a driver of the caller's choice. Loads nothing of the test runner. */

import { App } from '../../dom0/app.ts';
import { loadConfig } from '../../dom0/config.ts';
import type { Config } from '../../dom0/config.ts';
import type { Sandbox } from '../../dom0/config/schema.ts';
import type { Domains } from '../../dom0/domains/domains.ts';
import { readKeyFile } from '../../dom0/keys/secret.ts';
import type { Secret } from '../../dom0/keys/secret.ts';
import { QuietOutput } from './quiet-output.ts';

export type Command = (app: App) => Promise<void>;

/** `folder`: a home of the local driver, whose repository is opened by `keyFile`. */
export interface Place {
  readonly folder: string;
  readonly keyFile: string;
}

export interface AppOptions {
  readonly sandbox: Sandbox;
  /** Makes the secrets that open it: of each a fresh copy. Default: the key file. */
  readonly present?: () => readonly Secret[];
  /** See AppOptions.asks of App. */
  readonly asks?: () => Promise<boolean>;
  /** What to use instead of the configuration. */
  readonly adjust?: (config: Config) => Config;
}

/** Runs `command` to its end; throws what it throws. */
export async function runApp(
  domains: Domains,
  { folder, keyFile }: Place,
  command: Command,
  { sandbox, present = () => [readKeyFile(keyFile)], adjust = (config) => config, asks }: AppOptions,
): Promise<{ readonly app: App; readonly output: QuietOutput }> {
  const config = adjust(loadConfig({ file: undefined, localHome: folder, sandbox }));
  const output = new QuietOutput();
  const secrets = () => Promise.resolve(present());
  const trust = { acceptRoot: undefined, expectRoot: undefined };
  const app = new App({ config, domains, output, secrets, trust, ...(asks === undefined ? {} : { asks }) });
  try {
    await command(app);
  } finally {
    await app.close();
  }
  return { app, output };
}
