/** The browser's screen as lines: a head, two panes beside each other, what there is to say, and the keys. */

import { styleText } from 'node:util';
import { formatBytes } from '../../shared/format.ts';
import { formatMtime } from '../commands/entry-row.ts';
import type { Browser } from './browser.ts';
import type { List } from './list.ts';
import { isFolder, nameOf } from './tree.ts';
import type { TreeRow } from './tree.ts';

/** Lines that are no part of the panes. */
const AROUND = 4;

/** At most `rows` lines of less than `columns` characters. Texts are printable ASCII: each character has one column. */
export function frameOf(browser: Browser, columns: number, rows: number): string[] {
  const width = Math.max(columns - 1, 20);
  const height = Math.max(rows - AROUND, 1);
  const { pane, shown, versions, snapshots, tree } = browser;
  const leftWidth = Math.min(30, Math.floor(width * 0.4));
  const left = paneOf(
    snapshots,
    height,
    leftWidth,
    pane === 'snapshots',
    ({ number, text }) => `${String(number).padStart(4)} ${shown?.number === number ? '*' : ' '} ${text}`,
  );
  const rightWidth = width - leftWidth - 3;
  const right =
    versions === undefined
      ? paneOf(tree, height, rightWidth, pane === 'tree', (row) => treeLine(row, rightWidth - 2))
      : paneOf(versions.list, height, rightWidth, true, ({ text }) => text);
  const head = `${browser.vm}${shown === undefined ? '' : `  snapshot ${shown.number}, ${shown.text}`}`;
  const title = versions === undefined ? head : `${browser.vm}  versions of ${versions.path}`;
  return [
    bold(fit(title, width)),
    fit('', width, '-'),
    ...left.map((line, index) => `${line} | ${right[index] ?? ''}`),
    fit(browser.message, width),
    fit(browser.help, width),
  ].slice(0, Math.max(rows, AROUND));
}

/** `height` lines of `width` columns; the chosen one is marked in the pane that has the keys. */
function paneOf<Row>(
  list: List<Row>,
  height: number,
  width: number,
  active: boolean,
  lineOf: (row: Row) => string,
): string[] {
  const lines = list.shown(height).map(({ row, chosen }) => {
    const line = fit(`${chosen ? '>' : ' '} ${lineOf(row)}`, width);
    return chosen && active ? inverse(line) : line;
  });
  return [...lines, ...Array.from({ length: height - lines.length }, () => fit('', width))];
}

/** Columns of size and time. */
const FACTS = 9 + 2 + 16;

function treeLine(row: TreeRow, width: number): string {
  const { entry, depth, open } = row;
  const mark = isFolder(row) ? (open ? '- ' : '+ ') : '  ';
  const target = entry.target === null ? '' : ` -> ${entry.target}`;
  const name = `${' '.repeat(2 * Math.min(depth, 16))}${mark}${nameOf(row)}${isFolder(row) ? '/' : target}`;
  const size = entry.type === 'file' ? formatBytes(entry.size) : '';
  const facts = `${size.padStart(9)}  ${formatMtime(entry).slice(0, 16)}`;
  return width < 2 * FACTS ? name : `${fit(name, width - FACTS - 2)}  ${facts}`;
}

/** `text` on exactly `width` columns; the end of a longer one is what is kept of a path, so its middle goes. */
function fit(text: string, width: number, fill = ' '): string {
  if (text.length <= width) return text.padEnd(width, fill);
  const head = Math.ceil((width - 3) / 2);
  return `${text.slice(0, head)}...${text.slice(text.length - (width - 3 - head))}`;
}

/** No colours, so that NO_COLOR does not concern them. */
const bold = (text: string) => styleText('bold', text, { validateStream: false });
const inverse = (text: string) => styleText('inverse', text, { validateStream: false });
