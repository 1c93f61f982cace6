/**
 * R54: what commands cost with many snapshots of a VM, counted instead of timed: objects that are asked of the store by a machine without a cache, and what a
 * backup stores. `npm run load` makes 1,000 snapshots, and prints what was counted.
 */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { check } from '../../dom0/commands/check.ts';
import { forget } from '../../dom0/commands/forget.ts';
import { list } from '../../dom0/commands/list.ts';
import { backup } from '../../dom0/commands/backup.ts';
import { init } from '../../dom0/commands/init.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { formatTable } from '../../shared/format.ts';
import { filesBelow } from '../support/files-below.ts';
import { Home } from '../support/home.ts';
import { InProcessDomains } from '../support/in-process-domains.ts';
import { runOver } from '../support/in-process.ts';
import type { Command } from '../support/run-app.ts';
import { WrappedDomains, withSteps } from '../support/wrapped-domains.ts';

const FULL = process.env['QIB_LOAD'] === 'full';
const FEW = 10;
const MANY = FULL ? 1_000 : 80;
const DAY = 86_400_000;

/**
 * The most that a snapshot more may cost, in pieces that are sent to the service that reads: for an object a request, and credit. Counted: 2.03, 2.03, and one
 * object for each 64 snapshots.
 */
const CEILING: Readonly<Record<string, number>> = { list: 2.2, check: 2.2, forget: 0.1, backup: 0.1 };
/** Bytes that a backup may store more for each snapshot that there is: the catalog's roots up to 255 of them, and the record's 63 entries. Counted: 77. */
const STORED = 100;

test(
  `R54: ${MANY} snapshots of a VM`,
  async () => {
    const home = new Home();
    let now = Date.now() + 60_000;
    let asked = 0;
    const domains = new WrappedDomains(new InProcessDomains(home.folder, () => now), (call, service) =>
      service.endsWith('Get') ? withSteps(call, (doing) => (asked += doing === 'write' ? 1 : 0)) : call,
    );
    const run = (command: Command) => runOver(domains, home, command);
    home.configure('[backup]', 'spot_check_mib = 0');
    home.identify('work');
    createKeyFile(home.keyFile);
    await run((app) => init(app, () => app.secrets()));
    let made = 0;
    const backUp = async () => {
      now += DAY / 8;
      home.write('work', `file-${made % 5}`, String(made++));
      await run((app) => backup(app, ['work']));
    };
    const stored = () => filesBelow(join(home.store, 'objects')).reduce((sum, { size }) => sum + size, 0);
    const count = async () => {
      const costs: Record<string, number> = {};
      const commands: Record<string, () => Promise<unknown>> = {
        list: () => run((app) => list(app, 'work')),
        check: () => run((app) => check(app, 0)),
        forget: () => run((app) => forget(app, [], { rules: { daily: 5 }, dryRun: true })),
        backup: backUp,
      };
      for (const [name, command] of Object.entries(commands)) {
        rmSync(join(home.state, 'cache'), { recursive: true, force: true });
        [asked] = [0];
        const before = name === 'backup' ? stored() : 0;
        await command();
        costs[name] = asked;
        if (name === 'backup') costs['stored'] = stored() - before;
      }
      return costs;
    };
    while (made < FEW) await backUp();
    const few = await count();
    while (made < MANY) await backUp();
    const many = await count();
    if (FULL) {
      const rows = Object.keys(few).map((name) => [name, String(few[name]), String(many[name])]);
      process.stdout.write(`${formatTable([['', `at ${FEW}`, `at ${MANY}`], ...rows], [1, 2]).join('\n')}\n`);
    }
    for (const [name, ceiling] of Object.entries({ ...CEILING, stored: STORED })) {
      const slope = ((many[name] ?? NaN) - (few[name] ?? NaN)) / (MANY - FEW);
      expect(slope, `${name}: ${JSON.stringify([few, many])}`).toBeLessThanOrEqual(ceiling);
    }
    // All but five days go in one command, and what is left is whole.
    await run((app) => forget(app, [], { rules: { daily: 5 }, yes: true }));
    await run((app) => check(app, 100));
  },
  FULL ? 3_600_000 : 120_000,
);
