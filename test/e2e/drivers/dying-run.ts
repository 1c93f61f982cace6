/**
 * A dom0 that dies: `dying-run.ts MACHINE backup|restore LAST` runs the command on a machine (JSON) and kills itself with SIGKILL at
 * that instant of it. With a LAST beyond all it ends in order and prints how many there were.
 */

import { writeSync } from 'node:fs';
import { backup } from '../../../dom0/commands/backup.ts';
import { restore } from '../../../dom0/commands/restore.ts';
import { Instants } from '../../qubes/instants.ts';
import { runOver } from '../../support/in-process.ts';
import { openDomains } from './open.ts';
import type { Machine } from './system.ts';

const [text = '', command = '', last = ''] = process.argv.slice(2);
const machine = JSON.parse(text) as Machine;
const instants = new Instants(Number(last));
void instants.died.then(() => process.kill(process.pid, 'SIGKILL'));
await runOver(openDomains(machine, instants), machine, (app) =>
  command === 'backup' ? backup(app, ['data']) : restore(app, 'data@1', 'copy'),
);
writeSync(1, String(instants.passed));
