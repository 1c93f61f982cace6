/** Extended attributes as libext2fs tells them, in the form in which the kernel shows them. */

import type { ByteString } from '../shared/bytes.ts';
import type { Attribute } from './entry.ts';

const ACLS = ['system.posix_acl_access', 'system.posix_acl_default'];

/** linux/posix_acl_xattr.h: a version, then entries of a tag, permissions and an id. */
const ACL_HEADER = 4;
const ACL_ENTRY = 8;
const ACL_USER = 2;
const ACL_GROUP = 8;
const NO_ID = 0xffffffff;

/**
 * The attribute `key`, or undefined for one that the kernel does not list: `system.data` is the content of an inline
 * file, and `trusted.*` is for CAP_SYS_ADMIN only, which no disposable has on a mounted file system either.
 */
export function diskAttribute(key: string, value: Uint8Array): Attribute | undefined {
  if (key.startsWith('trusted.')) return undefined;
  if (!key.startsWith('system.')) return { name: key as ByteString, value };
  return ACLS.includes(key) ? { name: key as ByteString, value: withUnusedIds(value) } : undefined;
}

/** Entries that are of nobody in particular have the id 0 in libext2fs, and -1 in the kernel. */
function withUnusedIds(acl: Uint8Array): Uint8Array {
  const bytes = Buffer.from(acl);
  for (let at = ACL_HEADER; at + ACL_ENTRY <= bytes.length; at += ACL_ENTRY) {
    const tag = bytes.readUInt16LE(at);
    if (tag !== ACL_USER && tag !== ACL_GROUP) bytes.writeUInt32LE(NO_ID, at + 4);
  }
  return new Uint8Array(bytes);
}
