/** A dom0 of its own process: starts a disposable of HOME in a sandbox, says so, and waits to be killed. */

import { writeSync } from 'node:fs';
import { LocalDomains } from '../../dom0/domains/local/local.ts';
import type { SandboxChoice } from '../../dom0/domains/local/sandbox.ts';
import { parseVmName } from '../../shared/ids.ts';

const [home = '', program = '', sandbox = ''] = process.argv.slice(2);
const domains = new LocalDomains({ home, program, sandbox: sandbox as SandboxChoice });
const disposable = await domains.startDisposable(parseVmName('work'), { kind: 'nothing' });
const call = await disposable.call('test.Idle');
await call.io.read(Buffer.alloc(100));
writeSync(1, 'running');
await call.exited;
