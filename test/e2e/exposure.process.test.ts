/**
 * R10: what a run shows of its secrets to the rest of the machine: nothing in arguments, environments, output, state or
 * core dumps. Looked at from outside, at each process that runs, while it runs.
 */

import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Home, SANDBOX } from '../support/home.ts';
import { PROJECT, outcome, run, start } from '../support/processes.ts';

/** Node.js with dom0's main program: what starts it runs `find` on the same path before. */
const MAIN_PROGRAM = /^\S*node .*dom0\/main/;

/** What was seen of one process. */
interface Seen {
  readonly command: string;
  readonly environment: string;
  readonly coreLimit: string;
}

/** Looks at every process below `root`, itself included, until it is gone. */
async function watch(root: number, isOver: () => boolean): Promise<Map<number, Seen>> {
  const seen = new Map<number, Seen>();
  while (!isOver()) {
    for (const pid of familyOf(root)) {
      const found = look(pid);
      if (found !== undefined)
        seen.set(pid, { ...found, command: `${seen.get(pid)?.command ?? ''}\n${found.command}` });
    }
    await delay(20); // Every process of interest lives longer.
  }
  return seen;
}

function familyOf(root: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    const parent = /^\d+$/.test(name) ? readProc(name, 'stat').replace(/.*\) /, '').split(' ')[1] : undefined;
    if (parent !== undefined) parents.set(Number(name), Number(parent));
  }
  const isOurs = (pid: number): boolean => {
    const parent = parents.get(pid);
    return pid === root || (parent !== undefined && parent > 1 && isOurs(parent));
  };
  return [...parents.keys()].filter(isOurs);
}

function look(pid: number): Seen | undefined {
  const command = readProc(String(pid), 'cmdline').replaceAll('\0', ' ').trim();
  const core = /^Max core file size\s+(\S+)\s+(\S+)/m.exec(readProc(String(pid), 'limits'));
  if (command === '' || core === null) return undefined; // It ends, or has not begun.
  return {
    command,
    environment: readProc(String(pid), 'environ'),
    coreLimit: `${core[1] ?? ''} ${core[2] ?? ''}`,
  };
}

function readProc(pid: string, file: string): string {
  try {
    return readFileSync(join('/proc', pid, file), 'latin1');
  } catch {
    return ''; // It is gone.
  }
}

/** Every file below `folder`. */
function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

describe('R10: while a VM is backed up', () => {
  it('no process shows a secret, or may leave one in a core dump', async () => {
    const home = new Home();
    const passphrase = 'planted: a-very-secret passphrase';
    const file = join(home.folder, '..', `${createHash('sha256').update(home.folder).digest('hex')}.pass`);
    home.write('work', 'file', 'x'.repeat(3_000_000));
    writeFileSync(file, `${passphrase}\n`, { mode: 0o600 });
    const keyFile = ['--key-file', home.keyFile];
    const options = ['--local', home.folder, '--sandbox', SANDBOX];
    const program = join(PROJECT, 'bin/qubes-backup');
    const outputs: string[] = [];
    const seen: Seen[] = [];
    try {
      const commands = [
        [...options, ...keyFile, '--passphrase-file', file, 'init'],
        [...options, '--passphrase-file', file, 'backup', 'work', '--audit'],
        [...options, ...keyFile, 'restore', 'work', '--as', 'copy'],
        [...options, ...keyFile, 'restore', 'nothing-like-it'],
      ];
      for (const args of commands) {
        // With an unlimited core size, as a developer's shell may have it.
        const child = start('/bin/sh', [
          '-c',
          'ulimit -S -c unlimited 2>/dev/null; exec "$@"',
          'sh',
          program,
          ...args,
        ]);
        let over = false;
        const ended = outcome(child).finally(() => (over = true));
        const family = await watch(child.pid ?? 0, () => over);
        const { stdout, stderr } = await ended;
        outputs.push(stdout.toString('latin1'), stderr);
        seen.push(...family.values());
      }
      const key = /:([0-9a-f]{64})/.exec(readFileSync(home.keyFile, 'latin1'))?.[1] ?? '';
      const secrets = [
        passphrase,
        'planted',
        key,
        Buffer.from(key, 'hex').toString('latin1'),
        Buffer.from(key, 'hex').toString('base64'),
      ];
      expect(outputs.some((text) => text.includes('work: snapshot 1'))).toBe(true);
      const files = [...filesBelow(home.state), ...filesBelow(join(home.folder, 'storage'))];
      expect(files.length).toBeGreaterThan(5);
      for (const secret of secrets) {
        for (const { command, environment } of seen)
          expect(`${command}\n${environment}`).not.toContain(secret);
        for (const text of outputs) expect(text).not.toContain(secret);
        for (const path of files)
          expect(readFileSync(path).includes(Buffer.from(secret, 'latin1')), path).toBe(false);
      }
      const nodes = seen.filter(({ command }) => /(dom0\/main|services\/)/.test(command));
      for (const part of [
        'dom0/main',
        'BackupScan',
        'BackupVerify',
        'BackupProve',
        'BackupRestore',
        'BackupPut',
        'BackupGet',
      ])
        expect(
          nodes.some(({ command }) => command.includes(`${part}.`)),
          `${part} was seen`,
        ).toBe(true);
      const mains = nodes.flatMap(({ command }) =>
        command.split('\n').filter((line) => MAIN_PROGRAM.test(line)),
      );
      expect(mains.length).toBeGreaterThan(0);
      for (const command of mains)
        expect(command).toContain('node --disallow-code-generation-from-strings --no-addons ');
      for (const { command, coreLimit } of nodes) expect(coreLimit, command).toBe('0 0');
    } finally {
      await run('rm', ['-f', file]);
    }
  });
});

describe('R10: dom0 keeps its state to its owner', () => {
  it.each(['000', '077'])('under umask %s', async (umask) => {
    const home = new Home();
    home.write('work', 'file', 'content');
    const inUmask = async (...args: string[]) => {
      const command = ['-c', `umask ${umask}; exec "$@"`, 'sh', join(PROJECT, 'bin/qubes-backup')];
      const ended = await run('/bin/sh', [
        ...command,
        '--local',
        home.folder,
        '--sandbox',
        SANDBOX,
        '--key-file',
        home.keyFile,
        ...args,
      ]);
      expect([ended.code, ended.stderr.replace(/^warning: running without sandboxes.*\n/, '')]).toEqual([
        0,
        '',
      ]);
    };
    await inUmask('init');
    await inUmask('backup', 'work');
    expect(statSync(home.keyFile).mode & 0o777).toBe(0o600);
    const entries = readdirSync(home.state, { recursive: true, withFileTypes: true });
    expect(entries.filter((entry) => entry.isFile()).length).toBeGreaterThan(3);
    expect(statSync(home.state).mode & 0o777).toBe(0o700);
    for (const entry of entries) {
      const path = join(entry.parentPath, entry.name);
      expect((statSync(path).mode & 0o777).toString(8), path).toBe(entry.isDirectory() ? '700' : '600');
    }
  });
});
