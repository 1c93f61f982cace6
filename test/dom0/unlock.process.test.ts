/** R51: what opens the repository with nobody at the keyboard. */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { runCommand } from '../fidelity/command-line.ts';
import { COMMAND, Home, SANDBOX } from '../support/home.ts';
import { program, testNeeding } from '../support/needs.ts';
import { makeTemp, removeTree } from '../support/temp.ts';

const inKeyring = (script: string, ...args: readonly string[]) =>
  spawnSync('keyctl', ['session', '-', 'sh', '-c', `keyctl link @u @s && ${script}`, 'sh', ...args], {
    encoding: 'latin1',
  });
const keyring = inKeyring('true').status === 0 ? undefined : 'no keyctl, or no keyring of the kernel';
const onKeyring = testNeeding(keyring);

/** A home with a repository that opens by a key file and a passphrase. */
let template: Home;
beforeAll(() => {
  template = new Home({ folder: makeTemp() });
  writeFileSync(join(template.folder, 'passphrase'), 'correct horse battery staple\n');
  runCommand(template, '--passphrase-file', join(template.folder, 'passphrase'), 'init');
});
afterAll(() => removeTree(template.folder));
afterEach(() => void vi.unstubAllEnvs());

const nameOf = (home: Home) => `qubes-backup:${home.state}`;
const payloadOf = (home: Home) =>
  inKeyring('keyctl pipe "$(keyctl search @u user "$1")"', nameOf(home)).stdout;

function copy(): Home {
  const home = new Home({ template });
  onTestFinished(() => void inKeyring('keyctl unlink "$(keyctl search @u user "$1")" @u', nameOf(home)));
  return home;
}

/** Runs a command that opens the repository, and gives it no secret. */
async function list(home: Home) {
  const { code, events, stderr } = await home.runWith(['--json'], 'list');
  const error = events.find(({ event }) => event === 'error');
  return { code, error: error?.['code'], stderr };
}

const byPassphrase = (home: Home) => ['--json', '--passphrase-file', join(home.folder, 'passphrase')];

describe('unlock', () => {
  onKeyring(
    'opens later runs until lock, and leaves neither the passphrase nor more than one slot',
    async () => {
      const home = copy();
      expect(await list(home)).toMatchObject({ code: 2, error: 'usage' });
      const unlocked = await home.runWith(byPassphrase(home), 'unlock');
      expect(unlocked.event('unlocked')).toMatchObject({ kind: 'passphrase', seconds: 0 });
      expect(await list(home)).toMatchObject({ code: 0 });
      expect(payloadOf(home)).toMatch(/^qubes-backup-slot-1:[0-9a-f]{96}$/);
      expect((await home.runWith(['--json'], 'lock')).event('locked')).toMatchObject({ wasUnlocked: true });
      expect(await list(home)).toMatchObject({ code: 2, error: 'usage' });
      expect((await home.runWith(['--json'], 'lock')).event('locked')).toMatchObject({ wasUnlocked: false });
    },
  );

  onKeyring('asks again for what changes or drops secrets', async () => {
    const home = copy();
    await home.run('unlock');
    for (const command of ['change', 'rotate'])
      expect((await home.runWith(['--json'], 'key', command)).event('error')).toMatchObject({
        code: 'usage',
      });
  });

  onKeyring('ends with the slot: a changed passphrase leaves it nothing, and says so', async () => {
    const home = copy();
    await home.runWith(byPassphrase(home), 'unlock');
    writeFileSync(join(home.folder, 'next'), 'another one\n');
    const next = ['key', 'change', '--new-passphrase-file', join(home.folder, 'next')];
    expect((await home.runWith(byPassphrase(home), ...next)).code).toBe(0);
    const { code, stderr } = await list(home);
    expect(code).toBe(2);
    expect(stderr).toContain('of a slot that is gone');
    home.configure(`key_file = "${home.keyFile}"`); // What comes after it in the order does open it.
    expect(await list(home)).toMatchObject({ code: 0 });
  });

  onKeyring('proves the secret first', async () => {
    const home = copy();
    writeFileSync(join(home.folder, 'passphrase'), 'a wrong one\n');
    const refused = await home.runWith(byPassphrase(home), 'unlock');
    expect(refused.event('error')).toMatchObject({ code: 'wrong-secret' });
    expect(payloadOf(home)).toBe('');
  });

  onKeyring('tells a wrong key from a damaged store', async () => {
    const home = copy();
    await home.run('unlock');
    expect(await list(home)).toMatchObject({ code: 0 });
    const wrong = payloadOf(home).replace(/.{64}$/, '0'.repeat(64));
    inKeyring('keyctl padd user "$1" @u <"$2"', nameOf(home), writeIn(home, 'wrong', wrong));
    expect(await list(home)).toMatchObject({ code: 1, error: 'wrong-secret' });
  });

  onKeyring('expires', async () => {
    const home = copy();
    await home.run('unlock', '--expire', '90m');
    const row = readFileSync('/proc/keys', 'latin1')
      .split('\n')
      .find((line) => line.includes(nameOf(home)));
    expect(row?.split(/ +/)[3]).toMatch(/^(1h|89m|90m)$/);
    await home.run('unlock'); // Without an end again.
    const later = readFileSync('/proc/keys', 'latin1')
      .split('\n')
      .find((line) => line.includes(nameOf(home)));
    expect(later?.split(/ +/)[3]).toBe('perm');
  });

  testNeeding(keyring, program('strace'))('R10: shows the key to no command line and no environment', () => {
    const home = copy();
    const trace = join(home.folder, 'trace');
    const options = ['--local', home.folder, '--sandbox', SANDBOX, '--key-file', home.keyFile];
    const traced = [
      '-f',
      '-v',
      '-s',
      '9999',
      '-e',
      'trace=execve',
      '-o',
      trace,
      COMMAND,
      ...options,
      'unlock',
    ];
    execFileSync('strace', traced, { stdio: 'ignore' });
    const [, slot = ''] = payloadOf(home).split(':');
    expect(slot).toHaveLength(96);
    const calls = readFileSync(trace, 'latin1');
    expect(calls).toContain('padd');
    expect(calls).not.toContain(slot.slice(0, 32));
    expect(calls).not.toContain(slot.slice(32));
  });
});

