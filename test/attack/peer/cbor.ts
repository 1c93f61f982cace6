/** Edits of encoded CBOR that leave everything but their place as it was. Shares no code with what it attacks. */

import type { Edit } from './attack.ts';

/** An item as it is encoded; of a map, `children` are keys and values in turn. */
interface Item {
  readonly major: number;
  /** The number in its head. */
  value: number;
  head: Buffer;
  /** What follows the head: of strings their bytes. */
  body: Buffer;
  readonly children: Item[];
  readonly parent: Item | undefined;
}

/** The head of an item: major type and number, in the shortest form or `steps` longer ones. */
export function head(major: number, value: number, steps = 0): Buffer {
  const sizes = [0, 1, 2, 4, 8];
  const least = value < 24 ? 0 : value < 2 ** 8 ? 1 : value < 2 ** 16 ? 2 : value < 2 ** 32 ? 3 : 4;
  const size = sizes[Math.min(least + steps, 4)] ?? 8;
  if (size === 0) return Buffer.of((major << 5) | value);
  const bytes = Buffer.alloc(1 + size);
  bytes[0] = (major << 5) | (23 + [1, 2, 4, 8].indexOf(size) + 1);
  if (size === 8) bytes.writeBigUInt64BE(BigInt(value), 1);
  else bytes.writeUIntBE(value, 1, size);
  return bytes;
}

function parse(bytes: Buffer, at: number, parent: Item | undefined): { item: Item; next: number } {
  const first = bytes.readUInt8(at);
  const info = first & 0x1f;
  const major = first >> 5;
  const size = info < 24 ? 0 : 1 << (info - 24);
  const value =
    size === 0 ? info : size === 8 ? Number(bytes.readBigUInt64BE(at + 1)) : bytes.readUIntBE(at + 1, size);
  let next = at + 1 + size;
  const item: Item = {
    major,
    value,
    head: bytes.subarray(at, next),
    body: Buffer.alloc(0),
    children: [],
    parent,
  };
  if (major === 2 || major === 3) {
    item.body = bytes.subarray(next, next + value);
    next += value;
  }
  for (let left = major === 4 ? value : major === 5 ? 2 * value : 0; left > 0; left--) {
    const child = parse(bytes, next, item);
    item.children.push(child.item);
    next = child.next;
  }
  return { item, next };
}

function flatten(item: Item): Item[] {
  return [item, ...item.children.flatMap(flatten)];
}

function render(item: Item): Buffer {
  return Buffer.concat([item.head, item.body, ...item.children.map(render)]);
}

/** How many items `payload` has: what `item` of {@link edited} is less than. */
export function countItems(payload: Uint8Array): number {
  return flatten(parse(Buffer.from(payload), 0, undefined).item).length;
}

/** `payload` with its `index`-th item (modulo their number) edited. */
export function edited(payload: Uint8Array, index: number, edit: Edit): Buffer {
  const root = parse(Buffer.from(payload), 0, undefined).item;
  const items = flatten(root);
  const item = items[index % items.length];
  if (item !== undefined) apply(item, edit);
  return render(root);
}

function apply(item: Item, edit: Edit): void {
  switch (edit.how) {
    case 'replace':
      become(item, Buffer.from(edit.bytes, 'base64'));
      return;
    case 'lengthen':
      item.head = head(item.major, item.value, edit.steps);
      return;
    case 'number':
      item.head = head(item.major, edit.value);
      return;
    case 'major':
      item.head = head(edit.major, item.value);
      return;
    case 'tag':
      item.head = Buffer.concat([head(6, edit.tag), item.head]);
      return;
    case 'indefinite':
      makeIndefinite(item);
      return;
    case 'nest':
      item.head = Buffer.concat([Buffer.alloc(edit.depth, 0x81), item.head]);
      return;
    case 'times':
      multiply(item, edit.times);
      return;
    case 'field':
      addField(item, edit.key);
      return;
    case 'unsort':
      unsort(item);
      return;
    case 'flip': {
      const all = Buffer.from(render(item));
      const at = Math.min(Math.floor(edit.at * all.length), all.length - 1);
      all[at] = (all[at] ?? 0) ^ (1 << (all.length % 8));
      become(item, all);
    }
  }
}

function become(item: Item, bytes: Buffer): void {
  item.head = bytes;
  item.body = Buffer.alloc(0);
  item.children.length = 0;
}

function makeIndefinite(item: Item): void {
  const inner = item.major === 2 || item.major === 3 ? Buffer.concat([item.head, item.body]) : undefined;
  const content = inner ?? Buffer.concat(item.children.map(render));
  become(item, Buffer.concat([Buffer.of((item.major << 5) | 31), content, Buffer.of(0xff)]));
}

/** The children of `parent` that go together with `item`: a pair of a map, an element of an array. */
function groupOf(item: Item): { parent: Item; at: number; size: number } | undefined {
  const { parent } = item;
  if (parent === undefined) return undefined;
  const size = parent.major === 5 ? 2 : 1;
  return { parent, at: Math.floor(parent.children.indexOf(item) / size) * size, size };
}

function multiply(item: Item, times: number): void {
  const group = groupOf(item);
  if (group === undefined) {
    become(item, Buffer.concat(Array.from({ length: times }, () => render(item))));
    return;
  }
  const { parent, at, size } = group;
  const taken = parent.children.slice(at, at + size);
  parent.children.splice(at, size, ...Array.from({ length: times }, () => taken).flat());
  parent.head = head(parent.major, parent.children.length / size);
}

/** At its sorted place, so that nothing but the field itself is wrong. */
function addField(item: Item, key: string): void {
  const map = item.major === 5 ? item : item.parent;
  if (map?.major !== 5) return;
  const name = Buffer.concat([head(3, Buffer.byteLength(key)), Buffer.from(key, 'utf8')]);
  const pairs = map.children.length / 2;
  let at = 0;
  while (at < pairs && Buffer.compare(render(map.children[2 * at] ?? map), name) < 0) at += 1;
  const [keyItem, value] = [parse(name, 0, map).item, parse(Buffer.of(0xf5), 0, map).item];
  map.children.splice(2 * at, 0, keyItem, value);
  map.head = head(5, pairs + 1);
}

function unsort(item: Item): void {
  const group = groupOf(item);
  if (group === undefined || group.at === 0) return;
  const { parent, at, size } = group;
  parent.children.splice(at - size, 0, ...parent.children.splice(at, size));
}
