/** Every command with --json: each line that it prints is an event as docs/json.md has it. */

import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { commandTree, leafCommands } from '../../dom0/command-tree.ts';
import { eventProblem } from '../../dom0/events/events.ts';
import { program } from '../../dom0/main.ts';
import { Home } from '../support/home.ts';

/** Commands that are not run here, each with the reason. */
const NOT_HERE: Readonly<Record<string, string>> = {
  setup: 'asks on a terminal, and prints no event of its own',
  browse: 'is a program for a terminal, and prints nothing else',
  unlock:
    'needs the keyring of a kernel; its event is held against the schema by test/dom0/unlock.process.test.ts',
  lock: 'likewise',
  'key change': 'asks for a passphrase on a terminal; prints what "key add" prints',
};

/** Command lines in an order in which each has something to do, and the events that it has to print among others. */
const RUNS: readonly (readonly [line: string, ...events: readonly string[]])[] = [
  ['init', 'initialised'],
  ['config check', 'config'],
  ['config show --effective work', 'setting'],
  ['completion bash', 'script'],
  ['backup --dry-run work', 'estimate'],
  ['backup --all --audit', 'backup'],
  ['CHANGE'],
  ['backup work', 'backup'],
  ['list', 'snapshot'],
  ['ls --recursive work', 'entry'],
  ['find work --type f', 'entry'],
  ['history work file', 'version'],
  ['diff work@1 @2', 'difference', 'differences'],
  ['verify work', 'verified'],
  ['restore work@1 --as copy', 'restored'],
  ['restore work --only-config', 'config'],
  ['restore --all --yes', 'plan', 'restored-all'],
  ['--yes restore work --replace', 'replacing', 'restored'],
  ['extract work file --to OUT', 'extracted'],
  ['drill work', 'drill'],
  ['tag work 1 kept', 'marked'],
  ['note work 1 words', 'marked'],
  ['untag work 1 kept', 'marked'],
  ['acknowledge work', 'acknowledged'],
  ['forget --dry-run --keep-last 1', 'retention'],
  ['key list', 'slot'],
  ['key add --new-key-file SECOND', 'slots'],
  ['key remove 2 --yes', 'slots'],
  ['key paper --out WORDS', 'slots'],
  ['key rotate --drop-slots', 'rotated'],
  ['root fingerprint', 'root'],
  ['storage list', 'store'],
  ['EMPTY'],
  ['storage sync second --refill', 'synced'],
  ['storage primary second', 'primary'],
  ['schedule enable --hourly --units UNITS', 'schedule'],
  ['schedule show', 'schedule'],
  ['schedule run', 'backup'],
  ['schedule disable --units UNITS', 'schedule'],
  ['doctor', 'finding', 'examined'],
  ['status', 'vm-status', 'status'],
  ['report --html PAGE', 'report'],
  ['logs', 'log'],
  ['DAMAGE'],
  ['check --read-data 100', 'checked', 'fault', 'damage', 'intact'],
  ['check --read-data 100 --repair', 'repair', 'checked'],
  ['GONE'],
  ['adopt vault moved', 'adopted'],
  ['forget-forever work --confirm work', 'forgotten'],
  ['ls nobody', 'error'],
];

test('every command is run here, or is named with a reason', () => {
  const known = leafCommands(commandTree(program)).map(({ words }) => words.join(' '));
  const run = (name: string) => RUNS.some(([line]) => line.replace('--yes ', '').startsWith(name));
  expect(known.filter((name) => !run(name) && !Object.hasOwn(NOT_HERE, name))).toEqual([]);
});

test('every line that every command prints is as documented', async () => {
  const home = new Home();
  home.configure('[[storage]]', 'vm = "main"', '[[storage]]', 'vm = "second"');
  for (const [number, vm] of ['work', 'vault'].entries()) {
    home.write(vm, 'file', `of ${vm}`);
    home.identify(vm, number);
  }
  const places = { OUT: 'out', SECOND: 'second.key', WORDS: 'words', UNITS: 'units', PAGE: 'page.html' };
  const acts: Readonly<Record<string, () => void>> = {
    CHANGE: () => {
      home.write('work', 'file', 'something else');
      home.write('work', 'new', 'more');
    },
    EMPTY: () => rmSync(join(home.folder, 'storage/second/qubes-backup'), { recursive: true }),
    DAMAGE: () => {
      for (const file of filesIn(join(home.folder, 'storage/second/qubes-backup/objects'))) rmSync(file);
    },
    GONE: () => {
      rmSync(join(home.folder, 'vms/vault'), { recursive: true });
      home.write('moved', 'file', 'of vault');
    },
  };
  for (const [line, ...wanted] of RUNS) {
    const act = acts[line];
    if (act !== undefined) {
      act();
      continue;
    }
    const words = line
      .split(' ')
      .map((word) =>
        Object.hasOwn(places, word) ? join(home.folder, places[word as keyof typeof places]) : word,
      );
    const { stdout, stderr, events } = await home.run(...words);
    for (const text of stdout.split('\n').filter((each) => each !== ''))
      expect(eventProblem(JSON.parse(text)), `${line}: ${text}`).toBeUndefined();
    const names = events.map(({ event }) => event);
    for (const event of wanted) expect(names, `${line}: ${stderr}`).toContain(event);
  }
}, 180_000);

function filesIn(folder: string): string[] {
  const all = readdirSync(folder, { recursive: true, withFileTypes: true });
  return all.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}
