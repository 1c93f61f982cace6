/** The driver on the Qubes OS that this is dom0 of. */

import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import { PROGRAM } from '../../program.ts';
import { makePrivateFolder } from '../../state/files.ts';
import type { Domains } from '../domains.ts';
import { Admin } from './admin/admin.ts';
import { Agent } from './agent.ts';
import { Journal } from './journal.ts';
import { InstalledPolicy } from './policy.ts';
import { QubesDomains } from './qubes.ts';
import type { QubesOptions } from './qubes.ts';
import { QubesCalls } from './service-call.ts';
import { Tools } from './tools/tools.ts';

/** `stateFolder`: dom0's own; the others: see QubesOptions. */
export function openQubes(
  stateFolder: string,
  { disposable, dom0, warn }: Required<Pick<QubesOptions, 'disposable' | 'dom0' | 'warn'>>,
): Domains {
  const own = join(stateFolder, 'qubes');
  makePrivateFolder(own);
  const tools = new Tools();
  const calls = new QubesCalls(tools, new InstalledPolicy(tools));
  return new QubesDomains({
    admin: new Admin(),
    tools,
    calls,
    agent: new Agent({ calls, program: realpathSync(PROGRAM), warn }),
    journal: new Journal(join(own, 'journal')),
    stateFolder: own,
    ...{ disposable, dom0, warn },
  });
}
