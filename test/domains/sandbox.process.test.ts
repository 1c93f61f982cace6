/** What a service in a sandbox sees and can do, for both renderers. */

import { once } from 'node:events';
import { mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { LocalDomains } from '../../dom0/domains/local/local.ts';
import { Sandboxes } from '../../dom0/domains/local/sandbox.ts';
import { parseVmName } from '../../shared/ids.ts';
import { namespaces, notRoot, program as installed, root, testNeeding } from '../support/needs.ts';
import type { Missing } from '../support/needs.ts';
import { isAlive, start, waitFor } from '../support/processes.ts';
import { tempFolder } from '../support/temp.ts';
import { askProbe, makeHome, makeProgram } from './program.ts';
import type { Answers, Questions } from './services/probe.ts';

const work = parseVmName('work');
const IS_ROOT = process.getuid?.() === 0;

/** Both renderers, and why one cannot be tested here. */
const MODES: readonly { readonly mode: 'bubblewrap' | 'unshare'; readonly missing: Missing }[] = [
  { mode: 'bubblewrap', missing: namespaces() ?? installed('bwrap') },
  { mode: 'unshare', missing: namespaces() },
];

/** Bits of capability sets, from capability.h of Linux. */
const BIT = {
  chown: 0,
  dac_override: 1,
  dac_read_search: 2,
  fowner: 3,
  fsetid: 4,
  mknod: 27,
  setfcap: 31,
  linux_immutable: 9,
} as const;

function capabilitySet(...names: readonly (keyof typeof BIT)[]): string {
  return names
    .reduce((sum, name) => sum + 2 ** BIT[name], 0)
    .toString(16)
    .padStart(16, '0');
}

for (const { mode, missing } of MODES) {
  if (missing !== undefined) console.warn(`NOT TESTED: isolation by ${mode}: ${missing}`);
}

describe.each(MODES)('R03: a sandbox by $mode', ({ mode, missing }) => {
  const isolated = testNeeding(missing);

  function makeDomains(): { folder: string; home: string; program: string; domains: LocalDomains } {
    const folder = tempFolder();
    const program = makeProgram(folder, {
      'test.Probe': 'probe.ts',
      'test.Idle': 'idle.ts',
      'test.Suicide': 'suicide.ts',
    });
    return { folder, program, ...makeHome(folder, { program, sandbox: mode }) };
  }

  async function probeSnapshot(domains: LocalDomains, questions: Partial<Questions> = {}): Promise<Answers> {
    const snapshot = await domains.snapshotVolume(work, 'private', 'files');
    const disposable = await domains.startDisposable(work, { kind: 'snapshot', snapshot });
    try {
      return await askProbe(await disposable.call('test.Probe'), questions);
    } finally {
      await disposable.destroy();
    }
  }

  isolated('has no network interface but loopback, and no other in /sys or /proc', async () => {
    const { domains } = makeDomains();
    const answers = await probeSnapshot(domains, { read: ['/sys/class/net', '/proc/net/dev'] });
    expect(answers.interfaces.filter((name) => name !== 'lo')).toEqual([]);
    expect(answers.read['/sys/class/net']).toBe('ENOENT');
    expect(answers.folders['/sys']).toEqual(['ENOENT']);
    expect(answers.networkDevices.filter((name) => name !== 'lo')).toEqual([]);
  });

  isolated(
    'of a storage VM has its owner’s settings to read, and the network only if its store is elsewhere',
    async () => {
      const { home, domains } = makeDomains();
      const machine = readFileSync('/proc/net/dev', 'latin1')
        .match(/^ *\S+(?=:)/gm)
        ?.map((name) => name.trim());
      for (const name of ['main', 'other'])
        mkdirSync(join(home, 'storage-config', name), { recursive: true });
      writeFileSync(join(home, 'storage-config', 'other', 'storage.toml'), 'secret');
      const file = '/rw/config/qubes-backup/storage.toml';
      const settings = [
        [undefined, false],
        ['folder = "/home/user/store"', false],
        ['s3 = ', false], // No TOML: its own services say so.
        ['[s3]\nbucket = "b"', true],
        ['[rclone]\nremote = "a:b"', true],
      ] as const;
      for (const [text, network] of settings) {
        if (text !== undefined) writeFileSync(join(home, 'storage-config', 'main', 'storage.toml'), text);
        const hidden = [join(home, 'storage-config', 'other', 'storage.toml'), '/etc/passwd', '/run', '/var'];
        const answers = await askProbe(await domains.callStorage('main', 'test.Probe'), {
          read: [file, ...hidden],
          write: [file],
        });
        expect(answers.read[file], text).toBe(text === undefined ? 'ENOENT' : 'ok');
        expect(answers.write[file]).not.toBe('ok');
        for (const path of hidden) expect(answers.read[path]).not.toBe('ok');
        expect(answers.networkDevices.toSorted(), text).toEqual(network ? machine?.toSorted() : ['lo']);
        const disposable = await probeSnapshot(domains, { read: [file] });
        expect(disposable.read[file]).toBe('ENOENT');
        expect(disposable.networkDevices).toEqual(['lo']);
      }
    },
  );

  isolated('sees its volume, and nothing of dom0, of other VMs and of the machine', async () => {
    const { folder, home, program, domains } = makeDomains();
    const hidden = [
      folder,
      home,
      join(home, 'state'),
      join(home, 'state', 'key'),
      join(home, 'vms', 'vault', 'private', 'theirs'),
      join(home, 'storage', 'main'),
      join(program, 'dom0', 'secret'),
      '/opt/qubes-backup/dom0',
      '/opt/qubes-backup/storagevm',
      '/opt/qubes-backup/services/storagevm',
      '/opt/qubes-backup/policies',
      '/etc/passwd',
      '/etc/hostname',
      '/root',
      '/home/../root',
      '/var',
      '/run',
      '/old',
      '/dev/mem',
      '/dev/tty',
      '/proc/1/root/etc/passwd',
    ];
    const answers = await probeSnapshot(domains, { read: ['/mnt/volume/mine', ...hidden] });
    expect(answers.read['/mnt/volume/mine']).toBe('ok');
    for (const path of hidden) expect([path, answers.read[path]]).not.toEqual([path, 'ok']);
    expect(answers.folders['/mnt']).toEqual(['volume']);
    expect(answers.folders['/opt']).toEqual(['node', 'qubes-backup']);
    expect(answers.folders['/opt/qubes-backup']).toEqual([
      'dvm',
      'node_modules',
      'package.json',
      'services',
      'shared',
    ]);
    expect(answers.folders['/home']).toEqual(['user']);
    expect(answers.folders['/dev']).toEqual(['full', 'null', 'random', 'urandom', 'zero']);
    expect(answers.folders['/etc']?.filter((name) => name !== 'ld.so.cache')).toEqual([]);
    expect(answers.hostname).toMatch(/^disp\d+$/);
    expect(answers.hostname).not.toBe(hostname());
  });

  isolated('sees no process of the machine', async () => {
    const { domains } = makeDomains();
    const answers = await probeSnapshot(domains, {
      read: [`/proc/${process.pid}/environ`, '/proc/1/environ'],
    });
    expect(answers.processes.length).toBeLessThanOrEqual(3);
    expect(answers.read[`/proc/${process.pid}/environ`]).not.toBe('ok');
  });

  isolated('cannot write but to its own /tmp and home', async () => {
    const { home, domains } = makeDomains();
    const closed = [
      '/mnt/volume/new',
      '/mnt/volume/mine',
      '/new',
      '/usr/new',
      '/etc/new',
      '/opt/qubes-backup/shared/new',
      '/opt/node',
      '/proc/sys/kernel/core_pattern',
      '/proc/sys/kernel/hostname',
      '/proc/sysrq-trigger',
      '/proc/self/oom_score_adj',
    ];
    const answers = await probeSnapshot(domains, { write: ['/tmp/new', '/home/user/new', ...closed] });
    expect(answers.write['/tmp/new']).toBe('ok');
    expect(answers.write['/home/user/new']).toBe('ok');
    for (const path of closed) expect([path, answers.write[path]]).not.toEqual([path, 'ok']);
    expect(readFileSync(join(home, 'vms', 'work', 'private', 'mine'), 'utf8')).toBe('mine');
  });

  isolated('keeps of all capabilities the one that reads every file, and gains none', async () => {
    const { domains } = makeDomains();
    const { status, initStatus } = await probeSnapshot(domains);
    for (const set of ['CapPrm', 'CapEff', 'CapInh', 'CapAmb'])
      expect([set, status[set]]).toEqual([set, capabilitySet('dac_override')]);
    expect(status['NoNewPrivs']).toBe('1');
    // The namespace's first process is no door to more.
    expect(BigInt(`0x${initStatus['CapEff'] ?? '0'}`) & ~BigInt(`0x${capabilitySet('dac_override')}`)).toBe(
      0n,
    );
  });

  isolated('gives a writer what restores owners, modes and devices, and no device works', async () => {
    const { domains } = makeDomains();
    const folder = tempFolder();
    const disposable = await domains.startDisposable(work, { kind: 'folder', folder });
    const answers = await askProbe(await disposable.call('test.Probe'), {
      write: ['/mnt/volume/new'],
      device: ['/mnt/volume/device', '/tmp/device', '/home/user/device'],
    });
    await disposable.destroy();
    const writer = ['chown', 'dac_override', 'fowner', 'fsetid', 'mknod'] as const;
    expect(answers.status['CapEff']).toBe(
      IS_ROOT ? capabilitySet(...writer, 'setfcap', 'linux_immutable') : capabilitySet(...writer),
    );
    expect(answers.write['/mnt/volume/new']).toBe('ok');
    expect(readFileSync(join(folder, 'new'), 'utf8')).toBe('written');
    for (const outcome of Object.values(answers.device)) expect(outcome).toBe(IS_ROOT ? 'EACCES' : 'failed');
  });

  isolated('gives a storage VM its home and no capability', async () => {
    const { home, domains } = makeDomains();
    const answers = await askProbe(await domains.callStorage('main', 'test.Probe'), {
      read: [join(home, 'state', 'key'), '/opt/qubes-backup/dvm', '/opt/qubes-backup/services/dvm', '/mnt'],
      write: ['/home/user/object'],
    });
    expect(answers.status['CapEff']).toBe(capabilitySet());
    expect(answers.status['CapPrm']).toBe(capabilitySet());
    expect(Object.values(answers.read)).toEqual(['ENOENT', 'ENOENT', 'ENOENT', 'ENOENT']);
    expect(readFileSync(join(home, 'storage', 'main', 'object'), 'utf8')).toBe('written');
    expect(answers.interfaces.filter((name) => name !== 'lo')).toEqual([]);
    expect(answers.hostname).toBe('main');
  });

  isolated(
    'R25: of dom0 shows what was chosen, without what is hidden in it, to read, and asks no policy',
    async () => {
      const folder = tempFolder();
      const at = (path: string) => join(folder, 'machine', path);
      for (const path of ['home/user/keys', 'etc/policy', 'beside']) mkdirSync(at(path), { recursive: true });
      for (const path of [
        'home/user/file',
        'home/user/keys/1',
        'home/user/key',
        'etc/policy/1',
        'beside/1',
        'single',
      ])
        writeFileSync(at(path), path);
      symlinkSync(at('beside'), at('etc/alias'));
      const program = makeProgram(folder, { 'test.Probe': 'probe.ts' }, '');
      const chosen = ['home/user', 'etc/policy', 'single', 'gone', 'etc/alias'].map(at);
      const hidden = ['home/user/keys', 'home/user/key', 'elsewhere'].map(at);
      const { domains, home } = makeHome(folder, { program, sandbox: mode, dom0: { chosen, hidden } });
      const [dom0] = await domains.list();
      expect(dom0).toMatchObject({ name: 'dom0', klass: 'AdminVM', volumes: ['private'] });
      const snapshot = await domains.snapshotVolume(parseVmName('dom0'), 'private', 'files');
      const disposable = await domains.startDisposable(parseVmName('dom0'), { kind: 'snapshot', snapshot });
      const inside = (path: string) => `/mnt/volume${at(path)}`;
      const shown = ['home/user/file', 'etc/policy/1', 'single'];
      const gone = ['home/user/key', 'home/user/keys/1', 'beside/1', 'etc/alias/1', 'gone'];
      const answers = await askProbe(await disposable.call('test.Probe'), {
        read: [...[...shown, ...gone].map(inside), at('single'), join(home, 'state/key'), '/etc/passwd'],
        write: [...[...shown, 'new', 'home/user/new', 'home/user/key'].map(inside)],
      });
      await disposable.destroy();
      for (const path of shown) expect([path, answers.read[inside(path)]]).toEqual([path, 'ok']);
      const rest = [...gone.map(inside), at('single'), join(home, 'state/key'), '/etc/passwd'];
      for (const path of rest) expect([path, answers.read[path]]).not.toEqual([path, 'ok']);
      expect(Object.values(answers.write).filter((result) => result === 'ok')).toEqual([]);
      for (const path of ['home/user/file', 'home/user/key'])
        expect(readFileSync(at(path), 'utf8')).toBe(path);
      expect(answers.status['CapEff']).toBe(capabilitySet('dac_override'));
      expect(answers.interfaces.filter((name) => name !== 'lo')).toEqual([]);
    },
  );

  isolated('gives a folder of dom0 that is a store nothing but that folder', async () => {
    const { home, domains } = makeDomains();
    const folder = join(home, 'disk', 'store');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(home, 'disk', 'other'), 'not to be seen');
    const answers = await askProbe(await domains.callFolder('usb', folder, 'test.Probe'), {
      read: [join(home, 'disk', 'other'), join(home, 'state', 'key'), folder, '/home/user/../other', '/mnt'],
      write: ['/home/user/object'],
    });
    expect(answers.status['CapEff']).toBe(capabilitySet());
    expect(Object.values(answers.read)).toEqual(['ENOENT', 'ENOENT', 'ENOENT', 'ENOENT', 'ENOENT']);
    expect(readFileSync(join(folder, 'object'), 'utf8')).toBe('written');
    expect(answers.interfaces.filter((name) => name !== 'lo')).toEqual([]);
  });

  testNeeding(missing, root)(
    'R20: run by root it sees foreign owners, has no group, and reads every file',
    async () => {
      const { home, domains } = makeDomains();
      const file = join(home, 'vms', 'work', 'private', 'closed');
      writeFileSync(file, 'x', { mode: 0 });
      const answers = await probeSnapshot(domains, { read: ['/mnt/volume/closed'] });
      expect(answers.read['/mnt/volume/closed']).toBe('ok');
      expect(answers.status['Groups']).toBe('');
      expect(answers.uid).toBe(0);
      expect(answers.userMap).toBe('0 0 4294967295');
    },
  );

  testNeeding(missing, notRoot)('run by a user it is that user, and reads its own closed files', async () => {
    const { home, domains } = makeDomains();
    writeFileSync(join(home, 'vms', 'work', 'private', 'closed'), 'x', { mode: 0 });
    mkdirSync(join(home, 'vms', 'work', 'private', 'folder'), { mode: 0 });
    const answers = await probeSnapshot(domains, { read: ['/mnt/volume/closed', '/mnt/volume/folder'] });
    expect(answers.read).toEqual({ '/mnt/volume/closed': 'ok', '/mnt/volume/folder': 'ok' });
    expect(answers.uid).toBe(process.getuid?.());
    expect(answers.userMap).toBe(`${answers.uid} ${answers.uid} 1`);
  });

  isolated('R10: inherits no open file of dom0, whatever its number', async () => {
    const { folder, domains } = makeDomains();
    const secret = join(folder, 'passphrase');
    writeFileSync(secret, 'secret');
    // As the shell leaves `63<FILE`: open, and inherited by every child.
    const parent = start('bash', [
      '-c',
      'exec 63<"$0" 200<"$0"; exec "$@"',
      secret,
      ...node('inherit.ts', join(folder, 'home'), join(folder, 'program'), mode),
    ]);
    const answers = JSON.parse(await textOf(parent)) as Answers;
    expect(answers.descriptors.filter((target) => target.startsWith('/') && target !== '/dev/null')).toEqual(
      [],
    );
    expect(answers.coreLimit).toMatch(/^0\s+0$/);
    await domains.stopAll();
  });

  testNeeding(missing, root)('run by root it has none of dom0’s groups', async () => {
    const { folder } = makeDomains();
    const dom0 = node('inherit.ts', join(folder, 'home'), join(folder, 'program'), mode);
    const answers = JSON.parse(await textOf(start('setpriv', ['--groups', '7', '--', ...dom0]))) as Answers;
    expect(answers.status['Groups']).toBe('');
  });

  isolated('dies with dom0, with all that it runs', async () => {
    const { folder } = makeDomains();
    const parent = start(
      ...split(node('parent.ts', join(folder, 'home'), join(folder, 'program'), mode)),
      {},
    );
    await new Promise((resolve) => parent.stdout.once('data', resolve));
    const before = childrenOf(parent.pid ?? 0);
    expect(before.length).toBeGreaterThan(2);
    parent.kill('SIGKILL');
    await waitFor(() => !before.some(isAlive), 'the sandbox dies');
  });

  isolated('kill() ends all that the service started', async () => {
    const { domains } = makeDomains();
    const disposable = await domains.startDisposable(work, { kind: 'nothing' });
    const call = await disposable.call('test.Idle');
    await call.io.read(Buffer.alloc(100));
    const before = childrenOf(process.pid);
    call.kill();
    expect((await call.exited).signal).toBe('SIGKILL');
    await waitFor(() => !before.some(isAlive), 'the sandbox dies');
    await disposable.destroy();
  });

  isolated('a service that kills itself is dead', async () => {
    const { domains } = makeDomains();
    const call = await (await domains.startDisposable(work, { kind: 'nothing' })).call('test.Suicide');
    expect(await call.io.read(Buffer.alloc(10))).toBe(0);
    expect(await call.exited).toEqual({ code: 128 + 9, signal: null });
  });
});

