/** R03 R56: calls of services through qrexec-client, and the installed policy before each. */

import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { ServiceCall } from '../../dom0/domains/domains.ts';
import { rejection } from '../support/failure.ts';
import { Callable } from './calls-kit.ts';

const VM = { klass: 'AppVM', tags: ['qubes-backup-storage'] };

async function textOf(call: ServiceCall): Promise<string> {
  const pieces: Buffer[] = [];
  for (;;) {
    const buffer = Buffer.alloc(64 * 1024);
    const length = await call.io.read(buffer);
    if (length === 0) return Buffer.concat(pieces).toString();
    pieces.push(buffer.subarray(0, length));
  }
}

function callOf(machine: Callable, service: string, argument = '', target = 'vault') {
  return machine.calls.call({ service, argument, target, vm: VM }, { connectTimeout: 60 });
}

describe('a service of a VM', () => {
  test('is called as qrexec calls it, and its status is the call’s', async () => {
    const machine = new Callable();
    machine.vm('vault', {
      'test.Echo': 'echo "$# $1 $QREXEC_SERVICE_FULL_NAME $QREXEC_REMOTE_DOMAIN"; pwd; cat; exit 3',
    });
    const call = await callOf(machine, 'test.Echo', 'some+argument');
    await call.io.write([Buffer.from('what dom0 says')]);
    call.hangUp();
    expect(await textOf(call)).toBe(
      `1 some+argument test.Echo+some+argument dom0\n${machine.folder}/vault/home/user\nwhat dom0 says`,
    );
    expect(await call.exited).toEqual({ code: 3, signal: null });
    expect(machine.seen).toEqual(['-d vault -w 60 -T -- DEFAULT:QUBESRPC test.Echo+some+argument dom0']);
  });

  test('without an argument has none, and the file of an argument comes before, in /usr/local first', async () => {
    const machine = new Callable();
    machine.vm('vault', {
      'test.One': 'echo "$#"',
      'test.One+x': 'echo of the argument',
      'usr/local/etc/qubes-rpc/test.One': 'echo "local $#"',
      'usr/local/etc/qubes-rpc/test.Two': 'echo local',
      'run/qubes-rpc/test.Two': 'echo of this boot',
    });
    expect(await textOf(await callOf(machine, 'test.One'))).toBe('local 0\n');
    expect(await textOf(await callOf(machine, 'test.One', 'x'))).toBe('of the argument\n');
    expect(await textOf(await callOf(machine, 'test.Two'))).toBe('of this boot\n');
  });

  test.each([
    ['that is not installed', 'vault', 'test.None', 127, 'not installed'],
    ['of a VM that does not run', 'nowhere', 'test.One', 125, 'see the journal'],
    ['that is no program', 'vault', 'test.Text', 125, 'see the journal'],
    ['that is killed', 'vault', 'test.Dies', 143, ''],
    ['that says what a terminal would obey', 'vault', 'test.Says', 9, 'it is _[2J so'],
  ])('%s says what to do', async (_what, target, service, status, hint) => {
    const machine = new Callable();
    machine.vm('vault', {
      'test.Text': '',
      'test.Dies': 'kill -TERM $$',
      'test.Says': String.raw`printf 'it is \033[2J so' >&2; exit 9`,
    });
    chmodSync(join(machine.folder, 'vault/etc/qubes-rpc/test.Text'), 0o644);
    const call = await callOf(machine, service, '', target);
    expect(await textOf(call)).toBe('');
    expect((await call.exited).code).toBe(status);
    expect(call.stderr()).toContain(hint);
  });

  test('of no possible name is not called', async () => {
    const machine = new Callable();
    for (const [service, argument] of [
      ['-d', ''],
      ['test.One two', ''],
      ['test.One', 'a b'],
      ['x'.repeat(1100), ''],
    ] as const)
      expect((await rejection(callOf(machine, service, argument))).code).toBe('usage');
  });

  test('ends with its caller', async () => {
    const machine = new Callable();
    machine.vm('vault', { 'test.Wait': 'echo there; cat >/dev/null; sleep 1000' });
    const call = await callOf(machine, 'test.Wait');
    await call.io.read(Buffer.alloc(100));
    await machine.calls.stopAll();
    expect((await call.exited).signal).toBe('SIGKILL');
  });
});

describe('the policy', () => {
  const allowing = 'test.Echo + @adminvm @tag:qubes-backup-storage allow';

  async function outcome(machine: Callable): Promise<string> {
    machine.vm('vault', { 'test.Echo': 'echo called' });
    try {
      return await textOf(await callOf(machine, 'test.Echo'));
    } catch (error) {
      return error instanceof Error ? error.message : '';
    }
  }

  test('is asked of the system’s own evaluator, which is obeyed', async () => {
    const machine = new Callable();
    machine.policy(allowing);
    machine.evaluator('[ "$*" = "--just-evaluate dom0 vault test.Echo+" ] || exit 0; exit 1');
    expect(await outcome(machine)).toContain('the policy denies test.Echo to vault');
  });

  test.each([
    ['crashes', 'echo Traceback >&2; exit 1'],
    ['does not know the option', 'echo usage >&2; exit 2'],
    ['is killed', 'kill -9 $$'],
  ])('is read by us where that %s', async (_what, script) => {
    const machine = new Callable();
    machine.evaluator(script);
    machine.policy(allowing);
    expect(await outcome(machine)).toBe('called\n');
    machine.policy(`test.Echo * @adminvm vault deny\n${allowing}`);
    expect(await outcome(machine)).toMatch(/denied by .*30-test\.policy:1/);
    machine.policy('test.Echo + @adminvm vault ask');
    expect(await outcome(machine)).toMatch(/nobody to ask/);
    machine.policy('test.Echo + @adminvm vault allow target=other');
    expect(await outcome(machine)).toMatch(/leads to no VM|goes where it was asked to|refuses/);
    machine.policy('nonsense');
    expect(await outcome(machine)).toMatch(/denies every call/);
  });
});
