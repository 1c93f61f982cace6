/** Answers of qubesd as values: what each release says, and that nothing ambiguous gets through. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as answers from '../../dom0/domains/qubes/admin/answers.ts';
import { utf8 } from '../../shared/bytes.ts';
import { isBackupError } from '../../shared/errors.ts';
import { failure } from '../support/failure.ts';

const WHAT = 'VM work: admin.test';
const read = <T>(parse: (what: string, answer: Uint8Array) => T, text: string): T => parse(WHAT, utf8(text));
const UUID = '68286d4f-030c-48e9-b66f-f967041c6e68';

const VOLUME =
  'pool=vm-pool\nvid=qubes_dom0/vm-work-private\nsize=2147483648\nusage=4096\nrw=True\nsource=\n' +
  'path=/dev/mapper/qubes_dom0-vm--work--private\nsave_on_stop=True\nsnap_on_start=False\nrevisions_to_keep=1\n' +
  'ephemeral=False\nis_outdated=False\n';

describe('what is understood', () => {
  test('a list of VMs, with and without UUIDs', () => {
    const list = read(
      answers.vmList,
      `dom0 class=AdminVM state=Running uuid=00000000-0000-0000-0000-000000000000\nmy.vm_2 class=AppVM state=NA\nx class=AppVM state=Halted uuid=${UUID} later=yes\n`,
    );
    expect(list.map(({ name, class: klass, state, uuid }) => [name, klass, state, uuid])).toEqual([
      ['dom0', 'AdminVM', 'Running', '00000000-0000-0000-0000-000000000000'],
      ['my.vm_2', 'AppVM', 'NA', undefined],
      ['x', 'AppVM', 'Halted', UUID],
    ]);
  });

  test('a property, with spaces, line feeds and nothing as its value', () => {
    expect(read(answers.oneProperty, 'default=True type=vm ')).toEqual({
      isDefault: true,
      type: 'vm',
      value: '',
    });
    expect(read(answers.oneProperty, 'default=False type=str a\\n b\nc').value).toBe('a\\n b\nc');
    expect(read(answers.defaultValue, 'type=vm sys-net')).toBe('sys-net');
    expect(read(answers.defaultValue, '')).toBeUndefined();
  });

  test('any values of all properties come back from the escaping of GetAll', () => {
    const value = fc.string({ unit: fc.constantFrom('\\', 'n', '\n', ' ', '=', 'a', 'é', '\t') });
    fc.assert(
      fc.property(fc.array(value, { maxLength: 5 }), (values) => {
        const text = values
          .map(
            (item, i) =>
              `p${i} default=False type=str ${item.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n`,
          )
          .join('');
        const found = read(answers.allProperties, text);
        expect([...found.values()].map((property) => property.value)).toEqual(values);
      }),
    );
  });

  test('a volume, with twelve lines and with those of an older release', () => {
    expect(read(answers.oneVolume, VOLUME)).toMatchObject({ size: 2 ** 31, rw: true, revisions_to_keep: 1 });
    const old = VOLUME.replace(/(ephemeral|is_outdated)=.*\n/g, '');
    expect(read(answers.oneVolume, old)).not.toHaveProperty('ephemeral');
    expect(read(answers.oneVolume, VOLUME.replace('keep=1', 'keep=-1')).revisions_to_keep).toBe(-1);
  });

  test('a pool of any driver', () => {
    expect(
      read(answers.onePool, 'driver=lvm_thin\nname=vm-pool\nthin_pool=vm-pool\nvolume_group=qubes_dom0\n'),
    ).toMatchObject({ driver: 'lvm_thin', volume_group: 'qubes_dom0' });
  });

  test('states, tokens, names, rules and notes', () => {
    expect(read(answers.powerState, 'mem=0 mem_static_max=0 cputime=0 power_state=Halted')).toBe('Halted');
    expect(read(answers.cloneToken, 'oDID75EwlqNE00TzLMOye4q26KdRGYqz')).toHaveLength(32);
    expect(read(answers.newName, 'disp5969')).toBe('disp5969');
    expect(read(answers.names, 'gui\nservice.off\n')).toEqual(['gui', 'service.off']);
    expect(read(answers.names, '')).toEqual([]);
    expect(read(answers.firewallRules, 'action=accept\naction=drop comment=a b\n')).toHaveLength(2);
    expect(read(answers.text, '\ufeffa\nb é')).toBe('\ufeffa\nb é');
  });

  test('devices, whose own words may be anything', () => {
    const line = "sys-usb+2-1:0951:1666::u080650 device_id='0951' name='a\x1b[31m \xff'\n";
    expect(answers.assignedDevices(WHAT, Buffer.from(line, 'latin1'))).toEqual([
      { device: 'sys-usb+2-1:0951:1666::u080650', options: "device_id='0951' name='a?[31m ?'" },
    ]);
    expect(read(answers.assignedDevices, 'dom0+00_1f.2 persistent=yes\n')[0]?.options).toBe('persistent=yes');
  });
});

describe('what is refused', () => {
  test.each<[string, (what: string, answer: Uint8Array) => unknown, string]>([
    ['a cut line', answers.vmList, 'work class=AppVM state=Halted'],
    ['a VM twice', answers.vmList, 'x class=AppVM state=Halted\nx class=AppVM state=Running\n'],
    ['a field twice', answers.vmList, 'x class=AppVM class=TemplateVM state=Halted\n'],
    ['a VM without a state', answers.vmList, 'x class=AppVM\n'],
    ['an unknown state', answers.vmList, 'x class=AppVM state=Dreaming\n'],
    ['no name', answers.vmList, ' class=AppVM state=Halted\n'],
    ['a name with a terminal code', answers.vmList, 'x\x1b class=AppVM state=Halted\n'],
    ['no UUID', answers.vmList, 'x class=AppVM state=Halted uuid=../x\n'],
    ['a property twice', answers.allProperties, 'a default=True type=str \na default=True type=str \n'],
    ['an unknown escape', answers.allProperties, 'a default=True type=str \\t\n'],
    ['an open escape', answers.allProperties, 'a default=True type=str \\\n'],
    ['a type of no property', answers.oneProperty, 'default=True type=float 1.0'],
    ['half a truth', answers.oneProperty, 'default=true type=str '],
    ['a default of no type', answers.defaultValue, 'sys-net'],
    ['a name twice', answers.names, 'a\na\n'],
    ['a name with a space', answers.names, 'a b\n'],
    ['an empty name', answers.names, '\n'],
    ['a size below nothing', answers.oneVolume, VOLUME.replace('size=2147483648', 'size=-1')],
    ['a size that is none', answers.oneVolume, VOLUME.replace('size=2147483648', 'size=1e9')],
    ['a size no double holds', answers.oneVolume, VOLUME.replace('size=2147483648', 'size=9999999999999999')],
    ['a size twice', answers.oneVolume, `${VOLUME}size=1\n`],
    ['no size', answers.oneVolume, VOLUME.replace('size=2147483648\n', '')],
    ['a path with a line of its own', answers.oneVolume, VOLUME.replace('path=/dev', 'path=/dev\x7f')],
    ['a pool of no driver', answers.onePool, 'name=x\n'],
    ['a rule of nothing', answers.firewallRules, 'action=accept\n\n'],
    ['a rule with a tab', answers.firewallRules, 'action=accept\tx\n'],
    ['a token with a path', answers.cloneToken, '../x'],
    ['a disposable of no name', answers.newName, 'disp1\nx'],
    ['words where none are to be', answers.nothing, 'done'],
    ['a device without a name', answers.assignedDevices, ' persistent=yes\n'],
  ])('%s', (_title, parse, text) => {
    const error = failure(() => read(parse, text));
    expect(error.code).toBe('protocol');
    expect(error.message).toContain(WHAT);
    expect(error.message).toMatch(/^[\x20-\x7e]*$/);
  });

  test('what is not UTF-8', () => {
    expect(failure(() => answers.text(WHAT, Uint8Array.of(0xff))).code).toBe('protocol');
  });

  test('any bytes are a value or an error of ours', () => {
    const parsers = Object.values(answers).filter((parse) => typeof parse === 'function');
    fc.assert(
      fc.property(fc.constantFrom(...parsers), fc.uint8Array({ maxLength: 200 }), (parse, bytes) => {
        try {
          parse(WHAT, bytes);
        } catch (error) {
          expect(isBackupError(error, 'protocol')).toBe(true);
        }
      }),
    );
  });
});
