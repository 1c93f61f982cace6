/** R02 R03: a disposable that lies. */

import { afterAll, beforeAll, describe, it } from 'vitest';
import { encodeCbor } from '../../shared/cbor.ts';
import { NumberSet } from '../../shared/numbers.ts';
import type { Home } from '../support/home.ts';
import {
  WRONG_END,
  backUp,
  controlLies,
  expectLie,
  generalLies,
  liarsHome,
  onType,
  restoreCopy,
} from '../support/lies.ts';
import type { Lie } from '../support/lies.ts';
import { Consistent, frameBytes } from '../support/tamper.ts';
import { removeTree } from '../support/temp.ts';

describe('a lying disposable', () => {
  let template: Home;
  beforeAll(async () => {
    template = await liarsHome();
  });
  afterAll(() => removeTree(template.folder));

  describe('qubes.BackupScan', () => {
    const [GET, CONTENT, TREE, LIVE, DONE] = [0x10, 0x80, 0x81, 0x82, 0x14];
    const live = (set: NumberSet) => onType(LIVE, () => new Consistent(LIVE, set.encode()));
    it.each([
      ...generalLies(CONTENT),
      WRONG_END,
      ...controlLies(DONE),
      [
        'asks for a blob that was never stored',
        onType(GET, () => frameBytes(GET, encodeCbor({ numbers: [999] }))),
        ['refused'],
      ],
      ['asks for old content', onType(GET, () => frameBytes(GET, encodeCbor({ numbers: [0] }))), ['refused']],
      [
        'asks for the same blob without end',
        onType(GET, (frame) =>
          Buffer.concat(Array.from({ length: 5000 }, () => frameBytes(GET, frame.payload))),
        ),
        ['protocol', 'refused'],
      ],
      ['names a live set that it never owned', live(NumberSet.range(0, 100_000)), ['refused']],
      ['names an empty live set', live(NumberSet.range(5000, 5001)), ['refused']],
      [
        'sends a malformed live set',
        onType(LIVE, () => frameBytes(LIVE, Uint8Array.of(0, 0))),
        ['store-damaged', 'protocol'],
      ],
      ['sends no live set', onType(LIVE, () => new Uint8Array(0)), ['protocol']],
      [
        'puts its tree as content',
        onType(TREE, ({ payload }) => new Consistent(CONTENT, payload), 1),
        ['refused'],
      ],
      [
        'sends more than it was granted',
        onType(CONTENT, () =>
          Buffer.concat(Array.from({ length: 5 }, () => frameBytes(CONTENT, new Uint8Array(8 * 2 ** 20)))),
        ),
        ['protocol'],
      ],
    ] as Lie[])('%s', async (...lie) =>
      expectLie(template, 'qubes.BackupScan', lie, backUp, lie[0].startsWith('stops')),
    );
  });

  describe('qubes.BackupRestore', () => {
    const [GET, DONE] = [0x10, 0x14];
    it.each([
      ...generalLies(DONE),
      ...controlLies(DONE),
      [
        'asks for a blob of no snapshot',
        onType(GET, () => frameBytes(GET, encodeCbor({ numbers: [4095] }))),
        ['refused'],
      ],
      [
        'is done before it wrote anything',
        onType(GET, () => frameBytes(DONE, encodeCbor({ entries: 1, files: 1, bytes: 1 }))),
        ['protocol', 'service-died', 'service-failed', 'verify-failed', 'timeout'],
      ],
    ] as Lie[])('%s', async (...lie) =>
      expectLie(template, 'qubes.BackupRestore', lie, restoreCopy, lie[0].startsWith('stops')),
    );
  });

  describe('qubes.BackupVerify', () => {
    const DONE = 0x14;
    it.each([
      ...generalLies(DONE),
      WRONG_END,
      [
        'answers another digest',
        onType(
          DONE,
          () =>
            new Consistent(DONE, encodeCbor({ digest: new Uint8Array(32), entries: 1, files: 1, bytes: 1 })),
        ),
        ['verify-failed'],
      ],
    ] as Lie[])('R31: %s', async (...lie) =>
      expectLie(template, 'qubes.BackupVerify', lie, restoreCopy, lie[0].startsWith('stops')),
    );
  });
});
