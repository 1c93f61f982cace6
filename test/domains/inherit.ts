/** A dom0 of its own process: has a disposable of HOME run the probe, and prints the answers. */

import { writeSync } from 'node:fs';
import { LocalDomains } from '../../dom0/domains/local/local.ts';
import type { SandboxChoice } from '../../dom0/domains/local/sandbox.ts';
import { parseVmName } from '../../shared/ids.ts';
import { askProbe } from './program.ts';

const [home = '', program = '', sandbox = ''] = process.argv.slice(2);
const domains = new LocalDomains({ home, program, sandbox: sandbox as SandboxChoice });
const disposable = await domains.startDisposable(parseVmName('work'), { kind: 'nothing' });
writeSync(1, JSON.stringify(await askProbe(await disposable.call('test.Probe'))));
await disposable.destroy();
