/** R37: qubes.BackupDrill, as a process: what its command sees, and what is passed on of how it ends. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { MAX_DRILL_WORD, MAX_DRILL_WORDS } from '../../shared/limits.ts';
import { drill } from '../../shared/protocol/disposable.ts';
import { tempFolder } from '../support/temp.ts';
import { MemoryStore, callService } from './tree-kit.ts';

async function judge(command: readonly string[], folder = tempFolder()) {
  const job = { volume: { kind: 'folder', path: folder }, command };
  const { said, failure, code } = await callService(drill, job, new MemoryStore());
  return { done: said.find((message) => message.name === 'done')?.value, failure, code };
}

describe('R37: a drill command', () => {
  test('is run in the volume, without a shell, with nothing of its caller’s environment', async () => {
    const folder = tempFolder();
    writeFileSync(join(folder, 'a file'), 'content');
    const script =
      'cat "a file"; echo " $QUBES_BACKUP_VOLUME"; env | cut -d= -f1 | sort | tr "\\n" " "; exit 3';
    const { done, code } = await judge(['sh', '-c', script], folder);
    expect(code).toBe(0);
    expect(done?.status).toBe(3);
    expect(done?.output.replaceAll('?', ' ')).toMatch(
      new RegExp(`^content ${folder} LANG PATH PWD QUBES_BACKUP_VOLUME`),
    );
    expect((await judge(['test', '-e', '$HOME; true'], folder)).done?.status).toBe(1);
  });

  test('is answered by the printable start of what it writes, however much that is', async () => {
    const { done } = await judge(['sh', '-c', 'printf "\\033[2J\\377ok"; head -c 3000000 /dev/zero; exit 1']);
    expect(done?.status).toBe(1);
    expect(done?.output).toMatch(/^\?\[2J\?ok\?/);
    expect(done?.output.length).toBeLessThanOrEqual(8192);
  });

  test('that cannot be run, or is killed, is a failure that says what to do', async () => {
    const absent = await judge(['no-such-program']);
    expect([absent.code, absent.done]).toEqual([1, undefined]);
    expect(absent.failure).toContain('correct drill_command');
    expect((await judge(['sh', '-c', 'kill -9 $$'])).done).toBeUndefined();
  });

  test('has bounds', () => {
    const { schema, max } = drill.toService.job;
    const accepts = (command: readonly string[]) =>
      schema.safeParse({ volume: { kind: 'folder', path: '/mnt' }, command }).success;
    expect(accepts(['a', ''])).toBe(true);
    for (const command of [
      [],
      [''],
      ['a\0b'],
      ['a'.repeat(MAX_DRILL_WORD + 1)],
      Array.from({ length: MAX_DRILL_WORDS + 1 }, () => 'a'),
    ])
      expect(accepts(command)).toBe(false);
    expect(max).toBeGreaterThan(MAX_DRILL_WORDS * Buffer.from('€'.repeat(MAX_DRILL_WORD)).length);
  });
});
