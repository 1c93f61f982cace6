/** What `config show` says holds for a VM is what a backup of it goes by. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { stringify } from 'smol-toml';
import { expect, test } from 'vitest';
import { settingsOfFile, settingsOfVm } from '../../../dom0/config/effective.ts';
import { readConfigFile } from '../../../dom0/config/file.ts';
import { keyOf } from '../../../dom0/config/problems.ts';
import { loadConfig } from '../../../dom0/config.ts';
import { tempFolder } from '../../support/temp.ts';

const VM = { name: 'work', template: 'debian-13' };
const MiB = 2 ** 20;

function open(text: string) {
  const file = join(tempFolder(), 'config.toml');
  writeFileSync(file, text);
  const choice = { file, localHome: undefined };
  return { file: readConfigFile(choice), config: loadConfig({ ...choice, sandbox: undefined }) };
}

/** Lines as the command shows them. */
const shown = (settings: ReturnType<typeof settingsOfVm>) =>
  settings.map(({ path, value, table, line }) =>
    `${keyOf(path)} = ${JSON.stringify(value)} # ${table ?? 'default'} ${line ?? ''}`.trim(),
  );

test('the nearest level decides, each value with its place; patterns of all levels, and one table keep', () => {
  const { file } = open(
    [
      'driver = "qubes"',
      '[backup]',
      'exclude = ["*.iso"]',
      'compress = false',
      'keep = { daily = 7 }',
      '[template.debian-13]',
    ]
      .concat([
        'nodump = true',
        'exclude = ["*.tmp"]',
        '[vm.work]',
        'compress = true',
        'volumes.root = "blocks"',
        'keep.last = 2',
      ])
      .concat(['[vm.other]', 'compress = false'])
      .join('\n'),
  );
  expect(shown(settingsOfVm(file, VM, false))).toEqual([
    'compress = true # [vm.work] 10',
    'exclude = ["*.iso"] # [backup] 3',
    'exclude = ["*.tmp"] # [template.debian-13] 8',
    'nodump = true # [template.debian-13] 7',
    'volumes.root = "blocks" # [vm.work.volumes] 11',
    'keep.last = 2 # [vm.work.keep] 12',
  ]);
  expect(shown(settingsOfVm(file, VM, true))).toContain('checkpoint_seconds = 60 # default');
  expect(shown(settingsOfVm(file, { name: 'third', template: null }, false))).toContain(
    'keep.daily = 7 # [backup.keep] 5',
  );
  const all = shown(settingsOfFile(file, true));
  expect(all).toEqual(
    expect.arrayContaining([
      'driver = "qubes" #  1',
      'jobs = 1 # default',
      'vm.other.compress = false # [vm.other] 14',
    ]),
  );
});

test('any configuration: it is what a backup goes by, also of a VM whose volumes are blocks by themselves', () => {
  const level = fc.record(
    {
      compress: fc.boolean(),
      nodump: fc.boolean(),
      recheck_mib: fc.nat(9),
      volumes: fc.record(
        { private: fc.constantFrom('files', 'blocks'), root: fc.constantFrom('blocks', 'none') },
        { requiredKeys: [] },
      ),
      disposable: fc.record({ vcpus: fc.integer({ min: 1, max: 9 }) }, { requiredKeys: [] }),
      keep: fc.record(
        { last: fc.integer({ min: 1, max: 9 }), daily: fc.integer({ min: 1, max: 9 }) },
        { requiredKeys: [] },
      ),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(
      level,
      level,
      level,
      fc.subarray(['private', 'root'] as const),
      (backup, ofTemplate, ofVm, asBlocks) => {
        const { file, config } = open(
          stringify({ driver: 'qubes', backup, template: { 'debian-13': ofTemplate }, vm: { work: ofVm } }),
        );
        const vm = { ...VM, asBlocks };
        const found = new Map(settingsOfVm(file, vm, true).map(({ path, value }) => [keyOf(path), value]));
        const { compress, recheckBytes, excludes } = config.backup(VM);
        expect([found.get('compress'), found.get('nodump')]).toEqual([compress, excludes.nodump]);
        expect(Number(found.get('recheck_mib')) * MiB).toBe(recheckBytes);
        const modes = new Map<string, string>(config.volumes(vm).map(({ name, mode }) => [name, mode]));
        for (const name of ['private', 'root'])
          expect(found.get(`volumes.${name}`)).toBe(modes.get(name) ?? 'none');
        expect(found.get('disposable.vcpus')).toBe(config.disposable(VM).vcpus);
        expect([found.get('keep.last'), found.get('keep.daily')]).toEqual([
          config.keep(VM)?.last,
          config.keep(VM)?.daily,
        ]);
      },
    ),
    { numRuns: 50 },
  );
});

test('R22: a volume that is blocks by itself is read as those, unless a level says otherwise, and need not be there', () => {
  const vm = { ...VM, asBlocks: ['root'] as const };
  expect(open('driver = "qubes"').config.volumes(vm)).toEqual([
    { name: 'private', mode: 'files', explicit: true },
    { name: 'root', mode: 'blocks', explicit: false },
  ]);
  for (const level of ['backup', 'template.debian-13', 'vm.work'])
    expect(open(`driver = "qubes"\n[${level}]\nvolumes.root = "none"`).config.volumes(vm)).toHaveLength(1);
  expect(shown(settingsOfVm(open('driver = "qubes"').file, vm, true))).toContain(
    'volumes.root = "blocks" # default',
  );
});
