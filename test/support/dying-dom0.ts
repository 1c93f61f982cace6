/**
 * A dom0 that dies: `dying-dom0.ts HOME backup|restore STEP` runs the command on HOME and kills itself with SIGKILL
 * right before that write to any service's stdin (reads merge and split from run to run). With a STEP beyond the last
 * it ends in order and prints the number of steps.
 */

import { writeSync } from 'node:fs';
import { backup } from '../../dom0/commands/backup.ts';
import { restore } from '../../dom0/commands/restore.ts';
import { Home } from './home.ts';
import { runInProcess } from './in-process.ts';
import { WrappedDomains, withSteps } from './wrapped-domains.ts';

const [folder = '', command = '', last = ''] = process.argv.slice(2);
const home = new Home({ folder, existing: true });
let steps = 0;
const count = (doing: 'read' | 'write') => {
  if (doing === 'write' && ++steps > Number(last)) process.kill(process.pid, 'SIGKILL');
};
await runInProcess(
  home,
  (app) => (command === 'backup' ? backup(app, ['work']) : restore(app, 'work@1', 'copy')),
  (domains) => new WrappedDomains(domains, (call) => withSteps(call, count)),
);
writeSync(1, String(steps));
