/** A service that starts a child of its own, says that it runs, and then never ends by itself. */

import { spawn } from 'node:child_process';
import { writeSync } from 'node:fs';

spawn('/bin/sh', ['-c', 'while :; do sleep 1000; done'], {
  stdio: ['ignore', 'inherit', 'inherit'],
  detached: true,
});
writeSync(1, 'running');
setInterval(() => undefined, 1000);
