/** R11 R50: how a restore is ended, at once or by a later run. */

import { expect, test, vi } from 'vitest';
import type { App } from '../../dom0/app.ts';
import type { NotApplied } from '../../dom0/domains/not-applied.ts';
import type { VmRecord } from '../../dom0/repository/records.ts';
import type { Repository } from '../../dom0/repository/repository.ts';
import { encodeNote, endRestore, endWaiting } from '../../dom0/restored.ts';
import { newVmId, parseVmName } from '../../shared/ids.ts';
import { rejection } from '../support/failure.ts';

const name = parseVmName('work');
const temporary = parseVmName('restore-work-012345');
const vm = newVmId();
const NETWORK: NotApplied = { part: 'netvm', name: '', wanted: 'vpn', used: '', why: 'there is no such VM' };
const DEVICE: NotApplied = {
  part: 'device',
  name: 'sda',
  wanted: 'block',
  used: null,
  why: 'yours to assign',
};

/** A machine where VM `work` was restored, of a history that VMs of the UUIDs `known` belong to. */
function restored({ known = ['old'], there = ['new'], inStep = true, has = true } = {}) {
  const publish = vi.fn<(record: VmRecord) => Promise<void>>(() => Promise.resolve());
  const repository = {
    vms: has ? [{ id: vm, name, record: 'record' }] : [],
    readVm: () => Promise.resolve({ id: vm, names: ['before'], uuids: known }),
    publish,
  };
  const forgetPromoted = vi.fn<(vm: string) => void>();
  const keepNotApplied = vi.fn<(vm: string, left: readonly NotApplied[]) => void>();
  const warn = vi.fn<(text: string) => void>();
  const app = {
    warn,
    storage: { hasPrimary: true, primary: { standing: { is: inStep ? 'in-step' : 'behind' } } },
    domains: {
      ...{ forgetPromoted, keepNotApplied },
      list: () => Promise.resolve(there.map((uuid) => ({ uuid }))),
      applyAgain: (_vm: string, left: readonly NotApplied[]) => Promise.resolve(left),
    },
  };
  const promoted = (awaited: readonly string[] = [], replaced: string | null = null) => ({
    ...{ temporary, name, uuid: 'new', notApplied: [NETWORK, DEVICE] },
    note: encodeNote({ vm, replaced, awaited }),
  });
  const parts = [app as unknown as App, repository as unknown as Repository] as const;
  return { parts, promoted, publish, forgetPromoted, keepNotApplied, warn };
}

test('the VM continues its snapshots, by its UUID, and nothing is kept', async () => {
  const { parts, promoted, publish, forgetPromoted } = restored();
  expect(await endRestore(...parts, promoted())).toEqual({ left: [NETWORK, DEVICE], waits: [] });
  expect(publish.mock.calls[0]?.[0]).toMatchObject({ names: ['before', name], uuids: ['old', 'new'] });
  expect(forgetPromoted).toHaveBeenCalledWith(temporary);
});

test.each([
  ['belongs to another VM that is there', { there: ['new', 'old'] }, null],
  ['is continued already', { known: ['new'] }, null],
  ['was forgotten for ever', { has: false }, null],
  ['belongs to a VM beside the one that was replaced', { known: ['a', 'old'], there: ['a', 'old'] }, 'old'],
])('a history that %s is left as it is', async (_what, options, replaced) => {
  const { parts, promoted, publish, forgetPromoted } = restored(options);
  await endRestore(...parts, promoted([], replaced));
  expect([publish.mock.calls.length, forgetPromoted.mock.calls.length]).toEqual([0, 1]);
});

test('a VM that took the place of another takes its snapshots as well', async () => {
  const { parts, promoted, publish } = restored({ there: ['new', 'old'] });
  await endRestore(...parts, promoted([], 'old'));
  expect(publish.mock.calls[0]?.[0]).toMatchObject({ uuids: ['new'] });
});

test('without the primary store it is said, and kept for a later run; what was told is not told again', async () => {
  const { parts, promoted, publish, forgetPromoted, keepNotApplied, warn } = restored({ inStep: false });
  await endRestore(...parts, promoted());
  await endWaiting(...parts, promoted());
  expect([publish.mock.calls.length, forgetPromoted.mock.calls.length]).toEqual([0, 0]);
  expect(keepNotApplied.mock.calls).toEqual([
    [temporary, []],
    [temporary, []],
  ]);
  expect(warn.mock.calls[0]?.[0]).toContain('does not continue its snapshots yet');
});

test('what waits for a VM that is to come is kept, until nothing more comes', async () => {
  const { parts, promoted, forgetPromoted, keepNotApplied } = restored();
  expect(await endRestore(...parts, promoted(['vpn']))).toEqual({ left: [DEVICE], waits: [NETWORK] });
  expect(keepNotApplied).toHaveBeenCalledWith(temporary, [NETWORK]);
  expect(forgetPromoted).not.toHaveBeenCalled();
  expect(await endWaiting(...parts, promoted(['vpn']))).toEqual([NETWORK, DEVICE]);
  expect(forgetPromoted).toHaveBeenCalledOnce();
});

test('a note that is none of ours is named', async () => {
  const { parts, promoted } = restored();
  expect((await rejection(endRestore(...parts, { ...promoted(), note: '{}' }))).message).toContain('VM work');
});
