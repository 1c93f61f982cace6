/** The manual pages, as they are read. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { describe, expect, test } from 'vitest';
import { commandTree, leafCommands } from '../../dom0/command-tree.ts';
import { program as backup } from '../../dom0/main.ts';
import { manPages } from '../../docs/generate/man.ts';
import { settings } from '../../docs/generate/config.ts';
import { program, testNeeding } from '../support/needs.ts';
import { run } from '../support/processes.ts';
import { tempFolder } from '../support/temp.ts';

const pages = manPages({ version: '1.2.3', seconds: 86_400 * 365 });

describe.each([...pages])('%s', (name, page) => {
  testNeeding(program('man'))('renders without warnings', async () => {
    const file = join(tempFolder(), name);
    writeFileSync(file, page);
    for (const width of ['60', '80', '130']) {
      const env = { PATH: process.env['PATH'], LC_ALL: 'C.UTF-8', MANROFFSEQ: '', MANWIDTH: width };
      const { code, stdout, stderr } = await run(
        'man',
        ['--warnings=w', '-E', 'UTF-8', '-l', '-Tutf8', file],
        { env },
      );
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      const shown = stripVTControlCharacters(stdout.toString('utf8'));
      expect(shown).toContain('1971-01-01');
      expect(shown).not.toMatch(/\\[a-zA-Z[]/);
    }
  });

  test('is the same from the same sources', () => {
    expect(manPages({ version: '1.2.3', seconds: 86_400 * 365 }).get(name)).toBe(page);
  });
});

test('every command and every setting is in them', () => {
  const commands = pages.get('qubes-backup.1') ?? '';
  for (const { words } of leafCommands(commandTree(backup)))
    expect(commands).toContain(`.SS "${words.join(' ').replace(/-/g, '\\-')}`);
  const config = pages.get('qubes-backup.toml.5') ?? '';
  for (const { path } of settings().flatMap((one) => [one, ...one.settings]))
    expect(config).toContain((path.at(-1) ?? '').replace('[]', ''));
});
