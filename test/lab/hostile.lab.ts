/**
 * R44: disposables that fail in the middle of a job: dom0 says which service it was, nothing is left, and the next backup is whole.
 */

import { describe, expect } from 'vitest';
import { backup } from '../../dom0/commands/backup.ts';
import { init } from '../../dom0/commands/init.ts';
import { runOver } from '../support/in-process.ts';
import { mountable } from '../support/images.ts';
import { QuietOutput } from '../support/quiet-output.ts';
import type { Guest } from './guest.ts';
import { imageIn } from './image-files.ts';
import { inGuest } from './in-guest.ts';
import { LabDomains } from './lab-domains.ts';
import { labSystem } from './lab-system.ts';
import type { LabSystem } from './lab-system.ts';
import { imageFolder, labTest } from './needs.ts';

/** Backs up `vms` in this order; answers what was said of each that failed. */
async function failuresOf(
  { machine }: LabSystem,
  vms: readonly string[],
  started?: (guest: Guest) => Promise<void>,
): Promise<ReadonlyMap<string, string>> {
  const image = imageIn(imageFolder());
  const domains = new LabDomains({
    home: machine.folder,
    sandbox: 'auto',
    image,
    started,
    idleTimeout: 30_000,
  });
  const failures = new Map<string, string>();
  const command = runOver(domains, machine, async (app) => {
    try {
      await backup(app, vms);
    } finally {
      const { output } = app;
      const events = output instanceof QuietOutput ? output.events : [];
      for (const { event, vm, message } of events)
        if (event === 'failed') failures.set(String(vm), String(message));
    }
  });
  await command.catch(() => undefined); // Told by the events, one by one.
  return failures;
}

describe('hostile guests', () => {
  labTest(mountable('ext4'))(
    'R44: a kernel that dies, or a service that is silent, ends as a failure that is told',
    async () => {
      const system = await labSystem();
      await system.run((app) => init(app, () => app.secrets()));
      const died = await failuresOf(system, ['data'], (guest) =>
        serveInstead(guest, 'echo c >/proc/sysrq-trigger; exec sleep 1000'),
      );
      expect(died.get('data')).toMatch(/^disp\d+: qubes\.BackupScan /);
      const silent = await failuresOf(system, ['data'], (guest) => serveInstead(guest, 'exec sleep 1000'));
      expect(silent.get('data')).toMatch(/^disp\d+: qubes\.BackupScan /);
      expect(system.leftovers()).toEqual([]);
      expect((await failuresOf(system, ['data'])).size).toBe(0);
    },
  );
});

/** Puts a script in the place of the scan, as root. */
async function serveInstead(guest: Guest, script: string): Promise<void> {
  const path = '/run/qubes-rpc/qubes.BackupScan';
  await inGuest(
    guest,
    `mkdir -p /run/qubes-rpc; cat >${path} <<'END'\n#!/bin/sh\n${script}\nEND\nchmod 755 ${path}`,
  );
}
