/** Starts a hundred children, while its process group gets one SIGINT after the other, and prints how each ended. To be the leader of its group. */

import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { writeSync } from 'node:fs';
import { TOOL_ENVIRONMENT, spawnDetached } from '../../dom0/domains/child.ts';

const CHILDREN = 100;

let signals = 0;
process.on('SIGINT', () => (signals += 1));
// Some milliseconds between two: a fork begins anew with each that comes, and its child dies of each.
const interrupt = `while kill -INT "-$0"; do sleep 0.01; done`;
const interrupter = spawn('sh', ['-c', interrupt, String(process.pid)], { stdio: 'ignore', detached: true });
await once(process, 'SIGINT');
const ends: unknown[] = [];
for (let i = 0; i < CHILDREN; i++) {
  const { child } = spawnDetached(['true'], { environment: TOOL_ENVIRONMENT, directory: '/' });
  ends.push((await once(child, 'close')).find((end) => end !== null));
}
interrupter.kill('SIGKILL');
writeSync(1, JSON.stringify({ signals, ends }));
