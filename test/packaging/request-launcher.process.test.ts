/** The launcher by which qrexec calls a service of dom0, laid out as its package does. */

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packages } from '../../packaging/contents.ts';
import { readRelease } from '../../packaging/release.ts';
import { layOut } from '../../packaging/tree.ts';
import { DOM0_NODE_OPTIONS } from '../../shared/node-options.ts';
import { outcome, run, start, waitFor } from '../support/processes.ts';
import { tempFolder } from '../support/temp.ts';
import { CODE } from './expected.ts';

/** What of dom0's package answers requests; programs that stand in for others come first in `PATH`. */
async function installed(programs: Readonly<Record<string, string>>) {
  const release = readRelease();
  const { tree } = (await packages(release)).find(({ name }) => name === 'qubes-backup-dom0')!;
  const needed = [...tree].filter(([path]) => /\/(?:dom0\/[^/]+\.mjs|services\/dom0\/[^/]+)$/.test(path));
  const folder = tempFolder();
  await layOut(new Map(needed), folder, release.seconds);
  const code = join(folder, CODE);
  execFileSync('mkdir', ['-p', join(code, 'bin'), join(folder, 'rpc'), join(folder, 'programs')]);
  const link = join(folder, 'rpc/qubes.BackupRequest');
  symlinkSync(join(code, 'services/dom0/qubes.BackupRequest'), link);
  for (const [name, script] of Object.entries({ id: 'echo 0', ...programs }))
    writeFileSync(join(folder, 'programs', name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  const env = {
    PATH: `${join(folder, 'programs')}:/usr/bin:/bin`,
    QREXEC_REMOTE_DOMAIN: 'work',
    QREXEC_SERVICE_ARGUMENT: 'list',
    NODE_OPTIONS: '--require=/nonexistent',
  };
  return { folder, link, node: join(code, 'bin/node'), env };
}

test('runs the bundle with dom0’s options, says nothing on stderr, and one answer', async () => {
  const { link, node, env } = await installed({});
  symlinkSync(process.execPath, node);
  const config = existsSync('/etc/qubes-backup/config.toml');
  const { code, stdout, stderr } = await run(link, ['list'], { env });
  const answer = config ? /^refused: / : /^failed: the owner of this machine finds the reason in dom0\n$/;
  expect([code, stderr, stdout.toString()]).toEqual([1, '', expect.stringMatching(answer)]);
  rmSync(node);
  writeFileSync(node, '#!/bin/sh\necho "$@"; echo oops >&2', { mode: 0o755 });
  const started = await run(link, ['--eval', 'list'], { env });
  const module = join(node, '../../services/dom0/qubes.BackupRequest.mjs');
  expect([started.stdout.toString(), started.stderr]).toEqual([
    `${[...DOM0_NODE_OPTIONS, module].join(' ')}\n`,
    '',
  ]);
});

test('without Node.js it fails as it does otherwise, with no status of qrexec itself, and so does a service of a VM', async () => {
  const { link, env } = await installed({});
  const { code, stdout, stderr } = await run(link, ['list'], { env });
  expect([code, stdout.toString(), stderr]).toEqual([
    1,
    'failed: the owner of this machine finds the reason in dom0\n',
    '',
  ]);
  const release = readRelease();
  const { tree } = (await packages(release)).find(({ name }) => name === 'qubes-backup-dvm')!;
  const launchers = [...tree].filter(([path]) => path.endsWith('/services/dvm/qubes.BackupScan'));
  expect(launchers).toHaveLength(1);
  const dvm = tempFolder();
  await layOut(new Map(launchers), dvm, release.seconds);
  const service = await run(join(dvm, CODE, 'services/dvm/qubes.BackupScan'), [], { env });
  expect([service.code, service.stderr]).toEqual([
    1,
    expect.stringMatching(/bin\/node is missing: install the package qubes-backup-runtime\n$/),
  ]);
});

test('of a flood of calls one gets as far as Node.js', async () => {
  const { folder, link, node, env } = await installed({});
  const seen = join(folder, 'seen');
  writeFileSync(node, `#!/bin/sh\necho started >>'${seen}'\ncat >/dev/null`, { mode: 0o755 });
  const first = start(link, ['list'], { env });
  await waitFor(() => existsSync(seen), 'the first call has started');
  const others = await Promise.all(Array.from({ length: 20 }, () => run(link, ['list'], { env })));
  for (const { code, stdout } of others)
    expect([code, stdout.toString()]).toEqual([1, 'busy: another request is under way; try again later\n']);
  expect(readFileSync(seen, 'utf8')).toBe('started\n');
  first.stdin.end();
  await outcome(first);
  expect((await run(link, ['list'], { env })).code).toBe(0);
});

test('becomes root by sudo, with who asks and what, and with no argument of the VM’s', async () => {
  const { link, env } = await installed({ id: 'echo 1000', sudo: 'printf "%s\\n" "$@"' });
  const { stdout } = await run(link, ['-x'], { env: { ...env, QREXEC_SERVICE_ARGUMENT: '-x' } });
  const words = stdout.toString().split('\n');
  expect(words.slice(0, 5)).toEqual([
    '-n',
    '--',
    'env',
    'QREXEC_REMOTE_DOMAIN=work',
    'QREXEC_SERVICE_ARGUMENT=-x',
  ]);
  expect(words.slice(5)).toEqual([expect.stringMatching(/\/services\/dom0\/qubes\.BackupRequest$/), '']);
});
