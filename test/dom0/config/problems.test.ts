/** What is said of a configuration that is wrong. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readConfigFile } from '../../../dom0/config/file.ts';
import { sentence } from '../../../dom0/config/problems.ts';
import { loadConfig } from '../../../dom0/config.ts';
import { failure } from '../../support/failure.ts';
import { tempFolder } from '../../support/temp.ts';

function fileOf(...lines: readonly string[]): string {
  const file = join(tempFolder(), 'config.toml');
  writeFileSync(file, lines.join('\n'));
  return file;
}

const problems = (...lines: readonly string[]) =>
  readConfigFile({ file: fileOf(...lines), localHome: undefined }).problems.map(sentence);

test('all of it is said at once, in the order of lines', () => {
  const file = fileOf(
    ...[
      'driver = "quebs"',
      'jobz = 2',
      'quorum = 3',
      '[[storage]]',
      'vm = "a"',
      '[backup]',
      'exlude = ["*.iso"]',
    ],
    ...['jobs = 2', 'compress = "yes"', '[vm.work]', 'recheck_mib = -1', 'exclude = [', '  "[a",', ']'],
    ...['[vm.work.volume]', 'private = "files"', '[requests]'],
  );
  const said = readConfigFile({ file, localHome: undefined }).problems.map(sentence);
  expect(said).toEqual([
    'line 1: driver: Invalid option: expected one of "local"|"qubes"; did you mean qubes?',
    'line 2: jobz: unknown key; did you mean jobs?',
    'line 3: quorum: is 3, more than the number of stores (1)',
    'line 7: backup.exlude: unknown key; did you mean exclude?',
    'line 8: backup.jobs: unknown key; it belongs before the first [table] of the file',
    'line 9: backup.compress: Invalid input: expected boolean, received string',
    'line 11: vm.work.recheck_mib: Too small: expected number to be >=0',
    'line 12: vm.work.exclude.0: the pattern "[a" has a [ without its ]',
    'line 15: vm.work.volume: unknown key; did you mean volumes, volume_excludes?',
    'line 17: requests.key_file: is missing',
  ]);
  const error = failure(() => loadConfig({ file, localHome: undefined, sandbox: undefined }));
  expect(error.code).toBe('usage');
  for (const sentence of said) expect(error.message).toContain(sentence);
});

test('a key of another table is told where it belongs', () => {
  expect(problems('driver = "qubes"', 'compress = false', 'limit_upload = 1', 'daily = 7')).toEqual([
    'line 2: compress: unknown key; it belongs in [backup] or [template.NAME] or [vm.NAME]',
    'line 3: limit_upload: unknown key; it belongs in [storage]',
    'line 4: daily: unknown key; it belongs in [backup.keep] or [template.NAME.keep] or [vm.NAME.keep]',
  ]);
});

test('what is missing is named, and what contradicts another key', () => {
  expect(problems('')).toEqual(['driver: is missing: give local or qubes']);
  expect(problems('driver = "local"')).toEqual(['home: is missing: the driver "local" needs it']);
  expect(problems('driver = "qubes"', '', 'home = "/x"')).toEqual([
    'line 3: home: is of the driver "local", and this is "qubes"',
  ]);
  expect(problems('driver = "qubes"', '[requests]')).toEqual(['line 2: requests.key_file: is missing']);
});

test.each([
  [['driver = "qubes"', 'jobs = 1', 'jobs = 2'], /^line 3: column \d+: /],
  [['driver = "qubes"', '', 'jobs ='], /^line 3: column \d+: /],
  [['driver = "qubes'], /^line 1: column \d+: /],
  [['a = """', 'x'], /^line 1: column \d+: /],
])('what is no TOML is said with its line: %j', (lines, message) => {
  const said = problems(...lines);
  expect(said).toHaveLength(1);
  expect(said[0]).toMatch(message);
});

test('names of any text are names', () => {
  expect(problems('driver = "qubes"', '[vm."a b"]', 'x = 1', '[vm.constructor]', 'y = 1')).toEqual([
    expect.stringMatching(/^line 3: vm\."a b"\.x: unknown key/),
    expect.stringMatching(/^line 5: vm\.constructor\.y: unknown key/),
  ]);
});
