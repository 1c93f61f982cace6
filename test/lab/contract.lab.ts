/** The agent of a guest keeps qrexec's contract: what it finds, what it tells a service, as whom it runs, and how a call ends. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished } from 'vitest';
import { Sandboxes } from '../../dom0/domains/local/sandbox.ts';
import { parseVmName } from '../../shared/ids.ts';
import { rejection } from '../support/failure.ts';
import { tempFolder } from '../support/temp.ts';
import { Guest } from './guest.ts';
import { imageIn } from './image-files.ts';
import { answerOf, inGuest } from './in-guest.ts';
import { LabDomains } from './lab-domains.ts';
import { imageFolder, labTest } from './needs.ts';

async function bootedGuest(): Promise<Guest> {
  const sandboxes = new Sandboxes('auto', tempFolder());
  const guest = await Guest.start({
    ...{ name: 'work', image: imageIn(imageFolder()), sandboxes, drives: [], scratch: tempFolder() },
  });
  onTestFinished(() => guest.kill());
  return guest;
}

/** Installs a service that is a shell script, at a path below the places where services are looked for. */
const install = (path: string, script: string) =>
  `mkdir -p "$(dirname ${path})"; cat >${path} <<'END'\n#!/bin/sh\n${script}\nEND\nchmod 755 ${path}`;

/** The root is read-only: what a test installs there lies on memory, beside what is there. */
const WRITABLE = `
mkdir -p /tmp/kept
for place in /usr/local /etc/qubes-rpc /etc/qubes/rpc-config; do
  rm -rf /tmp/kept; cp -a $place /tmp/kept; mount -t tmpfs tmpfs $place; cp -a /tmp/kept/. $place
done
`;

async function ended(guest: Guest, service: string, argument = '', input?: string) {
  const call = guest.call(service, argument);
  if (input !== undefined) await call.io.write([Buffer.from(input)]);
  call.hangUp();
  const text = await answerOf(call);
  const { code } = await call.exited;
  return { code, text, said: call.stderr() };
}

describe('a guest’s agent', () => {
  labTest()('finds services, tells them what they are told, and ends calls, as qrexec does', async () => {
    const guest = await bootedGuest();
    await inGuest(
      guest,
      [
        WRITABLE,
        install('/etc/qubes-rpc/test.Where', 'echo etc'),
        install('/usr/local/etc/qubes-rpc/test.Where', 'echo local'),
        install('/etc/qubes-rpc/test.Where+one', 'echo etc for one'),
        install('/etc/qubes-rpc/test.Run', 'echo etc'),
        install('/run/qubes-rpc/test.Run', 'echo run'),
        install(
          '/etc/qubes-rpc/test.Told',
          'env | grep -E "^(QREXEC|USER|HOME)" | grep -v PID | sort; echo "$# $1"; pwd; id -u',
        ),
        install('/etc/qubes-rpc/test.Root', 'id -u; pwd'),
        'echo "force-user=\'root\'" >/etc/qubes/rpc-config/test.Root',
        install('/etc/qubes-rpc/test.Status', 'echo wrong >&2; exit "$1"'),
        install('/etc/qubes-rpc/test.Killed', 'kill -9 $$'),
        install('/etc/qubes-rpc/test.Echo', 'exec cat'),
        install('/etc/qubes-rpc/test.Held', '(sleep 1; echo late) & echo early'),
      ].join('\n'),
    );
    expect((await ended(guest, 'test.Where')).text).toBe('local\n');
    expect((await ended(guest, 'test.Where', 'one')).text).toBe('etc for one\n');
    expect((await ended(guest, 'test.Run')).text).toBe('run\n');
    const told = [
      'HOME=/home/user',
      'QREXEC_REMOTE_DOMAIN=dom0',
      'QREXEC_REQUESTED_TARGET_TYPE=',
      'QREXEC_SERVICE_ARGUMENT=a+b',
      'QREXEC_SERVICE_FULL_NAME=test.Told+a+b',
      'USER=user',
    ];
    expect((await ended(guest, 'test.Told', 'a+b')).text).toBe(
      [...told, '1 a+b', '/home/user', '1000', ''].join('\n'),
    );
    expect((await ended(guest, 'test.Told')).text).toContain('QREXEC_SERVICE_FULL_NAME=test.Told+\n');
    expect((await ended(guest, 'test.Told')).text).toContain('\n0 \n');
    expect((await ended(guest, 'test.Root')).text).toBe('0\n/root\n');
    expect(await ended(guest, 'test.Status', '7')).toEqual({ code: 7, text: '', said: 'wrong' });
    expect((await ended(guest, 'test.Killed')).code).toBe(128 + 9);
    expect((await ended(guest, 'test.Absent')).code).toBe(127);
    expect((await ended(guest, '../../bin/sh')).code).toBe(127);
    // The call is over when nobody holds its output any more.
    expect((await ended(guest, 'test.Held')).text).toBe('early\nlate\n');

    const large = 'x'.repeat(3_000_000);
    const echo = guest.call('test.Echo');
    const back = answerOf(echo);
    await echo.io.write([Buffer.from(large)]);
    echo.hangUp();
    expect((await back).length).toBe(large.length);

    // Who called is gone: the service meets closed descriptors, and other calls go on.
    const left = guest.call('test.Echo');
    await left.io.write([Buffer.from('a')]);
    left.kill();
    expect(await left.exited).toEqual({ code: null, signal: 'SIGKILL' });
    expect(
      await inGuest(
        guest,
        'for i in 1 2 3 4 5 6 7 8 9; do pgrep -x cat >/dev/null || break; sleep 1; done; pgrep -x cat || echo none',
      ),
    ).toBe('none\n');
  });

  labTest()('is called only if the policy says so, and not once the guest has died', async () => {
    const policyFolder = tempFolder();
    writeFileSync(
      join(policyFolder, '30-test.policy'),
      'qubes.VMRootShell * @adminvm @tag:qubes-backup-disposable allow\n',
    );
    const home = tempFolder();
    const image = imageIn(imageFolder());
    const domains = new LabDomains({ home, sandbox: 'auto', image, policyFolder });
    onTestFinished(() => domains.stopAll());
    const disposable = await domains.startDisposable(parseVmName('data'), { kind: 'nothing' });
    expect((await rejection(disposable.call('qubes.BackupScan'))).code).toBe('policy-denied');
    const call = await disposable.call('qubes.VMRootShell');
    await call.io.write([Buffer.from('echo c >/proc/sysrq-trigger\n')]);
    expect(await answerOf(call)).toBe('');
    expect(await call.exited).toEqual({ code: 255, signal: null });
    await disposable.destroy();
  });
});
