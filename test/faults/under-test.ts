/** The process of dom0, or of the storage VM's owner, that may die: `dom0.ts|owner.ts HOME COMMAND` in the folder that program.ts makes. */

import { dirname, join } from 'node:path';
import { LocalDomains } from '../../dom0/domains/local/local.ts';
import { perform } from './commands.ts';
import type { CommandName } from './commands.ts';

const [, entry = '', home = '', command = ''] = process.argv;
const program = join(dirname(entry), '..', '..');
await perform(command as CommandName, home, new LocalDomains({ home, sandbox: 'none', program }));
