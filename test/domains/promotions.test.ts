/** R50: what is kept of restored VMs until their restores are ended. */

import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Promotions } from '../../dom0/domains/promotions.ts';
import type { NotApplied } from '../../dom0/domains/not-applied.ts';
import { parseVmName } from '../../shared/ids.ts';
import { failure } from '../support/failure.ts';
import { tempFolder } from '../support/temp.ts';

const temporary = parseVmName('restore-work-012345');
const UUID = '11111111-2222-4333-8444-555555555555';
const work = { name: parseVmName('work'), uuid: UUID };
const LOST: NotApplied = { part: 'netvm', name: '', wanted: 'vpn', used: '', why: 'there is no such VM' };
const OTHER: NotApplied = { ...LOST, part: 'property', name: 'audiovm' };

function begun() {
  const folder = join(tempFolder(), 'promoted');
  const promotions = new Promotions(folder);
  promotions.begin({ temporary, uuid: null, note: 'of a restore', notApplied: [LOST] });
  /** As another process has it. */
  const again = () => new Promotions(folder);
  return { folder, promotions, again };
}

test('a finished one is told of by each later process until it is settled, with all that it does not have', () => {
  const { promotions, again } = begun();
  promotions.identify(temporary, UUID);
  promotions.add(temporary, [OTHER]);
  expect(again().among([work])).toEqual([]); // The journal may undo it yet.
  promotions.finish(temporary, [{ ...OTHER, name: 'guivm' }]);
  promotions.finish(temporary, [{ ...OTHER, name: 'guivm' }]); // Done anew by a later run.
  const told = { temporary, ...work, note: 'of a restore' };
  const notApplied = [LOST, OTHER, { ...OTHER, name: 'guivm' }];
  expect(again().among([work])).toEqual([{ ...told, notApplied }]);
  const renamed = { ...work, name: parseVmName('renamed') };
  expect(again().among([renamed])).toMatchObject([{ name: 'renamed' }]);
  again().keep(temporary, [LOST]);
  expect(again().among([work])).toEqual([{ ...told, notApplied: [LOST] }]);
  again().forget(temporary);
  expect([again().among([work]), again().isEmpty]).toEqual([[], true]);
});

test('of a VM that never got its name, or is gone, nothing is kept', () => {
  const { promotions, again } = begun();
  expect(again().among([{ name: temporary, uuid: UUID }])).toEqual([]);
  expect(again().isEmpty).toBe(false); // It is there, and its journal is yet to end it.
  expect(again().among([{ ...work, uuid: '9' }])).toEqual([]);
  expect(again().isEmpty).toBe(true);
  promotions.identify(temporary, UUID); // Of what is not there.
  expect(again().isEmpty).toBe(true);
  const { promotions: second, again: later } = begun();
  second.identify(temporary, UUID);
  second.finish(temporary);
  expect(later().among([{ ...work, uuid: '9' }])).toEqual([]);
  expect(later().isEmpty).toBe(true);
});

test('one that keeps its UUID is not told of under its temporary name', () => {
  const { promotions, again } = begun();
  promotions.identify(temporary, UUID);
  promotions.finish(temporary);
  expect(again().among([{ name: temporary, uuid: UUID }])).toEqual([]);
  expect(again().among([work])).toHaveLength(1);
});

test.each([
  ['no JSON', 'x'],
  ['another version', '{"version":2}'],
  ['too large', ' '.repeat(4 * 1024 * 1024 + 1)],
])('a file that is %s is named, with what to do', (_what, text) => {
  const { folder, again } = begun();
  const [file = ''] = readdirSync(folder);
  writeFileSync(join(folder, file), text);
  expect(failure(() => again().among([work])).message).toMatch(/is damaged.*qubes-backup adopt/);
});

test('what is too large to be read again is not written', () => {
  const { promotions } = begun();
  const note = 'x'.repeat(4 * 1024 * 1024);
  expect(failure(() => promotions.begin({ temporary, uuid: null, note, notApplied: [] })).code).toBe('limit');
});
