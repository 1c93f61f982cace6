/** What the browser does with keys, and what it then shows, over a source of the test's own. */

import { describe, expect, test } from 'vitest';
import { Browser } from '../../../dom0/browser/browser.ts';
import type { Listing, Source, VersionRow } from '../../../dom0/browser/browser.ts';
import { frameOf } from '../../../dom0/browser/frame.ts';
import { MAX_TEXT } from '../../../shared/limits.ts';
import { LIST_ENTRY } from '../../support/list-entry.ts';

const file = (path: string, size = 5) => ({ ...LIST_ENTRY, path, size });
const folder = (path: string) => ({ ...LIST_ENTRY, path, type: 'directory' as const, size: 0 });

const TREES: Readonly<Record<string, readonly ReturnType<typeof file>[]>> = {
  '': [file('a.txt'), folder('docs'), folder('empty')],
  docs: [folder('docs/deep'), file('docs/b.txt', 2048)],
  'docs/deep': [file('docs/deep/c.txt')],
  empty: [],
};

/** Answers from TREES, and writes down what it was asked. */
class FakeSource implements Source {
  readonly asked: string[] = [];
  more = 0;

  list(snapshot: number, path: string): Promise<Listing> {
    this.asked.push(`list ${snapshot} ${path}`);
    const entries = TREES[path];
    return entries === undefined
      ? Promise.reject(new Error(`${path} cannot be read`))
      : Promise.resolve({ entries, more: this.more });
  }

  versions(path: string): Promise<readonly VersionRow[]> {
    this.asked.push(`versions ${path}`);
    return Promise.resolve([
      { snapshot: 3, there: false, text: '3  absent  removed' },
      { snapshot: 2, there: true, text: '1-2  the first' },
    ]);
  }

  extract(snapshot: number, path: string, where: string): Promise<string> {
    this.asked.push(`extract ${snapshot} ${path} ${where}`);
    return Promise.resolve('Extracted.');
  }
}

