import { describe, expect, it } from 'vitest';
import type { Vm } from '../../dom0/domains/domains.ts';
import { historyNamed, historyOf } from '../../dom0/repository/find-vm.ts';
import { newVmRecord } from '../../dom0/repository/vm-writer.ts';
import { parseVmName } from '../../shared/ids.ts';
import { rejection } from '../support/failure.ts';
import { Machine, appendBlob, commitVolume, storeFolder, writerFor } from '../support/repository-bench.ts';

const name = parseVmName('work');
const vm = (uuid: string, called = name): Vm => ({
  name: called,
  klass: 'AppVM',
  uuid,
  includeInBackups: true,
  template: null,
  volumes: ['private'],
});
const domains = (...vms: Vm[]) => ({ list: () => Promise.resolve(vms) });

/** A repository with a snapshot of `work`, and a second VM of that name that was never backed up. */
async function twoOfOneName() {
  const repository = await new Machine(storeFolder()).create();
  const writer = await writerFor(repository);
  const tree = await appendBlob(writer, 'tree', 'tree');
  await commitVolume(writer, tree, [tree]);
  const second = newVmRecord(repository, name, 'second');
  await repository.publish(second, undefined, () => 2);
  return { repository, second };
}

describe('R11: the history of a VM', () => {
  it('is that of its UUID, whatever it is called, and a new one for a new UUID', async () => {
    const { repository, second } = await twoOfOneName();
    expect((await historyOf(repository, vm('second'))).record.id).toBe(second.id);
    const renamed = await historyOf(repository, vm('second', parseVmName('renamed')));
    expect(renamed.record).toMatchObject({ id: second.id, names: ['work', 'renamed'] });
    const fresh = await historyOf(repository, vm('third'));
    expect([fresh.recordId, fresh.record.uuids]).toEqual([undefined, ['third']]);
  });

  it('is, by a name that two had, that of the one that is there, else of the one backed up last', async () => {
    const { repository, second } = await twoOfOneName();
    expect((await historyNamed(repository, domains(vm('second')), name)).record.id).toBe(second.id);
    for (const present of [domains(), domains(vm('third'))])
      expect((await historyNamed(repository, present, name)).record.uuids).toEqual(['uuid of work']);
  });

  it('is not there for a name that none had; near ones are named', async () => {
    const { repository } = await twoOfOneName();
    const error = await rejection(historyNamed(repository, domains(), parseVmName('wrok')));
    expect([error.code, error.message]).toEqual([
      'unknown-vm',
      expect.stringContaining('did you mean work') as string,
    ]);
  });
});