test('without a sandbox too, a process and what it started end with dom0, however it ends', async () => {
  const command = await new Sandboxes('none', tempFolder()).command({
    hostname: 'none',
    binds: [],
    tmpfs: [],
    image: undefined,
    capabilities: [],
    network: false,
    environment: {},
    cwd: '/',
    argv: ['/bin/sh', '-c', 'sleep 1000 & echo $! $$; exec sleep 1000'],
  });
  const dom0 = start('/bin/sh', ['-c', 'setsid "$@" & wait', 'sh', ...command]);
  const [pids] = (await once(dom0.stdout, 'data')) as [Buffer];
  const both = pids.toString().trim().split(' ').map(Number);
  expect(both.map(isAlive)).toEqual([true, true]);
  dom0.kill('SIGKILL');
  await waitFor(() => !both.some(isAlive), 'both end');
});

test('a sandbox that cannot be built is an error that says what to do', async () => {
  const folder = tempFolder();
  const program = makeProgram(folder, {});
  const { domains, home } = makeHome(folder, { program, sandbox: 'unshare' });
  // Nothing can be mounted on what is not there.
  rmSync(join(home, 'state', 'local', 'root'), { recursive: true });
  await expect(domains.sandboxMode()).rejects.toMatchObject({
    code: 'sandbox',
    message: expect.stringMatching(/--sandbox none/) as string,
  });
});

/** The command that runs a script beside this file. */
function node(script: string, ...args: readonly string[]): readonly string[] {
  return [process.execPath, join(import.meta.dirname, script), ...args];
}

function split([program = '', ...args]: readonly string[]): [string, readonly string[]] {
  return [program, args];
}

async function textOf(child: ReturnType<typeof start>): Promise<string> {
  const pieces: Buffer[] = [];
  const errors: Buffer[] = [];
  child.stderr.on('data', (piece: Buffer) => errors.push(piece));
  for await (const piece of child.stdout as AsyncIterable<Buffer>) pieces.push(piece);
  const text = Buffer.concat(pieces).toString('utf8');
  if (text === '') throw new Error(Buffer.concat(errors).toString('utf8'));
  return text;
}

/** All living descendants of a process. */
function childrenOf(pid: number): number[] {
  const parents = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => [Number(name), parentOf(name)] as const);
  const below = (parent: number): number[] =>
    parents.filter(([, of]) => of === parent).flatMap(([child]) => [child, ...below(child)]);
  return below(pid);
}

function parentOf(pid: string): number {
  try {
    return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? '0');
  } catch {
    return 0; // Gone meanwhile.
  }
}
