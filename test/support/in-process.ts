/** dom0's commands run in the test's own process, over a driver of the test's choice. */

import type { App } from '../../dom0/app.ts';
import type { Domains } from '../../dom0/domains/domains.ts';
import { LocalDomains } from '../../dom0/domains/local/local.ts';
import type { Secret } from '../../dom0/keys/secret.ts';
import { expectDocumented } from './documented.ts';
import type { Home } from './home.ts';
import { SANDBOX } from './home.ts';
import type { QuietOutput } from './quiet-output.ts';
import { runApp } from './run-app.ts';
import type { Command, Place } from './run-app.ts';

/** Runs `command` on `home`, which was initialised with its key file, over what `wrap` makes of the local driver. */
export async function runInProcess(
  home: Home,
  command: Command,
  wrap: (domains: Domains) => Domains = (domains) => domains,
): Promise<App> {
  const local = new LocalDomains({ home: home.folder, sandbox: SANDBOX });
  return (await runOver(wrap(local), home, command)).app;
}

/** Runs `command` on `home` over `domains`. `present` makes the secrets that open it: of each a fresh copy. */
export async function runOver(
  domains: Domains,
  home: Place,
  command: Command,
  present?: () => readonly Secret[],
): Promise<{ readonly app: App; readonly output: QuietOutput }> {
  const run = await runApp(domains, home, command, {
    sandbox: SANDBOX,
    ...(present === undefined ? {} : { present }),
  });
  expectDocumented(run.output.events);
  return run;
}
