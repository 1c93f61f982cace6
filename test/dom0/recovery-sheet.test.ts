/** R35: the page that a person keeps. */

import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { PAGE, sheetText } from '../../dom0/commands/recovery-sheet.ts';
import type { StoreConfig } from '../../dom0/config/stores.ts';
import { paperWords, parsePaperWords } from '../../dom0/words.ts';

const store = (name: string, folder: string | undefined): StoreConfig => ({
  name,
  folder,
  removable: folder !== undefined,
  limits: { upload: 0, download: 0 },
});
const facts = (bytes: Uint8Array, stores: readonly StoreConfig[]) => ({
  time: 1_795_000_000_000,
  fingerprint: Array(8).fill('abstract').join('-'),
  root: 1_000_000,
  stores,
  words: paperWords(bytes),
});

it('fits one page with eight stores of the longest names, in printable ASCII', () => {
  const stores = Array.from({ length: 8 }, (_, i) =>
    store(`n${i}`.padEnd(31, 'x'), `/media/\x1b[2J${'ü'.repeat(4000)}`),
  );
  const text = sheetText(facts(randomBytes(32), stores));
  expect(text).toMatch(/^[\n -~]*\n$/);
  const lines = text.slice(0, -1).split('\n');
  expect(lines.length).toBeLessThanOrEqual(PAGE.height);
  expect(lines.filter((line) => line.length > PAGE.width)).toEqual([]);
});

it('has the fingerprint, each store, six steps, and words that are the key as they are read', () => {
  const bytes = randomBytes(32);
  const text = sheetText(facts(bytes, [store('backup-store', undefined), store('usb', '/media/usb/backup')]));
  expect(text).toContain('abstract-abstract-abstract-abstract-abstract-abstract-abstract-abstract\n');
  expect(text).toContain('storage VM backup-store\n');
  expect(text).toContain('removable disk usb: folder /media/usb/backup of dom0\n');
  expect(text.match(/^\d\. /gm)).toHaveLength(6);
  const typed = text.slice(text.indexOf('line by line') + 'line by line'.length, text.indexOf('STORES'));
  expect(Buffer.from(parsePaperWords(typed)).equals(bytes)).toBe(true);
});
