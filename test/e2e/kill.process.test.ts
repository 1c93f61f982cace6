/**
 * R41 R50: each of the three parts is killed at steps spread over a whole run. The previous state opens, the next run
 * completes, both snapshots are exact, and nothing is left behind.
 */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { App } from '../../dom0/app.ts';
import { backup } from '../../dom0/commands/backup.ts';
import { check } from '../../dom0/commands/check.ts';
import { init } from '../../dom0/commands/init.ts';
import { restore } from '../../dom0/commands/restore.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { isBackupError } from '../../shared/errors.ts';
import { compareTrees } from '../support/checker.ts';
import { Home } from '../support/home.ts';
import { runInProcess } from '../support/in-process.ts';
import { COMPILED, PROJECT, run } from '../support/processes.ts';
import { makeTemp, removeTree } from '../support/temp.ts';
import { WrappedDomains, withSteps } from '../support/wrapped-domains.ts';

/** Steps tried for each part: the first, the last, and some between. */
const POINTS = 4;

const backUp = (app: App) => backup(app, ['work']);
const restoreFirst = (app: App) => restore(app, 'work@1', 'copy');
const checkAll = (app: App) => check(app, 100);

function spread(steps: number): number[] {
  return [...new Set(Array.from({ length: POINTS }, (_, i) => Math.round((i * (steps - 1)) / (POINTS - 1))))];
}

describe('killed at any step', () => {
  const template = new Home({ folder: makeTemp() });
  const first = makeTemp();

  beforeAll(async () => {
    for (let i = 0; i < 12; i++)
      template.write('work', `file-${i}`, createHash('sha512').update(String(i)).digest('hex').repeat(5000));
    template.identify('work');
    createKeyFile(template.keyFile);
    await runInProcess(template, (app) => init(app, () => app.secrets()));
    await runInProcess(template, backUp);
    // Not Node's own copy: it loses nanoseconds.
    execFileSync('cp', ['-a', `${template.volume('work')}/.`, first]);
    template.write('work', 'file-new', createHash('sha512').update('new').digest('hex').repeat(20_000));
  });

  afterAll(() => {
    removeTree(template.folder);
    removeTree(first);
  });

  /** Runs `command` and kills `service` right before its step `at`; answers how many steps it took. */
  async function killAt(
    home: Home,
    service: string,
    at: number,
    command: (app: App) => Promise<void>,
  ): Promise<number> {
    let steps = 0;
    try {
      await runInProcess(home, command, (domains) => {
        return new WrappedDomains(domains, (call, called) => {
          if (called !== service) return call;
          return withSteps(call, () => {
            if (steps++ === at) call.kill();
          });
        });
      });
    } catch (error) {
      if (!isBackupError(error)) throw error;
      const own = error.cause ?? error;
      expect(isBackupError(own) ? own.message : '', 'the error names the service').toContain(service);
    }
    return steps;
  }

  /** What must be true whatever died: the next run completes, and all that the store holds is whole. */
  async function expectWhole(home: Home): Promise<void> {
    const app = await runInProcess(home, backUp);
    expect(app.warnings).toBe(0);
    await runInProcess(home, checkAll);
    const names = readdirSync(join(home.folder, 'vms')).filter((name) => name !== 'copy');
    expect(names).toEqual(['work']);
  }

  /** Both snapshots come back exactly. */
  async function expectExact(home: Home): Promise<void> {
    if (!readdirSync(join(home.folder, 'vms')).includes('copy')) await runInProcess(home, restoreFirst);
    expect(compareTrees(first, home.volume('copy'))).toEqual([]);
    await runInProcess(home, (app) => restore(app, 'work', 'newest'));
    expect(compareTrees(home.volume('work'), home.volume('newest'))).toEqual([]);
  }

  describe.each([
    ['qubes.BackupPut', backUp],
    ['qubes.BackupGet', backUp],
    ['qubes.BackupSetRoot', backUp],
    ['qubes.BackupScan', backUp],
    ['qubes.BackupGet', restoreFirst],
    ['qubes.BackupRestore', restoreFirst],
    ['qubes.BackupVerify', restoreFirst],
  ])('%s', (service, command) => {
    it(`dies during a ${command === backUp ? 'backup' : 'restore'}`, async () => {
      const steps = await killAt(new Home({ template }), service, Infinity, command);
      expect(steps).toBeGreaterThan(3);
      for (const [i, at] of spread(steps).entries()) {
        const home = new Home({ template });
        await killAt(home, service, at, command);
        await expectWhole(home);
        if (i === 1) await expectExact(home);
      }
    });
  });

  it.each(['backup', 'restore'])('dom0 dies during a %s', async (command) => {
    const die = (home: Home, at: number) =>
      run(
        join(PROJECT, 'bin/node'),
        [join(PROJECT, 'test/support/dying-dom0.ts'), home.folder, command, String(at)],
        { env: { ...process.env, ...COMPILED } },
      );
    const whole = await die(new Home({ template }), 1e9);
    expect(whole.code, whole.stderr).toBe(0);
    const steps = Number(whole.stdout.toString());
    expect(steps).toBeGreaterThan(10);
    for (const [i, at] of spread(steps).entries()) {
      const home = new Home({ template });
      const { signal, code } = await die(home, at);
      // Credit may be given in fewer frames than in the run that was counted: then the very last step does not come.
      if (code !== 0 || i < POINTS - 1) expect(signal).toBe('SIGKILL');
      await expectWhole(home);
      if (i === 1) await expectExact(home);
    }
  });
});
