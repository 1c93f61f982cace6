/**
 * A dom0 that dies: `dying-run.ts MACHINE backup|restore|replace|restore-all|drill LAST` runs the command on a machine (JSON) and kills itself with
 * SIGKILL at that instant of it. With a LAST beyond all it ends in order and prints how many there were.
 */

import { writeSync } from 'node:fs';
import type { App } from '../../../dom0/app.ts';
import { backup } from '../../../dom0/commands/backup.ts';
import { drill } from '../../../dom0/commands/drill.ts';
import { restoreAll } from '../../../dom0/commands/restore-all.ts';
import { restore } from '../../../dom0/commands/restore.ts';
import { Instants } from '../../qubes/instants.ts';
import { runOver } from '../../support/in-process.ts';
import { openDomains } from './open.ts';
import type { Machine } from './system.ts';

const [text = '', command = '', last = ''] = process.argv.slice(2);
const machine = JSON.parse(text) as Machine;
const instants = new Instants(Number(last));
void instants.died.then(() => process.kill(process.pid, 'SIGKILL'));
const COMMANDS: Readonly<Record<string, (app: App) => Promise<void>>> = {
  backup: (app) => backup(app, ['data']),
  restore: (app) => restore(app, 'data@1', 'copy'),
  drill: (app) => drill(app, ['data@1'], {}),
  replace: (app) => restore(app, 'data@1', undefined, { replace: true, yes: true }),
  'restore-all': (app) => restoreAll(app, { yes: true }),
};
const work = COMMANDS[command];
if (work === undefined) throw new Error(`no command ${command}`);
await runOver(openDomains(machine, instants), machine, work);
writeSync(1, String(instants.passed));
