/**
 * `npm run bench:qubes [-- --vms N] [--runs N]`: the configuration of 60 VMs, as a backup of all reads it, by the socket protocol of
 * qubesd from its stand-in in a process of its own. What the real one takes for a call comes on top.
 */

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { Admin } from '../dom0/domains/qubes/admin/admin.ts';
import { Journal } from '../dom0/domains/qubes/journal.ts';
import { InstalledPolicy } from '../dom0/domains/qubes/policy.ts';
import { QubesDomains } from '../dom0/domains/qubes/qubes.ts';
import { QubesCalls } from '../dom0/domains/qubes/service-call.ts';
import { Tools } from '../dom0/domains/qubes/tools/tools.ts';
import type { VmName } from '../shared/ids.ts';
import { median } from './support/statistics.ts';
import { print } from './support/terminal.ts';

const { values } = parseArgs({
  options: { vms: { type: 'string', default: '60' }, runs: { type: 'string', default: '9' } },
});

/** Ways to read them: VMs at a time. */
const WAYS = [
  ['one VM after the other', 1],
  ['four at a time (--jobs 4)', 4],
] as const;

async function main(): Promise<void> {
  const [vms, runs] = [Number(values.vms), Number(values.runs)];
  const folder = mkdtempSync(join(tmpdir(), 'qib-qubes-'));
  const program = join(import.meta.dirname, 'support/qubesd.ts');
  const qubesd = spawn(process.execPath, ['--no-warnings', program, folder, String(vms)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: qubesd.stdout })[Symbol.asyncIterator]();
  try {
    if ((await lines.next()).value !== 'ready') throw new Error('the stand-in for qubesd did not start');
    print(
      `${availableParallelism()} x ${cpus()[0]?.model ?? '?'}, Node ${process.version}, ${vms} VMs, ${runs} runs`,
    );
    print('');
    print('| configurations read | calls of qubesd | median s | min | max |');
    print('|---|---|---|---|---|');
    for (const [way, jobs] of WAYS) {
      const times: number[] = [];
      let calls = '';
      for (let run = 0; run < runs; run++) {
        times.push(await readAll(folder, vms, jobs));
        qubesd.kill('SIGUSR2');
        calls = String((await lines.next()).value);
      }
      const figures = [median(times), Math.min(...times), Math.max(...times)].map((time) => time.toFixed(2));
      print(`| ${way} | ${calls} | ${figures.join(' | ')} |`);
    }
  } finally {
    qubesd.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Seconds until the driver, as a run opens it, has the configuration of each VM. */
async function readAll(folder: string, vms: number, jobs: number): Promise<number> {
  const tools = new Tools();
  const domains = new QubesDomains({
    ...{ tools, calls: new QubesCalls(tools, new InstalledPolicy(tools)) },
    admin: new Admin(join(folder, 'qubesd.sock')),
    journal: new Journal(join(folder, 'journal')),
    stateFolder: join(folder, 'state'),
    warn: print,
  });
  const started = performance.now();
  const names = (await domains.list()).map(({ name }) => name).filter((name) => name.startsWith('vm-'));
  if (names.length !== vms) throw new Error(`${names.length} VMs are listed, not ${vms}`);
  const left: VmName[] = [...names];
  const work = async () => {
    for (let name = left.shift(); name !== undefined; name = left.shift()) await domains.readConfig(name);
  };
  await Promise.all(Array.from({ length: jobs }, work));
  return (performance.now() - started) / 1000;
}

await main();
