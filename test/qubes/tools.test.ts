/** R56: how the driver runs a program of dom0, and what it says when one fails. */

import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { TOOLS, TOOL_NAMES, Tools } from '../../dom0/domains/qubes/tools/tools.ts';
import { rejection } from '../support/failure.ts';
import { notRoot, testNeeding } from '../support/needs.ts';
import { isAlive, waitFor } from '../support/processes.ts';
import { tempFolder } from '../support/temp.ts';

/** Tools of which `lvs` is this script of sh. */
function withScript(text: string): { tools: Tools; folder: string } {
  const folder = tempFolder();
  const path = join(folder, 'lvs');
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return { tools: new Tools({ paths: { lvs: path } }), folder };
}

const subject = 'VM work';

describe('the table', () => {
  it('has absolute paths, and says of each program what for and what its failure means', () => {
    for (const name of TOOL_NAMES) {
      const { paths, purpose, failure, timeout } = TOOLS[name];
      expect(
        paths.every((path) => isAbsolute(path) && path.endsWith(`/${name}`)),
        name,
      ).toBe(true);
      expect(purpose, name).toMatch(/^to [^.]+$/);
      expect(failure, name).toMatch(/^[A-Z].*\.$/);
      expect(timeout ?? 1, name).toBeGreaterThan(0);
    }
  });
});

describe('run', () => {
  it('passes arguments as they are, no environment of ours and no stdin, and answers stdout', async () => {
    process.env['QIB_SECRET'] = 'x';
    const { tools } = withScript('printf "%s\\n" "$@"; env | cut -d= -f1 | sort; pwd; cat');
    const said = await tools.run('lvs', ['a b', '$(id)', '', '*'], { subject });
    delete process.env['QIB_SECRET'];
    expect(said).toBe('a b\n$(id)\n\n*\nLANG\nPATH\nPWD\n/\n');
  });

  it('names the VM, the command, the status, what the tool said as printable ASCII, and what to do', async () => {
    const { tools } = withScript('printf "no\\tgroup \\033[31m\\303\\244\\nmore\\n" >&2; exit 5');
    const error = await rejection(tools.run('lvs', ['-o', 'lv_name', 'vg\n\x1b'], { subject }));
    expect(error.code).toBe('io');
    expect(error.message).toBe(
      'VM work: `lvs -o lv_name vg\\x0a\\x1b` failed with status 5: no?group ?[31m?? / more. ' +
        TOOLS.lvs.failure,
    );
  });

  it('keeps a bounded part of stderr and drains the rest', async () => {
    const { tools } = withScript('head -c 3000000 /dev/zero | tr "\\0" x >&2; exit 1');
    const { message } = await rejection(tools.run('lvs', [], { subject }));
    expect(message.length).toBeGreaterThan(4000);
    expect(message.length).toBeLessThan(6000);
  });

  it('ends what takes too long, with all that it started', async () => {
    const { tools, folder } = withScript('sleep 1000 & echo $! >"$1"; wait');
    const file = join(folder, 'pid');
    const error = await rejection(tools.run('lvs', [file], { subject, timeout: 1000 }));
    expect(error).toMatchObject({ code: 'timeout' });
    expect(error.message).toContain('did not end within 1 s and was killed');
    expect(existsSync(file)).toBe(true);
    const pid = Number(readFileSync(file, 'utf8'));
    await waitFor(() => !isAlive(pid), 'the child of the tool ends');
  });

  it('ends what says too much', async () => {
    const { tools } = withScript('exec cat /dev/zero');
    const error = await rejection(tools.run('lvs', [], { subject, maxOutput: 1000 }));
    expect(error.code).toBe('limit');
    expect(error.message).toContain('wrote more than 1000 bytes');
  });

  it('says what killed it, and what cannot be started', async () => {
    const { tools, folder } = withScript('kill -SEGV $$');
    expect((await rejection(tools.run('lvs', [], { subject }))).message).toContain('was killed by SIGSEGV');
    const absent = new Tools({ paths: { lvs: join(folder, 'absent') } });
    expect((await rejection(absent.run('lvs', [], { subject }))).message).toMatch(
      /could not be started .*ENOENT/,
    );
  });

  it('names the package of a program that is not there', async () => {
    const error = await rejection(new Tools().run('qvm-block', ['list'], { subject }));
    expect(error.message).toBe(
      'VM work: qvm-block is not there (/usr/bin/qvm-block): install the package qubes-core-admin-client in dom0',
    );
  });

  testNeeding(notRoot)('says that a program needs root', async () => {
    const error = await rejection(new Tools().run('lvs', [], { subject }));
    expect(error).toMatchObject({
      code: 'usage',
      message: 'VM work: lvs works for root only: run this with sudo',
    });
  });
});
