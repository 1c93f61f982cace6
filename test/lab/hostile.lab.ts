/**
 * R44: volumes that were made to harm, and disposables that fail in the middle of a job. Whatever becomes of a guest, dom0 says which
 * VM and service it was, nothing is left, and the VM that comes next is backed up.
 */

import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { describe, expect } from 'vitest';
import { backup } from '../../dom0/commands/backup.ts';
import { init } from '../../dom0/commands/init.ts';
import { runOver } from '../support/in-process.ts';
import { mountable, withMounted } from '../support/images.ts';
import { QuietOutput } from '../support/quiet-output.ts';
import { WrappedDomains } from '../support/wrapped-domains.ts';
import type { Wrap } from '../support/wrapped-domains.ts';
import type { Guest } from './guest.ts';
import { HOSTILE_VOLUMES } from './hostile-volumes.ts';
import { imageIn } from './image-files.ts';
import { inGuest } from './in-guest.ts';
import { LabDomains } from './lab-domains.ts';
import { labSystem } from './lab-system.ts';
import type { LabSystem } from './lab-system.ts';
import { imageFolder, labTest } from './needs.ts';

interface Told {
  /** What was said of each VM whose backup failed. */
  readonly failures: ReadonlyMap<string, string>;
  /** VMs of which files were missed. */
  readonly warned: ReadonlySet<string>;
}

/** Backs up `vms` in this order. */
async function backUp(
  { machine }: LabSystem,
  vms: readonly string[],
  started?: (guest: Guest) => Promise<void>,
  wrap: Wrap = (call) => call,
): Promise<Told> {
  const image = imageIn(imageFolder());
  const domains = new LabDomains({
    home: machine.folder,
    sandbox: 'auto',
    image,
    started,
    idleTimeout: 30_000,
  });
  const failures = new Map<string, string>();
  const warned = new Set<string>();
  const command = runOver(new WrappedDomains(domains, wrap), machine, async (app) => {
    try {
      await backup(app, vms);
    } finally {
      const { output } = app;
      const events = output instanceof QuietOutput ? output.events : [];
      for (const { event, vm, message, text } of events) {
        if (event === 'failed') failures.set(String(vm), String(message));
        if (event === 'warning') warned.add(String(text).split(':', 1)[0] ?? '');
      }
    }
  });
  await command.catch(() => undefined); // Told by the events, one by one.
  return { failures, warned };
}

