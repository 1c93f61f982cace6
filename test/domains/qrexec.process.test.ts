/** Calls as the local driver makes them: names, policy, look-up, environment, stdio, end. */

import { copyFileSync, mkdirSync, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { LocalDomains } from '../../dom0/domains/local/local.ts';
import { Qrexec } from '../../dom0/domains/local/qrexec.ts';
import type { CallTarget } from '../../dom0/domains/local/qrexec.ts';
import { Sandboxes } from '../../dom0/domains/local/sandbox.ts';
import { parseVmName } from '../../shared/ids.ts';
import { MAX_STDERR_KEPT } from '../../shared/limits.ts';
import { SANDBOX } from '../support/home.ts';
import { namespaces, testNeeding } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';
import { askProbe, makeHome, makeProgram, readAll } from './program.ts';

const work = parseVmName('work');
const SERVICES = { 'test.Probe': 'probe.ts', 'test.Flood': 'flood.ts', 'test.Wait': 'wait.ts' };
/** Where the program and the home are in a sandbox; elsewhere they are where they are. */
const sandboxed = testNeeding(namespaces());

interface Setup {
  readonly program: string;
  readonly home: string;
  readonly domains: LocalDomains;
}

function setUp(sandbox: 'auto' | 'none' = SANDBOX, policy?: string): Setup {
  const folder = tempFolder();
  const program = makeProgram(folder, SERVICES, policy);
  return { program, ...makeHome(folder, { program, sandbox }) };
}

/** qrexec itself, for calls with an argument, which no service of the product has. */
function directly({ program, home }: Setup, sandbox: 'auto' | 'none' = SANDBOX) {
  const qrexec = new Qrexec(
    program,
    join(program, 'policies'),
    new Sandboxes(sandbox, join(home, 'state', 'local', 'root')),
  );
  const target: CallTarget = {
    name: 'main',
    role: 'storagevm',
    policy: { klass: 'AppVM', tags: ['qubes-backup-storage'] },
    binds: [],
    home: join(home, 'storage', 'main'),
    image: undefined,
    capabilities: [],
  };
  return { qrexec, target };
}

describe('the contract of a call', () => {
  sandboxed('the environment and argv are qrexec’s and a login’s, and nothing else', async () => {
    process.env['TEST_SECRET'] = 'secret';
    const answers = await askProbe(await setUp().domains.callStorage('main', 'test.Probe'));
    delete process.env['TEST_SECRET'];
    expect(answers.environment).toEqual({
      HOME: '/home/user',
      USER: 'user',
      LANG: 'C',
      PATH: '/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin',
      QREXEC_REMOTE_DOMAIN: 'dom0',
      QREXEC_SERVICE_FULL_NAME: 'test.Probe+',
      QREXEC_SERVICE_ARGUMENT: '',
      QREXEC_AGENT_PID: '1',
      QREXEC_REQUESTED_TARGET_TYPE: '',
    });
    expect(answers.argv).toEqual(['/opt/node', '/opt/qubes-backup/services/storagevm/test.Probe.ts']);
    expect(answers.cwd).toBe('/home/user');
  });

  test('without a sandbox they are the same, but for the places', async () => {
    const setup = setUp('none');
    const answers = await askProbe(await setup.domains.callStorage('main', 'test.Probe'));
    expect(Object.keys(answers.environment).sort()).toEqual([
      'HOME',
      'LANG',
      'PATH',
      'QREXEC_AGENT_PID',
      'QREXEC_REMOTE_DOMAIN',
      'QREXEC_REQUESTED_TARGET_TYPE',
      'QREXEC_SERVICE_ARGUMENT',
      'QREXEC_SERVICE_FULL_NAME',
      'USER',
    ]);
    expect(answers.environment['HOME']).toBe(join(setup.home, 'storage', 'main'));
    expect(answers.cwd).toBe(join(setup.home, 'storage', 'main'));
    expect(answers.argv).toEqual([
      process.execPath,
      join(setup.program, 'services', 'storagevm', 'test.Probe.ts'),
    ]);
    expect(answers.coreLimit).toMatch(/^0\s+0$/);
  });

  test('without a sandbox a disposable has its volume where it is, and a home that goes with it', async () => {
    const { home, domains } = setUp('none');
    const snapshot = await domains.snapshotVolume(work, 'private', 'files');
    const disposable = await domains.startDisposable(work, { kind: 'snapshot', snapshot });
    expect(disposable.attached).toEqual({ kind: 'folder', path: join(home, 'vms', 'work', 'private') });
    const answers = await askProbe(await disposable.call('test.Probe'));
    expect(existsSync(answers.cwd)).toBe(true);
    await disposable.destroy();
    await disposable.destroy();
    expect(existsSync(answers.cwd)).toBe(false);
  });

  test('compiled code is used where there is some, and is for services to read only', async () => {
    const { domains, program } = setUp();
    const cache = 'node_modules/.cache/qubes-backup';
    const ask = async () => (await askProbe(await domains.callStorage('main', 'test.Probe'))).environment;
    expect(Object.keys(await ask()).filter((name) => name.startsWith('NODE_'))).toEqual([]);
    mkdirSync(join(program, cache), { recursive: true });
    const { NODE_COMPILE_CACHE: folder = '', NODE_COMPILE_CACHE_PORTABLE: portable } = await ask();
    expect([folder.endsWith(`/${cache}`), portable]).toEqual([true, '1']);
    if (SANDBOX !== 'none') expect(readdirSync(join(program, cache))).toEqual([]);
  });

  test('an argument is passed as argv[1] and in the environment', async () => {
    const { qrexec, target } = directly(setUp());
    const answers = await askProbe(await qrexec.call(target, 'test.Probe', 'an.argument+with_all-9'));
    expect(answers.argv.slice(2)).toEqual(['an.argument+with_all-9']);
    expect(answers.environment['QREXEC_SERVICE_ARGUMENT']).toBe('an.argument+with_all-9');
    expect(answers.environment['QREXEC_SERVICE_FULL_NAME']).toBe('test.Probe+an.argument+with_all-9');
  });

  test('SERVICE+ARGUMENT is looked up before SERVICE', async () => {
    const setup = setUp();
    const services = join(setup.program, 'services', 'storagevm');
    writeFileSync(
      join(services, 'test.Flood+special.ts'),
      "import { writeSync } from 'node:fs'; writeSync(1, 'special');",
    );
    const { qrexec, target } = directly(setup);
    expect(await readAll(await qrexec.call(target, 'test.Flood', 'special'))).toBe('special');
    expect(await readAll(await qrexec.call(target, 'test.Flood', '0'))).toBe('answer');
  });

  test('the exit status of the service is the call’s', async () => {
    const { qrexec, target } = directly(setUp());
    for (const code of [0, 1, 42]) {
      const call = await qrexec.call(target, 'test.Flood', String(code));
      await readAll(call);
      expect(await call.exited).toEqual({ code, signal: null });
    }
  });
});

describe('a call that must not be', () => {
  test.each([
    ['a slash', '../secret', ''],
    ['a plus', 'test.Probe+x', ''],
    ['a leading dash', '-c', ''],
    ['no service', '', ''],
    ['a space in the argument', 'test.Probe', 'a b'],
    ['a slash in the argument', 'test.Probe', '../x'],
    ['a zero byte in the argument', 'test.Probe', '\0'],
    ['1,024 bytes', 'test.Probe', 'x'.repeat(1024 - 'test.Probe+'.length)],
  ])('with %s is refused before anything runs', async (_what, service, argument) => {
    const { qrexec, target } = directly(setUp('none'), 'none');
    await expect(qrexec.call(target, service, argument)).rejects.toMatchObject({ code: 'usage' });
  });

  test('1,023 bytes are not too many', async () => {
    const { qrexec, target } = directly(setUp('none'), 'none');
    const argument = '0'.repeat(1023 - 'test.Flood+'.length);
    expect(await readAll(await qrexec.call(target, 'test.Flood', argument.slice(0, 200)))).toBe('answer');
    await expect(qrexec.call(target, 'test.None', argument)).rejects.toMatchObject({
      code: expect.not.stringMatching('usage') as string,
    });
  });

  test('an unknown service is named with its VM', async () => {
    const { domains } = setUp();
    await expect(domains.callStorage('main', 'test.None')).rejects.toMatchObject({
      code: 'service-failed',
      message: expect.stringMatching(/^main has no service test\.None/) as string,
    });
  });

  test('a service of the other part is unknown', async () => {
    const setup = setUp();
    rmSync(join(setup.program, 'services', 'storagevm', 'test.Probe.ts'));
    await expect(setup.domains.callStorage('main', 'test.Probe')).rejects.toMatchObject({
      code: 'service-failed',
    });
  });

  test('a deny for dom0 is obeyed', async () => {
    const setup = setUp('none', 'test.Probe * @adminvm @anyvm deny\n* * @adminvm * allow\n');
    await expect(setup.domains.callStorage('main', 'test.Probe')).rejects.toMatchObject({
      code: 'policy-denied',
      message: expect.stringMatching(
        /test\.Probe from dom0 to main: denied by .*10-test\.policy:1/,
      ) as string,
    });
    expect(await readAll(await setup.domains.callStorage('main', 'test.Flood'))).toBe('answer');
  });

  test('a policy with an error denies every call', async () => {
    const setup = setUp('none');
    copyFileSync(
      join(setup.program, 'policies', '10-test.policy'),
      join(setup.program, 'policies', '90-more.policy'),
    );
    expect(await readAll(await setup.domains.callStorage('main', 'test.Flood'))).toBe('answer');
    writeFileSync(join(setup.program, 'policies', '90-more.policy'), 'oops\n');
    await expect(setup.domains.callStorage('main', 'test.Flood')).rejects.toThrow(/90-more\.policy:1/);
  });

  test('a redirection elsewhere is refused', async () => {
    const setup = setUp('none', '* * @adminvm * allow target=@adminvm\n');
    await expect(setup.domains.callStorage('main', 'test.Flood')).rejects.toMatchObject({
      code: 'policy-denied',
    });
  });

  test('a storage VM is called by a valid name, and has to be there', async () => {
    const { home, domains } = setUp('none');
    for (const name of ['', '..', 'a/b', '-x'])
      await expect(domains.callStorage(name, 'test.Flood')).rejects.toMatchObject({ code: 'usage' });
    await expect(domains.callStorage('other', 'test.Flood')).rejects.toMatchObject({
      code: 'store-missing',
      message: expect.stringContaining(join(home, 'storage', 'other')) as string,
    });
    await domains.prepareStorage('other');
    expect(await readAll(await domains.callStorage('other', 'test.Flood'))).toBe('answer');
  });
});

test('a folder of dom0 as a store is no call of a VM: no policy is asked, but it has to be there', async () => {
  const { home, domains } = setUp('none', '* * * * deny\n');
  const folder = join(home, 'disk');
  await expect(domains.callFolder('usb', folder, 'test.Flood')).rejects.toMatchObject({
    code: 'store-missing',
    message: expect.stringContaining(folder) as string,
  });
  mkdirSync(folder);
  expect(await readAll(await domains.callFolder('usb', folder, 'test.Flood'))).toBe('answer');
  await expect(domains.callStorage('main', 'test.Flood')).rejects.toMatchObject({ code: 'policy-denied' });
});

describe.each(['none', SANDBOX] as const)('the end of a call, sandbox %s', (sandbox) => {
  test('a flood of stderr stalls nothing, and its beginning is kept as printable text', async () => {
    const { domains } = setUp(sandbox);
    const call = await domains.callStorage('main', 'test.Flood');
    expect(await readAll(call)).toBe('answer');
    expect(call.stderr()).toMatch(/^[\x20-\x7e]+$/);
    expect(call.stderr()).toMatch(/noise x{1000} \/ /);
    expect(call.stderr().length).toBeLessThanOrEqual(MAX_STDERR_KEPT + 100);
  });

  test('hanging up on a service that nobody reads from ends the call', async () => {
    const { domains } = setUp(sandbox);
    const call = await domains.callStorage('main', 'test.Flood');
    call.hangUp();
    expect(await call.exited).toEqual({ code: 0, signal: null });
    call.kill();
  });

  test('writing to a service that is gone is an error of the write, and of nothing else', async () => {
    const { domains } = setUp(sandbox);
    const call = await domains.callStorage('main', 'test.Flood');
    await readAll(call);
    await expect(call.io.write([Buffer.alloc(1 << 20)])).rejects.toMatchObject({ code: 'service-died' });
  });

  test('stopAll() ends every service, and a destroyed disposable starts no other', async () => {
    const { home, domains } = setUp(sandbox);
    const disposable = await domains.startDisposable(work, { kind: 'nothing' });
    const calls = [await disposable.call('test.Wait'), await domains.callStorage('main', 'test.Wait')];
    const starting = disposable.call('test.Wait');
    await domains.stopAll();
    for (const call of [...calls, await starting])
      expect(await call.exited).toEqual({ code: null, signal: 'SIGKILL' });
    await expect(disposable.call('test.Wait')).rejects.toMatchObject({ code: 'internal' });
    expect(readdirSync(join(home, 'state', 'local', 'volatile'))).toEqual([]);
  });
});
