/** What the command line says of itself: every command has examples, and they are commands of this program. */

import { describe, expect, test } from 'vitest';
import { commandTree, examplesOf, leafCommands } from '../../dom0/command-tree.ts';
import { program } from '../../dom0/main.ts';
import { program as storage } from '../../storagevm/main.ts';
import { misuse } from '../support/usage.ts';

const tree = commandTree(program);

describe.each(leafCommands(tree).map((command) => [command.words.join(' '), command] as const))(
  '%s',
  (words, command) => {
    test('says what it does, and shows it: .addHelpText(\'after\', …) with a line "  qubes-backup …"', () => {
      expect(command.summary).toMatch(/^[a-z]/);
      for (const { description, names } of command.options) expect(description, names.join()).not.toBe('');
      const examples = examplesOf(command, 'qubes-backup');
      expect(examples.filter((line) => line.includes(` ${words}`))).not.toEqual([]);
      for (const example of examples) expect(misuse(example, tree), example).toBeUndefined();
    });
  },
);

test('the storage VM’s commands are shown as well', () => {
  const storageTree = commandTree(storage);
  const examples = examplesOf(storageTree, 'qubes-backup-storage');
  expect(examples.length).toBeGreaterThan(2);
  for (const example of examples) expect(misuse(example, storageTree), example).toBeUndefined();
});

test('what is no use of a command is noticed', () => {
  for (const wrong of [
    ...[
      'qubes-backup nothing',
      'qubes-backup key',
      'qubes-backup key liste',
      'qubes-backup backup --al',
      'qubes-backup ls',
    ],
    ...[
      'qubes-backup diff work',
      'qubes-backup init work',
      'qubes-backup --config',
      'qubes-backup completion tcsh',
      'qubes-backup-x',
    ],
  ])
    expect(misuse(wrong, tree), wrong).toBeDefined();
  for (const right of [
    'qubes-backup --json key list',
    "qubes-backup find work --name '*.pdf' --size +1",
    'sudo qubes-backup --help',
  ])
    expect(misuse(right, tree), right).toBeUndefined();
});