describe('without a keyring', () => {
  it('a configured key file opens it; a wrong or absent one is named', async () => {
    const home = copy();
    home.configure(`key_file = "${home.keyFile}"`);
    expect(await list(home)).toMatchObject({ code: 0 });
    const other = join(home.folder, 'other');
    createKeyFile(other);
    home.configure(`key_file = "${other}"`);
    const wrong = await list(home);
    expect(wrong).toMatchObject({ code: 1, error: 'wrong-secret' });
    expect(wrong.stderr).toContain(`the configured key file ${other} does not open`);
    home.configure('key_file = "/nonexistent"');
    expect(await list(home)).toMatchObject({ code: 2, error: 'usage' });
  });

  it('a program prints the passphrase, without a shell; what goes wrong with it is said', async () => {
    const home = copy();
    const run = async (...command: readonly string[]) => {
      home.configure(`passphrase_command = ${JSON.stringify(command)}`);
      return list(home);
    };
    expect(await run('cat', join(home.folder, 'passphrase'))).toMatchObject({ code: 0 });
    const failing = writeIn(home, 'fail.sh', 'echo the safe is shut >&2; exit 7');
    const failed = await run('sh', failing);
    expect(failed).toMatchObject({ code: 2, error: 'usage' });
    expect(failed.stderr).toContain('status 7: the safe is shut');
    expect((await run('head', '-c', '100000', '/dev/zero')).stderr).toContain('more than a passphrase');
    expect((await run('/nonexistent')).stderr).toContain('cannot be started');
    const text = await run('echo', 'wrong; touch', join(home.folder, 'shell'));
    expect(text).toMatchObject({ code: 1, error: 'wrong-secret' });
    expect(text.stderr).toContain('what echo prints does not open');
    expect((await run()).error).toBe('usage');
  });

  it('a credential of systemd comes before all of it', async () => {
    const home = copy();
    const credentials = join(home.folder, 'credentials');
    mkdirSync(credentials);
    home.configure('key_file = "/nonexistent"');
    vi.stubEnv('CREDENTIALS_DIRECTORY', credentials);
    expect(await list(home)).toMatchObject({ code: 2, error: 'usage' }); // None of ours is in there.
    execFileSync('cp', [home.keyFile, join(credentials, 'qubes-backup.key')]);
    expect(await list(home)).toMatchObject({ code: 0 });
  });
});

function writeIn(home: Home, name: string, text: string): string {
  const file = join(home.folder, name);
  writeFileSync(file, text);
  return file;
}