function start(chosen = '') {
  const source = new FakeSource();
  const snapshots = [3, 2].map((number) => ({ number, text: `2026-11-2${number} 12:00` }));
  const browser = new Browser({ vm: 'work', snapshots, source, destination: { kind: 'the folder', chosen } });
  const lines = (columns = 100, rows = 14) =>
    frameOf(browser, columns, rows).map((line) => line.replaceAll(/\x1b\[\d+m/g, ''));
  const press = async (...names: readonly string[]) => {
    let left = false;
    for (const name of names) {
      const text = name.length === 1 ? name : name === 'space' ? ' ' : '';
      left = browser.key({ name, text, ctrl: false });
      await browser.working;
    }
    return left;
  };
  return { source, browser, lines, press };
}

/** A browser that shows the tree of snapshot 3. */
async function inTree(chosen?: string) {
  const all = start(chosen);
  await all.press('return');
  return all;
}

describe('the tree', () => {
  test('opens and closes folders, which come first, and goes up and back to the snapshots', async () => {
    const { source, browser, press } = await inTree();
    const names = () =>
      browser.tree.rows.map(({ entry, depth, open }) => `${depth}${open ? '-' : ' '}${entry.path}`);
    expect(names()).toEqual(['0 docs', '0 empty', '0 a.txt']);
    await press('right', 'down', 'right');
    expect(names()).toEqual([
      '0-docs',
      '1-docs/deep',
      '2 docs/deep/c.txt',
      '1 docs/b.txt',
      '0 empty',
      '0 a.txt',
    ]);
    await press('down', 'left');
    expect(browser.tree.chosen?.entry.path).toBe('docs/deep');
    await press('left');
    expect(names()).toEqual(['0-docs', '1 docs/deep', '1 docs/b.txt', '0 empty', '0 a.txt']);
    await press('left', 'return');
    expect(names()).toEqual(['0 docs', '0 empty', '0 a.txt']);
    await press('left');
    expect(browser.pane).toBe('snapshots');
    await press('return');
    expect([browser.pane, source.asked]).toEqual(['tree', ['list 3 ', 'list 3 docs', 'list 3 docs/deep']]);
  });

  test('of another snapshot takes its place', async () => {
    const { source, browser, press, lines } = await inTree();
    await press('tab', 'down', 'return');
    expect(source.asked).toEqual(['list 3 ', 'list 2 ']);
    expect([browser.pane, lines()[0]?.trim()]).toEqual(['tree', 'work  snapshot 2, 2026-11-22 12:00']);
  });

  test('says what is empty, what is not shown, and what failed, and goes on', async () => {
    const { source, browser, press } = await inTree();
    await press('down', 'right');
    expect(browser.message).toBe('It is empty.');
    source.more = 12_345;
    await press('up', 'right');
    expect(browser.message).toBe('12,345 more entries are not shown: "ls" lists them all.');
    browser.tree.replace([{ entry: folder('gone'), depth: 0, open: false }]);
    await press('right');
    expect(browser.message).toBe('gone cannot be read');
    await press('tab');
    expect([browser.message, browser.pane]).toEqual(['', 'snapshots']);
  });

  test('asks nothing about a path of which only the beginning is known', async () => {
    const { source, browser, press } = await inTree('/tmp');
    browser.tree.replace([{ entry: folder('x'.repeat(MAX_TEXT)), depth: 0, open: false }]);
    for (const name of ['right', 'v', 'x']) {
      await press(name);
      expect(browser.message, name).toContain('too long');
    }
    expect(source.asked).toEqual(['list 3 ']);
  });
});

describe('an extraction', () => {
  test('of a file begins with Enter, and with where to, which is remembered', async () => {
    const { source, browser, press } = await inTree();
    await press('end', 'return');
    expect(browser.message).toBe('Extract a.txt of snapshot 3 to the folder: _');
    await press('return'); // Nowhere is no answer.
    await press('/', 't', 'q', 'backspace', 'm', 'p', 'up', 'tab');
    expect(browser.message).toBe('Extract a.txt of snapshot 3 to the folder: /tmp_');
    await press('return');
    expect([browser.message, source.asked.at(-1)]).toEqual(['Extracted.', 'extract 3 a.txt /tmp']);
    await press('home', 'x');
    expect(browser.message).toBe('Extract docs of snapshot 3 to the folder: /tmp_');
    await press('escape');
    expect([browser.message, source.asked]).toEqual(['', ['list 3 ', 'extract 3 a.txt /tmp']]);
  });

  test('of a version is of the newest snapshot that has it', async () => {
    const { source, browser, press } = await inTree('/tmp');
    await press('end', 'v');
    expect([browser.pane, browser.versions?.path]).toEqual(['versions', 'a.txt']);
    await press('return');
    expect(browser.message).toBe('It was not there in snapshot 3.');
    await press('down', 'return', 'return', 'escape');
    expect([browser.pane, source.asked]).toEqual([
      'tree',
      ['list 3 ', 'versions a.txt', 'extract 2 a.txt /tmp'],
    ]);
  });
});

test('q and Ctrl-D leave, but not an answer that is being typed', async () => {
  const { browser, press } = await inTree();
  expect(browser.key({ name: 'd', text: '\x04', ctrl: true })).toBe(true);
  await press('end', 'return');
  expect(await press('q')).toBe(false);
  expect(browser.message).toMatch(/: q_$/);
  expect(browser.key({ name: 'u', text: '\x15', ctrl: true })).toBe(false);
  expect(browser.message).toMatch(/: _$/);
  await press('escape');
  expect(await press('q')).toBe(true);
});

test('while something is read, rows can be chosen and nothing else is begun', async () => {
  const { source, browser } = await inTree();
  browser.key({ name: 'right', text: '', ctrl: false });
  expect(browser.message).toBe('Reading docs...');
  for (const name of ['down', 'right', 'x', 'tab']) browser.key({ name, text: '', ctrl: false });
  expect([browser.tree.chosen?.entry.path, browser.pane, browser.message]).toEqual([
    'empty',
    'tree',
    'Reading docs...',
  ]);
  await browser.working;
  expect([browser.tree.chosen?.entry.path, browser.message, source.asked]).toEqual([
    'empty',
    '',
    ['list 3 ', 'list 3 docs'],
  ]);
});

describe('the screen', () => {
  test('has two panes, of the height and width that there are', async () => {
    const { lines, press } = await inTree();
    await press('right');
    expect(lines(60, 9).map((line) => line.trimEnd())).toEqual([
      'work  snapshot 3, 2026-11-23 12:00',
      '-'.repeat(59),
      expect.stringMatching(/^> {4}3 \* .* \| > - docs\/$/),
      expect.stringMatching(/^ {5}2 {3}.* \| {5}\+ deep\/$/),
      '                        |       b.txt',
      '                        |   + empty/',
      '                        |     a.txt',
      '',
      expect.stringContaining('q leave'),
    ]);
    expect(lines(100, 9)[4]).toMatch(/ b\.txt +2\.00 KiB {2}1970-01-01 0/);
    for (const [columns, rows] of [
      [20, 3],
      [1, 1],
      [80, 24],
      [300, 100],
    ] as const) {
      const frame = lines(columns, rows);
      expect(frame.length, `${rows}`).toBeLessThanOrEqual(Math.max(rows, 5));
      for (const line of frame) expect(line.length).toBeLessThan(Math.max(columns, 21));
    }
  });

  test('shows the row that is chosen, however far down it is', async () => {
    const { browser, lines, press } = await inTree();
    browser.tree.replace(
      Array.from({ length: 100 }, (_, i) => ({ entry: file(`f${i}`), depth: 0, open: false })),
    );
    lines();
    await press('pagedown', 'pagedown');
    expect(browser.tree.chosen?.entry.path).toBe('f20');
    expect(lines().filter((line) => line.includes('f20'))).toEqual([expect.stringMatching(/\| > +f20 /)]);
    await press('end');
    expect(lines()[11]).toMatch(/\| > +f99 /);
    await press('pageup', 'home');
    expect(lines()[2]).toMatch(/\| > +f0 /);
  });
});
