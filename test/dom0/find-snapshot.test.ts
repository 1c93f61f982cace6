import { describe, expect, it } from 'vitest';
import { formatTime } from '../../shared/format.ts';
import { findSnapshot, splitTarget } from '../../dom0/repository/find-snapshot.ts';
import type { SnapshotEntry } from '../../dom0/repository/records.ts';
import { objectIdOf, newRepositoryId } from '../../shared/ids.ts';
import { utf8 } from '../../shared/bytes.ts';
import { failure } from '../support/failure.ts';

const object = objectIdOf(utf8(newRepositoryId()));
const at = (number: number, time: string, partial = false): SnapshotEntry => ({
  number,
  object,
  epoch: 1,
  takenAt: new Date(time).getTime(),
  partial,
  ...{ requested: false, tags: [], note: '', anomaly: null },
});
const entries = [
  at(1, '2026-11-01T08:00:00'),
  at(2, '2026-11-02T08:00:00'),
  at(3, '2026-11-02T20:00:00'),
  at(4, '2026-11-03T08:00:00', true),
];

describe('a snapshot by what a person writes', () => {
  it.each([
    ['latest', 3],
    ['2', 2],
    ['4', 4],
    ['2026-11-01', 1],
    ['2026-11-02T20', 3],
    ['2026-11-02 08:00', 2],
  ])('%s is number %i', (wanted, number) => {
    expect(findSnapshot('work', entries, wanted).number).toBe(number);
  });

  it.each([
    ['5', 'work has no snapshot 5; there are 1 '],
    ['2026', 'work has 3 snapshots from 2026; there are 1 '],
    ['2025', 'work has no snapshot from 2025; there are 1 '],
    ['2026-11-02', 'work has 2 snapshots from 2026-11-02; there are 2 '],
    ['2026-11-03', 'work has no snapshot from 2026-11-03; there are 1 '],
    ['yesterday', 'work has no snapshot from yesterday'],
  ])('%s is none, and the message lists candidates', (wanted, message) => {
    const error = failure(() => findSnapshot('work', entries, wanted));
    expect(error.code).toBe('unknown-snapshot');
    expect(error.message).toContain(message);
  });

  it('lists the last ten of many, one alone as one, and says where there is none', () => {
    const many = Array.from({ length: 12 }, (_, i) => at(i + 1, `2026-10-${10 + i}T08:00:00`));
    const { message } = failure(() => findSnapshot('work', many, '99'));
    expect(message).toContain(`… 3 (${formatTime(many[2]?.takenAt ?? 0)})`);
    expect(failure(() => findSnapshot('work', entries.slice(0, 1), '9')).message).toContain('there is 1 (');
    expect(failure(() => findSnapshot('work', [], '9')).message).toContain('there is none');
    expect(failure(() => findSnapshot('work', entries.slice(3), 'latest')).message).toContain(
      'no complete snapshot',
    );
  });

  it('is the part after the first @', () => {
    expect(splitTarget('work')).toEqual({ vm: 'work', snapshot: 'latest' });
    expect(splitTarget('work@2026-11@x')).toEqual({ vm: 'work', snapshot: '2026-11@x' });
  });
});
