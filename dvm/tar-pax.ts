/**
 * The pax records of a tar member (POSIX.1-2017, pax Interchange Format): what its header cannot say. Beside the
 * standard's keywords: `SCHILY.xattr.*`, `SCHILY.acl.*`, `SCHILY.fflags` (star, libarchive), `GNU.sparse.*` (GNU tar, version 1.0).
 */

import { bytesOf, concat, utf8 } from '../shared/bytes.ts';
import type { ByteString } from '../shared/bytes.ts';
import { aclText } from './acl.ts';
import { FILE_FLAGS } from './entry.ts';
import type { Attribute, Entry, Timestamp } from './entry.ts';
import { MAX_ID, MAX_SIZE, MAX_TIME, headerName } from '../shared/tar-header.ts';

type Record = readonly [key: string, value: Uint8Array];

/** What a member is called, what it points to, and how many bytes of it are in the archive. */
export interface Member {
  readonly name: ByteString;
  readonly target: ByteString;
  readonly size: number;
  /** The size of a sparse file, whose name a reader then takes from GNU.sparse.name. */
  readonly realSize: number | undefined;
  /** A further name of a member before: attributes and content are that one's. */
  readonly isLink: boolean;
}

/** The two attributes that hold POSIX access control lists, and the keyword under which tar carries them. */
const ACL_KEYS: ReadonlyMap<string, string> = new Map([
  ['system.posix_acl_access', 'SCHILY.acl.access'],
  ['system.posix_acl_default', 'SCHILY.acl.default'],
]);

/** libarchive's names of chattr flags. GNU tar does not take them. */
const FLAG_NAMES: readonly (readonly [string, number])[] = [
  ['sync', FILE_FLAGS.synchronous],
  ['schg', FILE_FLAGS.immutable],
  ['sappnd', FILE_FLAGS.appendOnly],
  ['nodump', FILE_FLAGS.noDump],
  ['noatime', FILE_FLAGS.noAccessTime],
];

/** The body of a pax header for `entry`, empty if its own header says it all. */
export function paxBody(entry: Entry, member: Member): Uint8Array {
  return concat(recordsOf(entry, member).map(([key, value]) => encodeRecord(key, value)));
}

function recordsOf(entry: Entry, member: Member): Record[] {
  const records: Record[] = [];
  const text = (key: string, value: string | number) => records.push([key, utf8(String(value))]);
  const names = nameRecords(member);
  // Else libarchive takes names for UTF-8: it refuses others, and composes characters. GNU tar never does, but warns
  // of the keyword, so it is for those only.
  if (names.some(([, value]) => !isComposedUtf8(value))) text('hdrcharset', 'BINARY');
  if (member.realSize !== undefined) {
    text('GNU.sparse.major', 1);
    text('GNU.sparse.minor', 0);
    text('GNU.sparse.realsize', member.realSize);
  }
  records.push(...names);
  const { seconds, nanoseconds } = entry.mtime;
  if (nanoseconds !== 0 || seconds < 0 || seconds > MAX_TIME) text('mtime', decimalTime(entry.mtime));
  if (entry.uid !== undefined && entry.uid > MAX_ID) text('uid', entry.uid);
  if (entry.gid !== undefined && entry.gid > MAX_ID) text('gid', entry.gid);
  if (member.size > MAX_SIZE) text('size', member.size);
  if (member.isLink) return records;
  const flags = FLAG_NAMES.filter(([, bit]) => (entry.flags & bit) !== 0).map(([name]) => name);
  if (flags.length > 0) text('SCHILY.fflags', flags.join(','));
  records.push(...entry.attributes.map(attributeRecord));
  return records;
}

function nameRecords({ name, target, realSize }: Member): Record[] {
  const names: Record[] = [];
  if (realSize !== undefined) names.push(['GNU.sparse.name', bytesOf(name)]);
  else if (headerName(name) !== name) names.push(['path', bytesOf(name)]);
  if (headerName(target) !== target) names.push(['linkpath', bytesOf(target)]);
  return names;
}

function attributeRecord({ name, value }: Attribute): Record {
  const key = ACL_KEYS.get(name);
  const acl = key === undefined ? undefined : aclText(value);
  if (key !== undefined && acl !== undefined) return [key, utf8(acl)];
  return [`SCHILY.xattr.${encodeKey(name)}`, value];
}

/** A record's key ends at the first `=`, so GNU tar writes `%3D` for it, and `%25` for `%`. Only what GNU tar would undo is changed. */
function encodeKey(name: ByteString): string {
  return name.replace(/%(?=3D|25)/g, '%25').replaceAll('=', '%3D');
}

/** `length key=value\n`, where the length counts its own digits. */
function encodeRecord(key: string, value: Uint8Array): Uint8Array {
  const content = concat([bytesOf(` ${key}=` as ByteString), value, utf8('\n')]);
  let length = content.length;
  while (length !== content.length + String(length).length) length = content.length + String(length).length;
  return concat([utf8(String(length)), content]);
}

/** Decimal seconds, exact to the nanosecond; negative times count towards zero. */
function decimalTime({ seconds, nanoseconds }: Timestamp): string {
  if (nanoseconds === 0) return String(seconds);
  const fraction = (value: number) => String(value).padStart(9, '0');
  if (seconds >= 0) return `${seconds}.${fraction(nanoseconds)}`;
  return `-${-(seconds + 1)}.${fraction(1_000_000_000 - nanoseconds)}`;
}

/** UTF-8 that a conversion of characters leaves as it is (NFC). */
function isComposedUtf8(bytes: Uint8Array): boolean {
  return Buffer.from(Buffer.from(bytes).toString('utf8').normalize('NFC'), 'utf8').equals(bytes);
}
