/** The demo is a promise to the reader of the README: it must not write to the folder it is given, and must tidy up. */

import { spawnSync } from 'node:child_process';
import { lstatSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { walkDifferences } from '../support/checker.ts';
import { PROJECT, exited, outcome, start } from '../support/processes.ts';
import { tempFolder } from '../support/temp.ts';
import { generateTree } from '../support/tree-generator.ts';

const DEMO = join(PROJECT, 'bench', 'demo.ts');

function startDemo(folder: string, temporary: string) {
  return start(process.execPath, [DEMO, folder], { env: { ...process.env, TMPDIR: temporary } });
}

/** The ctime of everything: nothing can be written or changed without moving one. */
function changeTimes(folder: string): string[] {
  const visit = (path: Buffer): string[] => {
    const stat = lstatSync(path, { bigint: true });
    const own = `${path.toString('latin1')} ${stat.ctimeNs}`;
    if (!stat.isDirectory()) return [own];
    const names = readdirSync(path, { encoding: 'buffer' }).sort((a, b) => Buffer.compare(a, b));
    return [own, ...names.flatMap((name) => visit(Buffer.concat([path, Buffer.from('/'), name])))];
  };
  return visit(Buffer.from(folder));
}

describe('npm run demo', () => {
  test('keeps every promise, never writes to the folder, leaves nothing behind', async () => {
    const [source, copy, temporary] = [
      join(tempFolder(), 'source'),
      join(tempFolder(), 'copy'),
      tempFolder(),
    ];
    mkdirSync(source);
    generateTree(source, { seed: 3, maxFile: 3_000_000, closed: false, owners: false, attributes: false });
    spawnSync('cp', ['-a', '--', source, copy]);
    const before = changeTimes(source);
    const ended = await outcome(startDemo(source, temporary));
    expect(ended.stderr).toBe('');
    const text = ended.stdout.toString();
    expect(text).not.toContain('BROKEN');
    expect(text).toContain('Every promise was kept');
    expect(ended.code).toBe(0);
    expect(changeTimes(source)).toEqual(before);
    expect(walkDifferences(source, copy)).toEqual([]);
    expect(readdirSync(temporary)).toEqual([]);
  });

  test('stopped by Ctrl-C, it leaves nothing behind', async () => {
    const [source, temporary] = [tempFolder(), tempFolder()];
    generateTree(source, { seed: 4, entries: 60, closed: false });
    const demo = startDemo(source, temporary);
    await new Promise<void>((resolve) => {
      let text = '';
      demo.stdout.on('data', (piece: Buffer) => {
        text += piece.toString();
        if (text.includes('Back up the VM')) resolve();
      });
    });
    demo.kill('SIGINT');
    expect((await exited(demo)).code).toBe(130);
    expect(readdirSync(temporary)).toEqual([]);
  });

  test('whose reader goes away leaves nothing behind', async () => {
    const [source, temporary] = [tempFolder(), tempFolder()];
    generateTree(source, { seed: 5, entries: 60, closed: false });
    const demo = startDemo(source, temporary);
    demo.stdout.once('data', () => demo.stdout.destroy());
    expect((await exited(demo)).code).toBe(130);
    expect(readdirSync(temporary)).toEqual([]);
  });

  test('refuses what is no folder, and a folder that holds its own work', async () => {
    const temporary = tempFolder();
    expect((await outcome(startDemo(DEMO, temporary))).code).toBe(2);
    expect((await outcome(startDemo(temporary, temporary))).code).toBe(1);
    expect(readdirSync(temporary)).toEqual([]);
  });
});
