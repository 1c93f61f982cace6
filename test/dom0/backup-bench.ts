/** Backups of one VM over services in the test's own process, some of which may lie. */

import { randomBytes } from 'node:crypto';
import { expect } from 'vitest';
import type { App } from '../../dom0/app.ts';
import { backup } from '../../dom0/commands/backup.ts';
import type { BackupOptions } from '../../dom0/commands/backup.ts';
import { init } from '../../dom0/commands/init.ts';
import { list } from '../../dom0/commands/list.ts';
import { restore } from '../../dom0/commands/restore.ts';
import type { Domains } from '../../dom0/domains/domains.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { scan } from '../../shared/protocol/disposable.ts';
import { Home } from '../support/home.ts';
import type { Event } from '../support/home.ts';
import { InProcessDomains } from '../support/in-process-domains.ts';
import { runOver } from '../support/in-process.ts';
import type { QuietOutput } from '../support/quiet-output.ts';
import { lyingScan } from '../support/lying-reader.ts';
import type { Lie } from '../support/lying-reader.ts';

const MiB = 1024 * 1024;

/** A home with VM `work` of eight files of 1 MiB. */
export class BackupBench {
  readonly home = new Home();
  /** Later than any file's time stamps: no entry is too young to be trusted. */
  readonly domains = new InProcessDomains(this.home.folder, () => Date.now() + 60_000);

  static async make(...settings: string[]): Promise<BackupBench> {
    const bench = new BackupBench();
    bench.home.configure('[backup]', ...settings);
    for (let i = 0; i < 8; i++) bench.home.write('work', `file-${i}`, randomBytes(MiB));
    bench.home.identify('work');
    createKeyFile(bench.home.keyFile);
    await bench.run((app) => init(app, () => app.secrets()));
    return bench;
  }

  run(command: (app: App) => Promise<void>): Promise<{ readonly app: App; readonly output: QuietOutput }> {
    return runOver(this.domains, this.home, command);
  }

  /** What a backup told at its end, and what it warned of. */
  async backUp(
    options: BackupOptions = {},
    domains: Domains = this.domains,
  ): Promise<{ event: Event; warnings: string[] }> {
    const { output } = await runOver(domains, this.home, (app) => backup(app, ['work'], options));
    const event = output.events.find((each) => each.event === 'backup');
    if (event === undefined) throw new Error('no backup was reported');
    return { event, warnings: output.lines.filter((line) => line.startsWith('warning')) };
  }

  /** One session of a reader that lies. */
  async lie<T>(lie: Partial<Lie>, work: () => Promise<T>): Promise<T> {
    this.domains.instead.set(
      scan.service,
      lyingScan({ path: 'file-3', digest: false, hashes: false, ...lie }),
    );
    try {
      return await work();
    } finally {
      this.domains.instead.clear();
    }
  }

  async snapshots(): Promise<number> {
    const { output } = await this.run((app) => list(app, 'work'));
    return output.events.filter(({ event }) => event === 'snapshot').length;
  }

  /** Restores the newest snapshot, which must be what is on the volume. */
  async expectTrue(): Promise<void> {
    await this.run((app) => restore(app, 'work', 'copy'));
    for (let i = 0; i < 8; i++)
      expect(this.home.read('copy', `file-${i}`) === this.home.read('work', `file-${i}`), `file-${i}`).toBe(
        true,
      );
  }
}
