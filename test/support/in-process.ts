/** dom0's commands run in the test's own process, over a driver of the test's choice. */

import { App } from '../../dom0/app.ts';
import { loadConfig } from '../../dom0/config.ts';
import type { Domains } from '../../dom0/domains/domains.ts';
import { LocalDomains } from '../../dom0/domains/local/local.ts';
import { readKeyFile } from '../../dom0/keys/secret.ts';
import type { Secret } from '../../dom0/keys/secret.ts';
import { expectDocumented } from './documented.ts';
import type { Home } from './home.ts';
import { SANDBOX } from './home.ts';
import { QuietOutput } from './quiet-output.ts';

/** Runs `command` on `home`, which was initialised with its key file, over what `wrap` makes of the local driver. */
export async function runInProcess(
  home: Home,
  command: (app: App) => Promise<void>,
  wrap: (domains: Domains) => Domains = (domains) => domains,
): Promise<App> {
  const local = new LocalDomains({ home: home.folder, sandbox: SANDBOX });
  return (await runOver(wrap(local), home, command)).app;
}

/** Runs `command` on `home` over `domains`. `present` makes the secrets that open it: of each a fresh copy. */
export async function runOver(
  domains: Domains,
  home: Pick<Home, 'folder' | 'keyFile'>,
  command: (app: App) => Promise<void>,
  present = (): readonly Secret[] => [readKeyFile(home.keyFile)],
): Promise<{ readonly app: App; readonly output: QuietOutput }> {
  const config = loadConfig({ file: undefined, localHome: home.folder, sandbox: SANDBOX });
  const output = new QuietOutput();
  const secrets = () => Promise.resolve(present());
  const trust = { acceptRoot: undefined, expectRoot: undefined };
  const app = new App({ config, domains, output, secrets, trust });
  try {
    await command(app);
  } finally {
    await app.close();
  }
  expectDocumented(output.events);
  return { app, output };
}
