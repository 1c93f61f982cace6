/** Processes that outlive the run which they are of. */

import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { isAlive } from '../support/processes.ts';

/** Milliseconds that a process has to notice that its caller is gone. */
const PATIENCE = 10_000;

/** Commands of processes that still run and name `folder`, whose all is; ends them. */
export async function endLeftOver(folder: string, patience = PATIENCE): Promise<readonly string[]> {
  const end = performance.now() + patience;
  let found = naming(folder);
  while (found.size > 0 && performance.now() < end) {
    await delay(20);
    found = naming(folder);
  }
  for (const pid of found.keys()) process.kill(pid, 'SIGKILL');
  return [...found.values()];
}

/** By number. */
function naming(folder: string): ReadonlyMap<number, string> {
  const found = new Map<number, string>();
  for (const name of readdirSync('/proc').filter((one) => /^\d+$/.test(one))) {
    const pid = Number(name);
    const command = commandOf(name);
    if (pid !== process.pid && command.includes(`${folder}/`) && isAlive(pid)) found.set(pid, command);
  }
  return found;
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
  } catch {
    return ''; // It is gone.
  }
}
