/** `find`: entries of a snapshot by name, size, time, type. */

import { utf8 } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { ENTRY_TYPES } from '../../shared/protocol/browse.ts';
import type { EntryTypeName, Filter, Moment } from '../../shared/protocol/browse.ts';
import type { App } from '../app.ts';
import type { VolumeName } from '../domains/domains.ts';
import { choose } from './chosen.ts';
import { showEntries } from './ls.ts';
import { pathBytes } from './paths.ts';

/** Options as they were typed. */
export interface FindOptions {
  readonly name: readonly string[];
  readonly path: readonly string[];
  readonly type?: string;
  readonly size: readonly string[];
  readonly newer?: string;
  readonly older?: string;
  readonly doubtful: boolean;
  readonly volume?: VolumeName;
}

export async function find(app: App, target: string, path: string, options: FindOptions): Promise<void> {
  const filter = parseFilter(options);
  const bytes = pathBytes(path);
  await showEntries(app, await choose(app, target, options.volume), path, (top) => ({
    kind: 'find',
    top,
    path: bytes,
    filter,
  }));
}

/** Throws `usage` on an option that cannot be understood. */
export function parseFilter(options: FindOptions): Filter {
  const sizes = options.size.map(parseSize);
  const lowest = sizes.map(({ min }) => min).filter((min) => min !== undefined);
  const highest = sizes.map(({ max }) => max).filter((max) => max !== undefined);
  return {
    names: options.name.map(utf8),
    paths: options.path.map(utf8),
    types: options.type === undefined ? [] : options.type.split(',').map(parseType),
    minSize: lowest.length === 0 ? null : Math.max(...lowest),
    maxSize: highest.length === 0 ? null : Math.max(0, Math.min(...highest)),
    newer: options.newer === undefined ? null : parseMoment(options.newer),
    older: options.older === undefined ? null : parseMoment(options.older),
    doubtful: options.doubtful,
  };
}

const TYPES: Readonly<Record<string, EntryTypeName>> = {
  f: 'file',
  d: 'directory',
  l: 'symlink',
  p: 'fifo',
  s: 'socket',
  c: 'character-device',
  b: 'block-device',
  x: 'skipped',
};

function parseType(text: string): EntryTypeName {
  const type = TYPES[text] ?? ENTRY_TYPES.find((name) => name === text);
  if (type !== undefined) return type;
  throw new BackupError('usage', `${text} is no type: give one or more of ${Object.keys(TYPES).join(',')}`);
}

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  k: 1024,
  m: 1024 ** 2,
  g: 1024 ** 3,
  t: 1024 ** 4,
};

/** `+N` more than N bytes, `-N` less, `N` exactly; N may end in k, M, G or T. Both ends inclusive. */
function parseSize(text: string): { min?: number; max?: number } {
  const [, sign, digits, unit] = /^([+-]?)([0-9]{1,15})([kmgt]?)$/i.exec(text) ?? [];
  const bytes = Number(digits) * (UNITS[unit?.toLowerCase() ?? ''] ?? 1);
  if (!Number.isSafeInteger(bytes))
    throw new BackupError('usage', `${text} is no size: give +10M (more), -1k (less) or 4096 (exactly)`);
  if (sign === '+') return { min: bytes + 1 };
  // Nothing is smaller than nothing.
  if (sign === '-') return bytes === 0 ? { min: 1, max: 0 } : { max: bytes - 1 };
  return { min: bytes, max: bytes };
}

/** A date, or a date and time: local unless it ends in Z. A part that is left out counts as its start. */
function parseMoment(text: string): Moment {
  const form = /^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2})?Z?)?$/;
  const iso = text.replace(' ', 'T');
  // A date alone would be read as UTC.
  const time = form.test(text) ? Date.parse(iso.includes('T') ? iso : `${iso}T00:00`) : NaN;
  if (Number.isNaN(time))
    throw new BackupError('usage', `${text} is no time: give 2026-11-03, or 2026-11-03 14:30`);
  return { seconds: Math.abs(time / 1000), beforeEpoch: time < 0 };
}
