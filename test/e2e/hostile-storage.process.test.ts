/** R02 R05: a storage VM that lies. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Domains } from '../../dom0/domains/domains.ts';
import { encodeCbor } from '../../shared/cbor.ts';
import { Home } from '../support/home.ts';
import { runInProcess } from '../support/in-process.ts';
import {
  WRONG_END,
  backUp,
  checkAll,
  controlLies,
  expectLie,
  flip,
  generalLies,
  liarsHome,
  onType,
  restoreCopy,
} from '../support/lies.ts';
import type { Lie } from '../support/lies.ts';
import { frameBytes, tampered } from '../support/tamper.ts';
import { removeTree } from '../support/temp.ts';
import { WrappedDomains } from '../support/wrapped-domains.ts';

describe('a lying storage VM', () => {
  let template: Home;
  beforeAll(async () => {
    template = await liarsHome();
  });
  afterAll(() => removeTree(template.folder));

  it.each(['qubes.BackupPut', 'qubes.BackupGet'])(
    '%s ends with wrong counts after all was acknowledged: a warning',
    async (service) => {
      const home = new Home({ template });
      const wrap = (inner: Domains) =>
        new WrappedDomains(inner, (call, called) =>
          called === service ? tampered(call, WRONG_END[1]) : call,
        );
      expect((await runInProcess(home, backUp, wrap)).warnings).toBe(1);
      await runInProcess(home, checkAll);
    },
  );

  describe('qubes.BackupPut', () => {
    const ACK = 0x10;
    it.each([
      ...generalLies(ACK),
      ...controlLies(ACK),
      [
        'acknowledges what it was not sent',
        onType(ACK, () =>
          frameBytes(ACK, encodeCbor({ objects: [{ id: new Uint8Array(32), stored: true }] })),
        ),
        ['protocol'],
      ],
      [
        'acknowledges twice',
        onType(ACK, (frame) =>
          Buffer.concat([frameBytes(ACK, frame.payload), frameBytes(ACK, frame.payload)]),
        ),
        ['protocol'],
      ],
    ] as Lie[])('%s', async (...lie) =>
      expectLie(template, 'qubes.BackupPut', lie, backUp, lie[0].startsWith('stops')),
    );
  });

  describe('qubes.BackupGet', () => {
    const [OBJECT, ROOT] = [0x80, 0x81];
    it.each([
      ...generalLies(OBJECT),
      ['flips a bit of an object', onType(OBJECT, flip), ['store-damaged']],
      ['flips a bit of the root', onType(ROOT, flip), ['store-damaged']],
      [
        'sends the root as an object',
        onType(OBJECT, ({ payload }) => frameBytes(ROOT, payload.subarray(0, 1000))),
        ['protocol'],
      ],
      [
        'claims that an object is missing',
        onType(OBJECT, () => frameBytes(0x10, encodeCbor({ id: new Uint8Array(32) }))),
        ['protocol'],
      ],
      [
        'claims that there is no root',
        onType(ROOT, () => frameBytes(0x11, encodeCbor({}))),
        ['store-missing'],
      ],
    ] as Lie[])('%s', async (...lie) =>
      expectLie(template, 'qubes.BackupGet', lie, restoreCopy, lie[0].startsWith('stops')),
    );
  });

  describe('qubes.BackupSetRoot', () => {
    const DONE = 0x10;
    // The root may be published although its answer was garbled: then the next run finds it, and nothing is lost.
    it.each([...generalLies(DONE), WRONG_END, ...controlLies(DONE)])('%s', async (...lie) =>
      expectLie(template, 'qubes.BackupSetRoot', lie, backUp, true),
    );
  });

  describe('qubes.BackupList', () => {
    const PAGE = 0x80;
    it.each([
      ...generalLies(PAGE),
      WRONG_END,
      [
        'sends half a row',
        onType(PAGE, ({ payload }) => frameBytes(PAGE, payload.subarray(0, 35))),
        ['protocol'],
      ],
      [
        'leaves objects out',
        onType(PAGE, ({ payload }) => frameBytes(PAGE, payload.subarray(36))),
        ['store-damaged', 'protocol'],
      ],
    ] as Lie[])('%s', async (...lie) => expectLie(template, 'qubes.BackupList', lie, checkAll));
  });
});