describe('hostile guests', () => {
  for (const kinds of [['ext4'], ['xfs', 'btrfs']] as const)
    labTest(mountable('ext4'), ...kinds.map(mountable))(
      `R44: volumes of ${kinds.join(' and ')} that were made to harm take nothing but their own backup`,
      async () => {
        const system = await labSystem();
        const volumes = kinds.flatMap((kind) => Object.entries(HOSTILE_VOLUMES[kind]));
        for (const [vm, { make }] of volumes) {
          mkdirSync(dirname(system.imageOf(vm)));
          make(system.imageOf(vm));
        }
        await system.run((app) => init(app, () => app.secrets()));
        const { failures, warned } = await backUp(system, [...volumes.map(([vm]) => vm), 'data']);
        expect([failures.get('data'), warned.has('data')]).toEqual([undefined, false]);
        for (const [vm, { endings }] of volumes) {
          const failure = failures.get(vm);
          expect(endings, vm).toContain(
            failure !== undefined ? 'failed' : warned.has(vm) ? 'warned' : 'whole',
          );
          if (failure !== undefined) expect(failure, vm).toMatch(/^disp\d+: qubes\.BackupScan /);
        }
        expect(system.leftovers()).toEqual([]);
      },
    );

  labTest(mountable('ext4'))(
    'R44: a kernel that dies, or a service that is silent, ends as a failure that is told',
    async () => {
      const system = await labSystem();
      await system.run((app) => init(app, () => app.secrets()));
      const died = await backUp(system, ['data'], (guest) =>
        serveInstead(guest, 'echo c >/proc/sysrq-trigger; exec sleep 1000'),
      );
      expect(died.failures.get('data')).toMatch(/^disp\d+: qubes\.BackupScan /);
      const silent = await backUp(system, ['data'], (guest) => serveInstead(guest, 'exec sleep 1000'));
      expect(silent.failures.get('data')).toMatch(/^disp\d+: qubes\.BackupScan /);
      expect(system.leftovers()).toEqual([]);
      expect((await backUp(system, ['data'])).failures.size).toBe(0);
    },
  );

  labTest(mountable('ext4'))(
    'R44: who takes a disposable over gets no blob that its job does not grant, and no other service',
    async () => {
      const system = await labSystem();
      await system.add('other');
      // The other one has more blobs, and so their numbers.
      const secrets = Object.entries({ data: 50_000, other: 10_000_000 }).map(([vm, size]) =>
        Buffer.from(withMounted(system.imageOf(vm), 'rw', NEW_SECRET, String(size)), 'hex'),
      );
      await system.run((app) => init(app, () => app.secrets()));
      expect((await backUp(system, ['data', 'other'])).failures.size).toBe(0);
      for (const [greed, refused] of GREED) {
        const { sent, wrap } = recorder();
        const { failures } = await backUp(system, ['data'], (guest) => takeOver(guest, greed), wrap);
        expect(failures.get('data')).toMatch(refused);
        const all = Buffer.concat(sent);
        expect(all.includes('/dev/xvdi')).toBe(true);
        expect(secrets.map((secret) => all.includes(secret))).toEqual([false, false]);
      }
      for (const [attack, told] of ATTACKS) {
        const script = `exec /usr/lib/qubes-backup/bin/node /usr/lib/lab/usurper.mjs ${attack}`;
        const { failures } = await backUp(system, ['data'], (guest) => serveInstead(guest, script));
        expect(failures.get('data'), attack).toMatch(told);
        expect(system.leftovers()).toEqual([]);
      }
      expect((await backUp(system, ['data'])).failures.size).toBe(0);
    },
  );
});

/** A file of some bytes that does not compress; answers some of them as hexadecimal digits. */
const NEW_SECRET =
  'head -c "$2" /dev/urandom >"$1/secret"; tail -c +1001 "$1/secret" | head -c 32 | od -An -v -tx1 | tr -d " \\n"';

/** What guest/greedy.ts asks for, and what dom0 says to it. */
const GREED = [
  ['content', /^disp\d+: qubes\.BackupScan asked for old content of data \(blob \d+\)/],
  ['beyond', /^disp\d+: qubes\.BackupScan asked for blob \d+, which its job does not grant/],
] as const;

/** What guest/usurper.ts does: the first makes the connection end, the second leaves the session without a word. */
const ATTACKS = [
  ['call', /^disp\d+: qubes\.BackupScan ended .* \(exit status 255\)/],
  ['flood', /^disp\d+: qubes\.BackupScan said nothing for 30 s/],
] as const;

async function takeOver(guest: Guest, greed: string): Promise<void> {
  await serveInstead(guest, 'exec /usr/lib/qubes-backup/bin/node /usr/lib/lab/greedy.mjs');
  await inGuest(guest, `echo ${greed} >/run/greed`);
}

/** Keeps all that is sent to scans. */
function recorder(): { readonly sent: readonly Uint8Array[]; readonly wrap: Wrap } {
  const sent: Uint8Array[] = [];
  const wrap: Wrap = (call, service) => {
    if (service !== 'qubes.BackupScan') return call;
    const write = (pieces: readonly Uint8Array[]) => {
      sent.push(...pieces.map((piece) => Uint8Array.from(piece)));
      return call.io.write(pieces);
    };
    return { ...call, io: { read: (target) => call.io.read(target), write } };
  };
  return { sent, wrap };
}

/** Puts a script in the place of the scan, as root. */
async function serveInstead(guest: Guest, script: string): Promise<void> {
  const path = '/run/qubes-rpc/qubes.BackupScan';
  await inGuest(
    guest,
    `mkdir -p /run/qubes-rpc; cat >${path} <<'END'\n#!/bin/sh\n${script}\nEND\nchmod 755 ${path}`,
  );
}
