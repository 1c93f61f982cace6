/** POSIX access control lists: from Linux's extended attribute (linux/posix_acl_xattr.h) to the text that tar carries. */

const VERSION = 2;
const HEADER_SIZE = 4;
const ENTRY_SIZE = 8;

/** What an entry's tag says it is about, and whether it names an id. */
const TAGS: ReadonlyMap<number, { readonly name: string; readonly named: boolean }> = new Map([
  [0x01, { name: 'user', named: false }],
  [0x02, { name: 'user', named: true }],
  [0x04, { name: 'group', named: false }],
  [0x08, { name: 'group', named: true }],
  [0x10, { name: 'mask', named: false }],
  [0x20, { name: 'other', named: false }],
]);

/** `user::rw-,user:1000:r--,...`, ids as numbers; undefined if `value` is no access control list. */
export function aclText(value: Uint8Array): string | undefined {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  if (value.length < HEADER_SIZE || (value.length - HEADER_SIZE) % ENTRY_SIZE !== 0) return undefined;
  if (view.getUint32(0, true) !== VERSION) return undefined;
  const entries: string[] = [];
  for (let at = HEADER_SIZE; at < value.length; at += ENTRY_SIZE) {
    const tag = TAGS.get(view.getUint16(at, true));
    const permissions = view.getUint16(at + 2, true);
    if (tag === undefined || permissions > 7) return undefined;
    const id = tag.named ? String(view.getUint32(at + 4, true)) : '';
    entries.push(`${tag.name}:${id}:${permissionText(permissions)}`);
  }
  return entries.length === 0 ? undefined : entries.join(',');
}

function permissionText(bits: number): string {
  return `${bits & 4 ? 'r' : '-'}${bits & 2 ? 'w' : '-'}${bits & 1 ? 'x' : '-'}`;
}
