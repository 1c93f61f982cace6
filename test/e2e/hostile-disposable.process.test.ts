/** R02 R03: a disposable that lies. */

import { afterAll, beforeAll, describe, it } from 'vitest';
import { encodeCbor } from '../../shared/cbor.ts';
import { NumberSet } from '../../shared/numbers.ts';
import type { Home } from '../support/home.ts';
import {
  WRONG_END,
  backUp,
  backUpAudited,
  controlLies,
  diffLive,
  expectLie,
  generalLies,
  historyOfFile,
  liarsHome,
  listAll,
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

  describe('qubes.BackupProve', () => {
    const [GET, DONE] = [0x10, 0x14];
    it.each([
      ...generalLies(DONE),
      WRONG_END,
      [
        'asks for a blob of no snapshot',
        onType(GET, () => frameBytes(GET, encodeCbor({ numbers: [4095] }))),
        ['refused'],
      ],
      [
        'answers another digest',
        onType(
          DONE,
          () =>
            new Consistent(DONE, encodeCbor({ digest: new Uint8Array(32), entries: 1, files: 1, bytes: 1 })),
        ),
        ['verify-failed'],
      ],
    ] as Lie[])('R58: %s', async (...lie) =>
      expectLie(template, 'qubes.BackupProve', lie, backUpAudited, lie[0].startsWith('stops')),
    );
  });

  const ENTRY = {
    path: 'a',
    type: 'file',
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: 1,
    mtime: 0,
    beforeEpoch: false,
    mtimeNanoseconds: 0,
    target: null,
    linked: false,
    attributes: 0,
    flags: [],
    doubtful: false,
    unreadable: false,
  };
  const [GET, PAGE, VERSIONS, DONE] = [0x10, 0x90, 0x91, 0x14];
  const instead = (type: number, sent: number, value: unknown) =>
    onType(type, () => new Consistent(sent, encodeCbor(value)));
  const ofContent = (): Lie => [
    'asks for content',
    onType(GET, () => frameBytes(GET, encodeCbor({ numbers: [0] }))),
    ['refused'],
  ];

  describe('qubes.BackupBrowse', () => {
    it.each([
      ...generalLies(PAGE),
      WRONG_END,
      ofContent(),
      [
        'lists more than the snapshot has',
        instead(PAGE, PAGE, { entries: Array.from({ length: 200 }, () => ENTRY) }),
        ['protocol'],
      ],
      [
        'never stops listing',
        onType(PAGE, ({ payload }) =>
          Buffer.concat(Array.from({ length: 1000 }, () => frameBytes(PAGE, payload))),
        ),
        ['protocol'],
      ],
      [
        'hides escapes in a name',
        instead(PAGE, PAGE, { entries: [{ ...ENTRY, path: '\u001b[2J' }] }),
        ['protocol'],
      ],
      ['invents a type', instead(PAGE, PAGE, { entries: [{ ...ENTRY, type: 'door' }] }), ['protocol']],
      ['sends an empty page', instead(PAGE, PAGE, { entries: [] }), ['protocol']],
      [
        'answers what was not asked',
        instead(PAGE, VERSIONS, { versions: [{ newest: 0, oldest: 0, entry: null, changed: [] }] }),
        ['protocol'],
      ],
    ] as Lie[])('%s', async (...lie) => expectLie(template, 'qubes.BackupBrowse', lie, listAll));

    it.each([
      [
        'leaves versions out',
        onType(VERSIONS, () => new Consistent(DONE, encodeCbor({ found: true }))),
        ['protocol'],
      ],
      [
        'tells versions of snapshots that are none',
        instead(VERSIONS, VERSIONS, { versions: [{ newest: 0, oldest: 1, entry: ENTRY, changed: [] }] }),
        ['protocol'],
      ],
      [
        'tells versions out of order',
        instead(VERSIONS, VERSIONS, { versions: [{ newest: 1, oldest: 1, entry: ENTRY, changed: [] }] }),
        ['protocol'],
      ],
    ] as Lie[])('history: %s', async (...lie) =>
      expectLie(template, 'qubes.BackupBrowse', lie, historyOfFile),
    );
  });

  describe('qubes.BackupCompare', () => {
    const DIFFERENCE = { path: 'a', before: { type: 'file', size: 1 }, after: null, fields: [] };
    const difference = (fields: object) =>
      instead(PAGE, PAGE, { differences: [{ ...DIFFERENCE, ...fields }] });
    it.each([
      ...generalLies(PAGE),
      ofContent(),
      ['tells of a path on neither side', difference({ before: null }), ['protocol']],
      ['tells of a difference that is none', difference({ after: DIFFERENCE.before }), ['protocol']],
      ['hides escapes in a name', difference({ path: '\u009b2J' }), ['protocol']],
      ['invents a field', difference({ after: DIFFERENCE.before, fields: ['colour'] }), ['protocol']],
    ] as Lie[])('%s', async (...lie) => expectLie(template, 'qubes.BackupCompare', lie, diffLive));
  });
});
