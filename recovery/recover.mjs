#!/usr/bin/env node
/**
 * Emergency recovery: turns a copy of a store and a secret into tar files, without Qubes OS and without the program that
 * made the backup. Any Node.js from 22.15 on, no packages, no network. How to use it: docs/emergency-recovery.md. Written
 * from docs/format.md (version 3) alone: "section" is one of it, and `must` holds what a reader must reject.
 * The first process holds the keys: it checks and opens objects, and reads nothing that a VM shaped. A child (this file
 * again) reads trees and packs. It is given plaintext, a descriptor for the tar, no key, and no right to open files.
 */
import { spawn } from 'node:child_process';
import * as crypto from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import * as zlib from 'node:zlib';
const USAGE = `usage: node recover.mjs --store FOLDER SECRET --list
       node recover.mjs --store FOLDER SECRET --out FOLDER [--vm NAME [--snapshot N]]
SECRET is one of --passphrase-file FILE, --paper-file FILE (the 24 words), --key-file FILE
--list         show the VMs and their snapshots, write nothing
--out FOLDER   write VM.tar for each VM there, VM-root.tar for its root volume
--vm NAME      only this VM (or the first digits of its id); --snapshot N: this snapshot, not the newest
--root WORDS   this root of several: its fingerprint, or the first 8 or more digits of its hash; --root list: all`;
/** What was read is not what the format says. And: what the person at the keyboard can change. */
export class Damage extends Error {}
export class Refusal extends Error {}
const KiB = 2 ** 10, MiB = 2 ** 20;
const sha256 = (bytes) => crypto.hash('sha256', bytes, 'buffer');
const u32 = (value) => Buffer.of(value >>> 24, value >>> 16, value >>> 8, value);
const u64 = (value) => Buffer.concat([u32(Math.floor(value / 2 ** 32)), u32(value)]);
const must = (condition, what) => { if (!condition) throw new Damage(what); };
/** `text` as printable ASCII. Paths are strings of one character a byte. */
const shown = (text) => text.replace(/[^ -~]|\\/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
/** What `work` returns, or `otherwise` of the error of this kind that it throws. */
function attempt(work, otherwise = () => undefined, kind = Damage) {
  try { return work(); } catch (error) { if (error instanceof kind) return otherwise(error); throw error; }
}
/** The value of `key` in a Map, made if it is missing; the Map keeps the `limit` values that were asked for last. */
function recall(values, limit, key, make) {
  const value = values.has(key) ? values.get(key) : make();
  values.delete(key); values.set(key, value);
  if (values.size > limit) values.delete(values.keys().next().value);
  return value;
}
export class Reader {
  constructor(bytes) { Object.assign(this, { bytes, at: 0 }); }
  get left() { return this.bytes.length - this.at; }
  u8() { return this.take(1)[0]; }
  u32() { return this.take(4).readUInt32BE(); }
  take(length) {
    must(length <= this.left, 'something ends too early');
    return this.bytes.subarray(this.at, (this.at += length));
  }
  varint(max = Number.MAX_SAFE_INTEGER) {
    for (let i = 0, value = 0; ; i++) {
      must(this.at < this.bytes.length && i < 8, 'something ends too early');
      const byte = this.bytes[this.at++];
      value += (byte % 128) * 2 ** (7 * i);
      must(value <= max && (byte > 0 || i === 0), 'a number is too large, or not in its shortest form');
      if (byte < 128) return value;
    }
  }
  zigzag(value = this.varint()) { return value % 2 === 0 ? value / 2 : -(value + 1) / 2; }
}

// ---- Strict CBOR and number sets (sections 1 and 6) ----
/** Byte strings in the value are views into `bytes`. */
export function decodeCbor(bytes) {
  const reader = new Reader(bytes), value = cborItem(reader, 0);
  return must(reader.left === 0, 'bytes follow a record') ?? value;
}
function cborItem(reader, depth) {
  const head = reader.u8(), major = head >> 5, info = head % 32;
  must(depth <= 8 && (major === 7 ? info >= 20 && info <= 22 : info <= 27), 'a record holds what it may not');
  if (major === 7) return [false, true, null][info - 20];
  const size = info < 24 ? info : reader.take(2 ** (info - 24)).reduce((value, byte) => value * 256 + byte, 0);
  must(info < 24 || (size >= [24, 2 ** 8, 2 ** 16, 2 ** 32][info - 24] && size < 2 ** 53), 'a number in an odd form');
  if (major === 0) return size;
  if (major === 2 || major === 3) return major === 2 ? reader.take(size) : utf8(reader.take(size));
  must((major === 4 || major === 5) && size <= reader.left, 'a record holds what it may not');
  if (major === 4) return Array.from({ length: size }, () => cborItem(reader, depth + 1));
  const fields = Object.create(null);
  for (let i = 0, before = ''; i < size; i++) {
    const key = cborItem(reader, depth + 1);
    must(text(key) && /^[a-z][A-Za-z0-9]{0,31}$/.test(key), 'a record has an odd key');
    must(key.length === before.length ? key > before : key.length > before.length, 'keys are not sorted');
    fields[(before = key)] = cborItem(reader, depth + 1);
  }
  return fields;
}
const utf8 = (bytes) => attempt(() => new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes),
  () => must(false, 'a text is not UTF-8'), TypeError);
/** The runs of a number set, as [first, last]. */
export function decodeNumbers(encoded) {
  const reader = new Reader(encoded), runs = [];
  for (let end = 0; reader.left > 0; ) {
    const gap = reader.varint(), length = reader.varint();
    must(length > 0 && (gap > 0 || runs.length === 0) && end + gap + length <= 2 ** 48, 'a number set is malformed');
    runs.push([end + gap, (end += gap + length) - 1]);
  }
  return runs;
}

// ---- The shapes of roots and records (sections 4 and 5): functions that say whether a value has one ----
const whole = (min = 0, max = Number.MAX_SAFE_INTEGER) => (value) => Number.isSafeInteger(value) && value >= min && value <= max;
const bytes = (size) => (value) => Buffer.isBuffer(value) && value.length === (size ?? value.length);
const is = (type) => (value) => typeof value === type;
const oneOf = (...values) => (value) => values.includes(value);
const orNull = (shape) => (value) => value === null || shape(value);
const list = (shape, min = 0, max = Infinity) => (value) =>
  Array.isArray(value) && value.length >= min && value.length <= max && value.every(shape);
const record = (shapes) => (value) =>
  is('object')(value) && value !== null && Object.keys(value).length === Object.keys(shapes).length &&
  Object.entries(shapes).every(([name, shape]) => name in value && shape(value[name]));
const text = is('string'), truth = is('boolean'), hash = bytes(32), id = bytes(16), wrapped = bytes(72);
const count = whole(), ordinal = whole(1), epoch = whole(1, 2 ** 32 - 1), blobNumber = whole(0, 2 ** 48 - 1);
const time = whole(0, 8.64e15); // Milliseconds since 1970; Date shows no later ones.
const SLOT = { label: text, salt: id, wrapped }, COSTS = { memory: count, passes: count, lanes: count };
const KEY_SLOT = record({ ...SLOT, kind: oneOf('keyFile', 'paper') });
const PASSPHRASE_SLOT = record({ ...SLOT, ...COSTS, kind: oneOf('passphrase') });
const ROTATION = record({ counter: ordinal, previous: hash, publicKey: hash, signature: bytes(64) });
const ROOT = record({ version: oneOf(4), repository: id, counter: ordinal, time, previous: hash, publicKey: hash, signingSeed: wrapped,
  rotations: list(ROTATION, 0, 32), slots: list((value) => KEY_SLOT(value) || PASSPHRASE_SLOT(value), 1, 16),
  catalog: hash, live: orNull(list(hash, 0, 16)) });
const CATALOG = record({ version: oneOf(4), forgotten: list(id), vms: list(record({ id, name: text, record: hash })),
  rootSegments: list(hash), roots: list(record({ counter: ordinal, hash }), 0, 255) });
const REFERENCE = { object: hash, epoch }, STORED_WITH = record({ ...REFERENCE, snapshot: ordinal });
const REMARKS = { requested: truth, tags: list(text), note: text, anomaly: is('object') }; // Not used here.
const ENTRY = record({ ...REFERENCE, ...REMARKS, number: ordinal, takenAt: time, partial: truth });
const VM_RECORD = record({ id, names: list(text, 1), uuids: list(text), keys: list(record({ epoch, wrapped }), 1),
  nextNumber: blobNumber, leaves: list(record(REFERENCE)), live: orNull(STORED_WITH), nextSnapshot: ordinal,
  segments: list(record(REFERENCE)), head: list(ENTRY, 0, 64) });
const SEGMENT = record({ entries: list(ENTRY, 64, 64) }), TABLE_LEAF = record({ ids: bytes(), kinds: bytes(), epochs: bytes() });
const COUNTS = 'entries files bytes changedFiles newFiles rewrittenFiles deletedFiles readBytes storedBytes skipped'.split(' ');
const VOLUME = record({ name: oneOf('private', 'root'), mode: oneOf('files', 'blocks'), size: count, takenAt: time,
  top: blobNumber, digest: orNull(hash), ownersKnown: truth, warnings: count, counts: record(Object.fromEntries(COUNTS.map((it) => [it, count]))) });
const SNAPSHOT = record({ number: ordinal, takenAt: time, finishedAt: time, partial: truth, volumes: list(VOLUME, 1, 2),
  firstNumber: blobNumber, endNumber: blobNumber, died: bytes(), config: STORED_WITH });
const decode = (encoded, shape, what, value = decodeCbor(encoded)) => must(shape(value), `${what} has wrong fields`) ?? value;
const mustAscend = (keys, what) => must(keys.every((key, i) => i === 0 || keys[i - 1] < key), `${what} are not sorted`);

// ---- Argon2id (RFC 9106) with BLAKE2b (RFC 7693), XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) ----
const BLAKE2B_IV = `6a09e667f3bcc908 bb67ae8584caa73b 3c6ef372fe94f82b a54ff53a5f1d36f1 510e527fade682d1
  9b05688c2b3e6c1f 1f83d9abfb41bd6b 5be0cd19137e2179`.split(/\s+/).map((word) => BigInt(`0x${word}`));
const BLAKE2B_SIGMA = `0123456789abcdef ea489fd61c02b753 b8c052fdae367194 7931dcbe265a40f8 905724afe1bc683d
  2c6a0b834d75fe19 c51fed4a0763928b db7ec13950f4862a 6fe9b308c2d714a5 a2847615fb9e3cd0`.split(/\s+/);
/** The columns and diagonals of a matrix of 16 words, in the order in which both algorithms mix them. */
const QUARTERS = Array.from({ length: 8 }, (_, i) => [0, 1, 2, 3].map((row) => 4 * row + ((i + (i >> 2) * row) % 4)));
/** Of `length` bytes, at most 64. Only for Argon2id's few short inputs: BigInt is slow. */
export function blake2b(length, ...parts) {
  const h = BigUint64Array.from(BLAKE2B_IV), v = new BigUint64Array(16), input = Buffer.concat(parts);
  h[0] ^= 0x01010000n ^ BigInt(length);
  const step = (a, b, d, by, x = 0n) => {
    v[a] += v[b] + x; v[d] ^= v[a];
    v[d] = (v[d] >> by) | (v[d] << (64n - by));
  };
  for (let at = 0; at === 0 || at < input.length; at += 128) {
    const block = Buffer.concat([input.subarray(at, at + 128), Buffer.alloc(128)]);
    v.set([...h, ...BLAKE2B_IV]);
    v[12] ^= BigInt(Math.min(at + 128, input.length)); v[14] ^= at + 128 >= input.length ? 2n ** 64n - 1n : 0n;
    for (let round = 0; round < 12; round++) {
      const words = Array.from(BLAKE2B_SIGMA[round % 10], (digit) => block.readBigUInt64LE(8 * parseInt(digit, 16)));
      for (const [i, [a, b, c, d]] of QUARTERS.entries()) {
        step(a, b, d, 32n, words[2 * i]); step(c, d, b, 24n);
        step(a, b, d, 16n, words[2 * i + 1]); step(c, d, b, 63n);
      }
    }
    for (let i = 0; i < 8; i++) h[i] ^= v[i] ^ v[i + 8];
  }
  return Buffer.from(h.buffer, 0, length);
}
const little = (value) => u32(value).reverse();
/** RFC 9106, 3.3: a hash of any length. */
function longHash(length, ...parts) {
  const pieces = [blake2b(Math.min(length, 64), little(length), ...parts)];
  for (let left = length - 32; left > 32; left -= 32) pieces.push(blake2b(Math.min(left, 64), pieces.at(-1)));
  return Buffer.concat(pieces.map((piece, i) => (i < pieces.length - 1 ? piece.subarray(0, 32) : piece)));
}
/** The upper half of the product of two unsigned numbers of 32 bits. */
function upperProduct(x, y) {
  const xl = x & 0xffff, yl = y & 0xffff, xh = x >>> 16, yh = y >>> 16;
  const a = (Math.imul(xh, yl) + (Math.imul(xl, yl) >>> 16)) | 0, b = (Math.imul(xl, yh) + (a & 0xffff)) | 0;
  return (Math.imul(xh, yh) + (a >>> 16) + (b >>> 16)) >>> 0;
}
/** Where the four words of each mixing of a block are: its eight rows, then its eight columns. Words are two halves. */
const MIXINGS = Uint16Array.from({ length: 512 }, (_, i) => {
  const part = i >> 5, word = QUARTERS[(i >> 2) % 8][i % 4];
  return 2 * (part < 8 ? 16 * part + word : 2 * (part - 8) + 16 * (word >> 1) + (word % 2));
});
/** a = a + b + 2 lower(a) lower(b); d = (d ^ a), turned right. */
function mix(v, a, b, d, by) {
  const al = v[a], bl = v[b], product = Math.imul(al, bl), low = al + bl + ((product << 1) >>> 0);
  v[a + 1] += v[b + 1] + ((upperProduct(al, bl) << 1) | (product >>> 31)) + ((low / 2 ** 32) | 0);
  v[a] = low;
  const swap = by >> 5, shift = by % 32, l = v[d + swap] ^ v[a + swap], h = v[d + 1 - swap] ^ v[a + 1 - swap];
  v[d] = shift === 0 ? l : (l >>> shift) | (h << (32 - shift));
  v[d + 1] = shift === 0 ? h : (h >>> shift) | (l << (32 - shift));
}
const mixed = new Uint32Array(256);
/** Compresses the blocks at `x` and `y` of `m` into the one at `to`, together with what is there if `over`. */
function compress(m, x, y, to, over) {
  for (let i = 0; i < 256; i++) mixed[i] = m[x + i] ^ m[y + i];
  for (let i = 0; i < 256; i++) m[to + i] = over ? m[to + i] ^ mixed[i] : mixed[i];
  for (let i = 0; i < 512; i += 4) {
    const a = MIXINGS[i], b = MIXINGS[i + 1], c = MIXINGS[i + 2], d = MIXINGS[i + 3];
    mix(mixed, a, b, d, 32); mix(mixed, c, d, b, 24); mix(mixed, a, b, d, 16); mix(mixed, c, d, b, 63);
  }
  for (let i = 0; i < 256; i++) m[to + i] ^= mixed[i];
}
/** Version 0x13, 32 bytes; `memory` in KiB. `key` and `data` are for its test vector only. */
export function argon2id(password, salt, { memory, passes, lanes }, key = Buffer.alloc(0), data = Buffer.alloc(0)) {
  const sized = [password, salt, key, data].flatMap((part) => [little(part.length), part]);
  const seed = blake2b(64, ...[lanes, 32, memory, passes, 0x13, 2].map(little), ...sized);
  const segment = Math.floor(memory / (4 * lanes)), row = 4 * segment, blocks = row * lanes;
  const m = new Uint32Array(256 * (blocks + 3)); // After the blocks: zeros, what addresses are made from, addresses.
  const zeros = 256 * blocks, input = zeros + 256, addresses = zeros + 512;
  for (let i = 0; i < 2 * lanes; i++) {
    const block = longHash(1024, seed, little(i % 2), little(i >> 1));
    for (let k = 0; k < 256; k++) m[256 * ((i >> 1) * row + (i % 2)) + k] = block.readUInt32LE(4 * k);
  }
  const fill = (pass, slice, lane) => {
    const start = pass === 0 && slice === 0 ? 2 : 0, fixed = pass === 0 && slice < 2; // Addresses that memory has no part in.
    if (fixed) [pass, lane, slice, blocks, passes, 2, 0].forEach((value, k) => m.set([value, 0], input + 2 * k));
    for (let i = start; i < segment; i++) {
      if (fixed && (i === start || i % 128 === 0)) {
        m[input + 12]++; compress(m, zeros, input, addresses, false); compress(m, zeros, addresses, addresses, false);
      }
      const at = lane * row + slice * segment + i, before = at % row === 0 ? at + row - 1 : at - 1;
      const random = fixed ? addresses + 2 * (i % 128) : 256 * before, from = start === 2 ? lane : m[random + 1] % lanes;
      const area = (pass === 0 ? slice * segment : row - segment) + (from === lane ? i - 1 : i === 0 ? -1 : 0);
      const back = upperProduct(area, upperProduct(m[random], m[random])), first = pass === 0 ? 0 : ((slice + 1) % 4) * segment;
      compress(m, 256 * before, 256 * (from * row + ((first + area - 1 - back) % row)), 256 * at, pass > 0);
    }
  };
  for (let i = 0; i < passes * 4 * lanes; i++) fill(Math.floor(i / (4 * lanes)), Math.floor(i / lanes) % 4, i % lanes);
  const last = Buffer.alloc(1024);
  for (let k = 0, at = 0; k < 256 * lanes; k++, at = 4 * (k % 256))
    last.writeInt32LE(last.readInt32LE(at) ^ m[256 * ((Math.floor(k / 256) + 1) * row - 1) + (k % 256)], at);
  m.fill(0);
  return longHash(32, last);
}
/** HChaCha20: a block of ChaCha20 before its start was added, which is subtracted again here where it is known. */
function subkey(key, nonce) {
  const start = Buffer.concat([Buffer.from('expand 32-byte k'), nonce]), out = Buffer.alloc(32);
  const block = crypto.createCipheriv('chacha20', key, nonce).update(Buffer.alloc(64));
  for (let i = 0; i < 32; i += 4) out.writeInt32LE((block.readInt32LE(i < 16 ? i : i + 32) - start.readInt32LE(i)) | 0, i);
  return out;
}
/** What `sealed` (nonce, ciphertext, tag) holds; undefined if its tag is wrong. */
export function unseal(key, sealed, associated) {
  const nonce = Buffer.concat([Buffer.alloc(4), sealed.subarray(16, 24)]), own = subkey(key, sealed.subarray(0, 16));
  const cipher = crypto.createDecipheriv('chacha20-poly1305', own, nonce, { authTagLength: 16 });
  cipher.setAAD(associated).setAuthTag(sealed.subarray(-16));
  const plaintext = cipher.update(sealed.subarray(24, -16));
  return attempt(() => cipher.final() && plaintext, undefined, Error);
}

// ---- Secrets and keys (section 3) ----
const SECRETS = { passphrase: { option: 'passphrase-file', name: 'passphrase' },
  paper: { option: 'paper-file', name: 'paper key', info: 'QIB1 paper key' },
  keyFile: { option: 'key-file', name: 'key file', info: 'QIB1 key file' } };
function readSecret(options) {
  const [kind, ...others] = Object.keys(SECRETS).filter((kind) => options[SECRETS[kind].option] !== undefined);
  if (kind === undefined || others.length > 0) throw new Refusal(`give one secret, and only one\n${USAGE}`);
  const file = options[SECRETS[kind].option], content = readFile(file, 64 * KiB);
  if (content === undefined) throw new Refusal(`there is no file ${file}`);
  return { kind, bytes: secretBytes(kind, utf8(content)) };
}
export function secretBytes(kind, content) {
  if (kind === 'paper') return paperBytes(content);
  const digits = /^qubes-backup-key-1:([0-9a-f]{64})\r?\n?$/.exec(content)?.[1];
  if (kind === 'keyFile' && digits === undefined) throw new Refusal('a key file is one line, "qubes-backup-key-1:" and 64 hex digits');
  if (kind === 'keyFile') return Buffer.from(digits, 'hex');
  const bytes = Buffer.from(content.replace(/\r?\n$/, '').normalize('NFC'));
  if (bytes.length === 0 || bytes.length > 1024) throw new Refusal('a passphrase has 1 to 1,024 bytes: is it the right file?');
  return bytes;
}
/** 24 words, each in full or its first four letters; numbers and punctuation between them are ignored. */
function paperBytes(content) {
  const words = content.toLowerCase().match(/[^\s\d.:,;]+/g) ?? [];
  if (words.length !== 24) throw new Refusal(`a paper key has 24 words, not ${words.length}`);
  const bits = words.map((word, i) => {
    const index = WORDS.findIndex((known) => known === word || (word.length === 4 && known.startsWith(word)));
    if (index < 0) throw new Refusal(`word ${i + 1} is not on the list of words: look at the paper again`);
    return index.toString(2).padStart(11, '0');
  });
  const all = Buffer.from(bits.join('').match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  if (sha256(all.subarray(0, 32))[0] === all[32]) return all.subarray(0, 32);
  throw new Refusal('the words do not belong together: one is wrong, or two are swapped. Look at the paper again');
}
const hkdf = (key, salt, info) => Buffer.from(crypto.hkdfSync('sha256', key, salt, info, 32));
const unwrap = (key, purpose, context, sealed) =>
  unseal(key, sealed, Buffer.concat([Buffer.from(`QIB1 wrap ${purpose}\0`), ...context]));
function slotKey({ kind, label, salt, memory, passes, lanes }, secret) {
  if (kind !== 'passphrase') return hkdf(secret, salt, SECRETS[kind].info);
  say(`trying slot "${shown(label)}", this may take a minute ...`);
  if (crypto.argon2Sync === undefined) return argon2id(secret, salt, { memory, passes, lanes });
  return crypto.argon2Sync('argon2id', { message: secret, nonce: salt, parallelism: lanes, tagLength: 32, memory, passes });
}
/** The keys of the catalog and for wrapping, by the first slot that the secret opens. */
function openKeys(root, { kind, bytes }) {
  for (const { memory, passes, lanes } of root.slots.filter((slot) => slot.kind === 'passphrase'))
    must(memory >= 64 * KiB && memory <= MiB && passes >= 3 && passes <= 16 && lanes >= 1 && lanes <= 8,
      `the root asks for key derivation of ${memory} KiB, ${passes} passes, ${lanes} lanes, and no genuine one does: it ` +
      'was not run. Somebody tampered with this copy: take another');
  must(root.slots.reduce((sum, { memory = 0, passes = 0 }) => sum + memory * passes, 0) <= 40 * MiB,
    'the root asks for more key derivation in all than any genuine one does: it was not run. Take another copy');
  const slots = root.slots.filter((slot) => slot.kind === kind), { name } = SECRETS[kind];
  for (const slot of slots) {
    const master = unwrap(slotKey(slot, bytes), 'master', [root.repository, slot.salt], slot.wrapped);
    if (master === undefined) continue;
    const derive = (label) => hkdf(master, '', Buffer.concat([root.repository, Buffer.from(label)]));
    const seed = unwrap(derive('signing seed'), 'signing seed', [root.repository], root.signingSeed);
    must(seed !== undefined && publicKeyOf(seed).equals(root.publicKey), 'the root is signed by a foreign key');
    return { catalog: derive('catalog'), wrapping: derive('wrapping') };
  }
  const all = root.slots.map((slot) => `${SECRETS[slot.kind].name} "${shown(slot.label)}"`).join(', ');
  if (slots.length === 0) throw new Refusal(`this store opens with no ${name}. It opens with: ${all}`);
  throw new Refusal(`wrong ${name}: the store's root is intact, but this opens none of its slots (${all}). Mind capitals, ` +
    'spaces and the keyboard layout. If it was changed after this copy was made, the old one opens it');
}
function publicKeyOf(seed) {
  const key = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]); // RFC 8410
  return Buffer.from(crypto.createPrivateKey({ key, format: 'der', type: 'pkcs8' }).export({ format: 'jwk' }).x, 'base64url');
}
function isSigned(label, message, publicKey, signature) {
  const key = { key: { kty: 'OKP', crv: 'Ed25519', x: publicKey.toString('base64url') }, format: 'jwk' };
  return crypto.verify(null, Buffer.concat([Buffer.from(`${label}\0`), message]), crypto.createPublicKey(key), signature);
}

// ---- The store: objects and roots (sections 2, 4 and 12) ----
/** The bytes of a file; undefined if there is none. */
function readFile(file, limit) {
  const read = () => must(fs.statSync(file).size <= limit, `${file} is too large`) ?? fs.readFileSync(file);
  return attempt(read, (error) => must(error.code === 'ENOENT', `${file} cannot be read: ${error.code ?? error.message}`), Error);
}
function sizeClass(size) {
  const exponent = 31 - Math.clz32(size), step = size > MiB ? 256 * KiB : 2 ** (exponent + Math.clz32(exponent) - 32);
  return Math.max(4096, Math.ceil(size / step) * step);
}
export function openObject(sealed, key, { kind, repository, vm = Buffer.alloc(16), number = 0, epoch = 0 }) {
  must(sealed.length >= 4136, 'it is too short');
  const place = [Buffer.from('QIB1'), Buffer.of(kind), repository, vm, u64(number), u32(epoch)];
  const padded = unseal(key, sealed, Buffer.concat(place));
  must(padded !== undefined, 'its tag is wrong: it does not belong where it is');
  const length = padded.readUInt32BE();
  must(length <= padded.length - 4 && padded.length === sizeClass(4 + length), 'its length is wrong');
  must(padded.subarray(4 + length).every((byte) => byte === 0), 'its fill is not zero');
  return padded.subarray(4, 4 + length);
}
/** A root whose signatures are right, and its hash. */
export function decodeRoot(encoded) {
  must(encoded.length >= 76 && encoded.length <= 64 * KiB, 'its length is impossible');
  const magic = encoded.toString('latin1', 0, 8), body = encoded.subarray(12, -64);
  must(magic === 'QIBROOT4', /^QIBROOT\d/.test(magic) ? 'it is of another version of the format' : 'it is no root');
  must(encoded.readUInt32BE(8) === body.length, 'its length is wrong');
  const root = decode(body, ROOT, 'it'), { rotations } = root;
  must(isSigned('qubes-incremental-backup root 4', body, root.publicKey, encoded.subarray(-64)), 'its signature is wrong');
  for (const [i, { counter, previous, publicKey, signature }] of rotations.entries()) {
    const message = rotationMessage(counter, rotations[i + 1]?.publicKey ?? root.publicKey, previous, root.repository);
    const ascends = counter <= root.counter && (i === 0 || counter > rotations[i - 1].counter);
    must(ascends && (counter < root.counter || previous.equals(root.previous)), 'a rotation of its keys is out of place');
    must(isSigned('qubes-incremental-backup rotation 4', message, publicKey, signature), 'a rotation is not signed');
  }
  return { ...root, hash: sha256(encoded) };
}
function rotationMessage(counter, nextKey, previous, repository) {
  const log = [24, 2 ** 8, 2 ** 16, 2 ** 32, Infinity].findIndex((limit) => counter < limit) - 1;
  const number = log < 0 ? Buffer.of(counter) : Buffer.concat([Buffer.of(24 + log), u64(counter).subarray(8 - 2 ** log)]);
  const parts = ['\xa4\x67counter', number, '\x67nextKey\x58\x20', nextKey, '\x68previous\x58\x20', previous];
  return Buffer.concat([...parts, '\x6arepository\x50', repository].map((part) => Buffer.from(part, 'latin1')));
}
/** Whether `next` is signed by the key of `root`, or by one that replaced it just then. */
function mayFollow(root, next) {
  const keys = [next, ...next.rotations.filter((rotation) => rotation.counter > root.counter)].map((signer) => signer.publicKey);
  const isSigner = keys.some((key) => key.equals(root.publicKey));
  return isSigner && next.counter > root.counter && next.repository.equals(root.repository);
}
export function fingerprint(rootHash) {
  const bits = BigInt(`0x${rootHash.toString('hex')}`).toString(2).padStart(256, '0').slice(0, 88);
  return bits.match(/.{11}/g).map((index) => WORDS[parseInt(index, 2)]).join('-');
}
const date = (milliseconds) => `${new Date(milliseconds).toISOString().slice(0, 19).replace('T', ' ')} UTC`;
const describe = ({ time, counter, hash }) => `${date(time)}, number ${counter}, fingerprint: ${fingerprint(hash)}`;
class Store {
  constructor(folder) {
    this.folder = folder;
    const missing = ['objects', 'roots'].find((name) => !fs.existsSync(join(folder, name)));
    if (missing !== undefined) throw new Refusal(`${folder} is no store: it has no folder "${missing}". Was all of it copied?`);
    const format = readFile(join(folder, 'format'), KiB)?.toString('latin1') ?? '';
    if (!['qubes-incremental-backup store 2\n', ''].includes(format)) throw new Refusal('the store has another layout than this script reads');
  }
  object(name) {
    const digits = name.toString('hex');
    const found = readFile(join(this.folder, 'objects', digits.slice(0, 2), digits), 16 * MiB + 40);
    return must(sha256(found ?? must(false, 'it is missing')).equals(name), 'its bytes have another hash') ?? found;
  }
  /** The newest root, or the one named. Does not guess: which is the newest may be all that an enemy can lie about. */
  root(wanted) {
    const files = fs.readdirSync(join(this.folder, 'roots')).filter((name) => /^\d{12}$/.test(name)).sort();
    const roots = [], damaged = new Map(); // In the order of their numbers, in which the store got them.
    for (const file of files)
      attempt(() => {
        roots.push(Object.assign(decodeRoot(readFile(join(this.folder, 'roots', file), 64 * KiB)), { file }));
      }, ({ message }) => damaged.set(file, message));
    for (const [at, root] of roots.entries())
      if (at > 0 && !mayFollow(roots[at - 1], root)) damaged.set(root.file, 'it may not follow the root before it');
    for (const [file, why] of damaged) warn(`roots/${file} is not used: ${why}`);
    const isEnd = ({ file }) => file === files.at(-1) && !damaged.has(file), all = roots.toSorted((a, b) => b.counter - a.counter);
    const words = wanted?.trim().split(/[\s-]+/).join('-');
    const isNamed = ({ hash }) => words.length >= 8 && (hash.toString('hex').startsWith(words) || fingerprint(hash) === words);
    const [found, ...others] = all.filter(wanted === undefined ? isEnd : isNamed);
    if (found !== undefined && others.length === 0 && (wanted !== undefined || found === all[0])) return found;
    if (all.length === 0) throw new Refusal('the store has no root that can be used, and without one nothing opens: take another copy');
    const why = wanted === undefined ? 'it is not certain which root is the newest' : 'no root, or several, are named so';
    const choice = `${why}. Choose by --root and the eight words, or take a complete copy:`;
    throw new Refusal([choice, ...all.slice(0, 20).map(describe)].join('\n  '));
  }
}

// ---- Records: VMs, snapshots, blobs (section 5) ----
class Repository {
  constructor(store, root, keys) {
    Object.assign(this, { store, keys, id: root.repository });
    this.catalog = decode(this.open(root.catalog, keys.catalog, { kind: 1 }), CATALOG, 'the catalog');
    mustAscend(this.catalog.vms.map((vm) => vm.id.toString('hex')), 'VMs');
    mustAscend(this.catalog.forgotten.map((vm) => vm.toString('hex')), 'forgotten VMs');
  }
  open(name, key, place) {
    return attempt(() => openObject(this.store.object(name), key, { ...place, repository: this.id }),
      ({ message }) => must(false, `object ${name.toString('hex')}: ${message}`));
  }
}
class Vm {
  constructor(repository, { id, record }) {
    Object.assign(this, { repository, id, keys: new Map(), tables: new Map() });
    this.record = decode(repository.open(record, repository.keys.catalog, { kind: 3, vm: id }), VM_RECORD, 'the record of a VM');
    must(this.record.id.equals(id), 'the record of a VM is of another');
    mustAscend(this.record.keys.map((key) => key.epoch), 'keys');
    for (const { epoch, wrapped } of this.record.keys) {
      this.keys.set(epoch, unwrap(repository.keys.wrapping, 'vm', [repository.id, id, u32(epoch)], wrapped));
      must(this.keys.get(epoch) !== undefined, `the key of epoch ${epoch} is damaged`);
    }
  }
  open({ object, epoch }, kind, number) {
    must(this.keys.has(epoch), `there is no key of epoch ${epoch}`);
    return this.repository.open(object, this.keys.get(epoch), { kind, vm: this.id, number, epoch });
  }
  /** Their entries, newest first. */
  *snapshots() {
    const { head, segments, nextSnapshot } = this.record;
    for (let i = segments.length, before = nextSnapshot; i >= 0; i--) {
      const entries = i === segments.length ? head : decode(this.open(segments[i], 6, i), SEGMENT, 'a segment').entries;
      for (const entry of entries.toReversed()) {
        must(entry.number < before, 'snapshots are not sorted');
        before = entry.number; yield entry;
      }
    }
  }
  snapshot(entry) {
    const snapshot = decode(this.open(entry, 5, entry.number), SNAPSHOT, 'a snapshot'), [first, second] = snapshot.volumes;
    must(snapshot.number === entry.number && snapshot.partial === entry.partial, 'a snapshot is another');
    return must(first.name !== second?.name && decodeNumbers(snapshot.died), 'a volume is there twice') ?? snapshot;
  }
  blob(number, kind) {
    must(number < this.record.nextNumber, `there is no blob ${number}`);
    const row = number % 1024, leaf = (number - row) / 1024;
    const { ids, kinds, epochs } = recall(this.tables, 256, leaf, () => this.table(leaf));
    must(kinds[row] === kind, `blob ${number} is of another kind, or was dropped`);
    return this.open({ object: ids.subarray(32 * row, 32 * row + 32), epoch: epochs.readUInt32BE(4 * row) }, kind, number);
  }
  table(index) {
    must(index < this.record.leaves.length, 'the table of blobs is too short');
    const leaf = decode(this.open(this.record.leaves[index], 4, index), TABLE_LEAF, 'the table of blobs');
    const rows = Math.min(1024, this.record.nextNumber - 1024 * index), { ids, kinds, epochs } = leaf;
    return must(kinds.length === rows && ids.length === 32 * rows && epochs.length === 4 * rows, 'rows of blobs are missing') ?? leaf;
  }
}

// ---- Trees and packs (sections 7 to 9): from here on the child, which has no key ----
const TYPE = { file: 1, folder: 2, symlink: 3, fifo: 4, socket: 5, character: 6, block: 7, skipped: 8 };
const CONTENT = 16, TREE = 17, CHUNK = 2 * MiB;
function expand(codec, stored, size) {
  must(codec === 0 || codec === 1, 'an unknown codec');
  const raw = codec === 0 ? stored : attempt(() => zlib.zstdDecompressSync(stored, { maxOutputLength: size }), undefined, Error);
  return must(raw?.length === size, 'something decompresses to another length') ?? raw;
}
export function readPack(blob) {
  const reader = new Reader(blob);
  must(reader.u8() === 1, 'a pack of an unknown version');
  const heads = Array.from({ length: reader.u8() }, () => [reader.u8(), reader.u32(), reader.u32()]);
  let size = 0;
  const segments = heads.map(([codec, length, stored]) => {
    must(length >= 1 && length <= CHUNK && (codec !== 0 || length === stored), 'a segment has a wrong length');
    size += length;
    return { codec, start: size - length, length, stored: reader.take(stored) };
  });
  must(segments.length >= 1 && segments.length <= 16 && reader.left === 0, 'a pack has a wrong length');
  return { segments, size };
}
class Packs {
  constructor(fetch) { Object.assign(this, { fetch, packs: new Map(), raw: new Map() }); }
  read({ blob, packSize, offset, length, hash }) {
    const pack = recall(this.packs, 32, blob, () => attempt(() => readPack(this.fetch(blob, CONTENT)), (error) => error));
    if (pack instanceof Damage) throw pack; // Kept, so that it is not asked for again and again.
    const segment = pack.segments.find(({ start, length }) => offset < start + length), from = offset - segment?.start;
    must(pack.size === packSize && from + length <= segment?.length, 'a chunk is not within a segment of its pack');
    const raw = recall(this.raw, 32, `${blob} ${segment.start}`, () => expand(segment.codec, segment.stored, segment.length));
    const chunk = raw.subarray(from, from + length);
    return must(sha256(chunk).equals(hash), 'a chunk has another hash') ?? chunk;
  }
}
export function readTreeBlob(blob) {
  const reader = new Reader(blob);
  must(reader.u8() === 2, 'a tree blob of an unknown version');
  const codec = reader.u8(), size = reader.u32();
  must(size >= 1 && size <= 64 * MiB, 'a tree blob is too large');
  return expand(codec, reader.take(reader.left), size);
}
/** A path that starts as `before` does. */
function readPath(reader, before) {
  const shared = reader.varint(before.length), suffix = reader.take(reader.varint(MiB)).toString('latin1');
  const path = before.slice(0, shared) + suffix, names = path === '' ? [] : path.split('/');
  must(path.length <= MiB && (suffix === '' || suffix[0] !== before[shared]), 'a path in an odd form');
  must(names.every((name) => !['', '.', '..'].includes(name) && !name.includes('\0')), 'a path with an impossible name');
  return path;
}
export function readTop(raw) {
  const reader = new Reader(raw), entries = reader.varint(), bytes = reader.varint(), count = reader.varint(raw.length / 37);
  let before = { path: '', number: 0 };
  const leaves = Array.from({ length: count }, () => {
    const [path, skip, entries] = [readPath(reader, before.path), reader.varint(), reader.varint()];
    before = { path, skip, entries, number: before.number + reader.zigzag(), hash: reader.take(32) };
    return must(blobNumber(before.number), 'an impossible blob number') ?? before;
  });
  return must(count > 0 && reader.left === 0, 'the top of a tree has a wrong length') ?? { entries, bytes, leaves };
}
/** Goes from record to record through all leaves. */
export class Cursor extends Reader {
  constructor(top, fetch) {
    super(Buffer.alloc(0));
    const leaves = new Map();
    this.rawLeaf = ({ number, hash }) => recall(leaves, 8, number, () => {
      const raw = readTreeBlob(fetch(number, TREE));
      return must(sha256(raw).equals(hash), 'a leaf has another hash') ?? raw;
    });
    Object.assign(this, { top, leaf: 0, path: undefined, entriesLeft: 0, chunksLeft: 0, records: 0, packs: [], used: 0 });
  }
  fork() { return Object.assign(Object.create(Cursor.prototype), this); }
  /** The tag of the next record; undefined at the end. */
  tag() {
    if (this.left > 0) return (this.start = this.at) && this.u8();
    const line = this.top.leaves[this.leaf++];
    if (must(this.entriesLeft === 0 && this.used === this.packs.length, 'a leaf lacks records') ?? line === undefined) return undefined;
    Object.assign(this, { bytes: this.rawLeaf(line), at: 0, before: '', lastPack: undefined, entriesLeft: line.entries, used: 0 });
    let blob = 0;
    const pack = () => ({ blob: (blob += this.zigzag()), packSize: this.varint(16 * CHUNK) });
    this.packs = Array.from({ length: this.varint(this.left / 2) }, pack);
    must(new Set(this.packs.map(({ blob }) => blob).filter(blobNumber)).size === this.packs.length, 'a blob number twice, or none');
    const tag = (this.start = this.at) && this.u8(), continues = line.skip === this.records && line.path === this.path;
    this.expected = tag === 1 ? line.path : undefined;
    must(tag === 1 ? line.skip === 0 : continues, 'a leaf starts elsewhere than the top says');
    return tag;
  }
  /** The next entry; undefined at the end. */
  entry() {
    must(this.chunksLeft === 0, 'a file has too few chunks');
    const tag = this.tag();
    if (tag === undefined) return undefined;
    must(tag === 1 && --this.entriesLeft >= 0, 'a record that may not be there');
    const path = readPath(this, this.before), order = (path) => path.replaceAll('/', '\0');
    must((this.expected ?? path) === path, 'a leaf starts elsewhere than the top says');
    must(this.path === undefined ? path === '' : order(path) > order(this.path), 'paths are not sorted, or one is there twice');
    const type = this.u8(), flags = this.varint(127), mode = this.varint(0o7777), has = (flag) => (flags & flag) !== 0;
    const isFile = type === TYPE.file, isText = type === TYPE.symlink || type === TYPE.skipped;
    const id = () => this.varint(2 ** 32 - 1), time = () => [this.zigzag(), this.varint(999_999_999)];
    const entry = { path, type, mode, uid: id(), gid: id(), mtime: time(), ctime: time(), inode: this.varint() };
    const zeros = [flags, mode, entry.uid, entry.gid, ...entry.mtime, ...entry.ctime, entry.inode];
    must(type >= 1 && type <= 8 && !(type === TYPE.folder && has(1)), 'an impossible type');
    must(!(has(2) && entry.uid > 0) && !(has(4) && entry.gid > 0), 'an unknown owner has a number');
    Object.assign(entry, { linked: has(1), ownerless: has(2) || has(4), doubtful: has(8), unreadable: has(16) });
    entry.size = isFile ? this.varint() : 0; entry.chunks = isFile ? this.varint(entry.size) : 0;
    entry.target = isText ? this.take(this.varint(MiB)).toString('latin1') : '';
    must(!entry.target.includes('\0'), 'an impossible target');
    must(type !== TYPE.skipped || (entry.target && zeros.every((value) => value === 0)), 'a skipped path has no reason, or more');
    entry.device = type === TYPE.character || type === TYPE.block ? [id(), id()] : undefined;
    entry.attributes = has(32) ? this.attributes() : []; entry.fileFlags = has(64) ? this.varint(0xf8) : 0;
    must(!has(64) || (type <= TYPE.folder && entry.fileFlags > 0 && entry.fileFlags % 8 === 0), 'impossible file flags');
    Object.assign(this, { path, before: path, expected: undefined, records: 1, chunksLeft: entry.chunks, room: entry.size });
    return must(this.at - this.start <= 4 * MiB, 'a record is too long') ?? entry;
  }
  attributes() {
    const text = () => this.take(this.varint()).toString('latin1');
    const attributes = Array.from({ length: this.varint(this.left / 2) }, () => ({ name: text(), value: text() }));
    const names = attributes.map(({ name }) => name);
    must(names.length > 0 && names.every((name) => name !== '' && !name.includes('\0')), 'an impossible attribute');
    return mustAscend(names, 'attributes') ?? attributes;
  }
  chunk() {
    must(this.tag() === 2 && --this.chunksLeft >= 0, 'a file has too few chunks');
    const gap = this.varint(), place = this.varint(), index = Math.floor(place / 2), pack = this.packs[index];
    must(index <= this.used && pack !== undefined && (place % 2 === 0 || pack === this.lastPack), 'a chunk is nowhere');
    const offset = place % 2 === 0 ? this.varint() : this.lastEnd, length = this.varint(CHUNK), hash = this.take(32);
    const isNext = pack === this.lastPack && offset === this.lastEnd, used = Math.max(this.used, index + 1);
    Object.assign(this, { lastPack: pack, lastEnd: offset + length, records: this.records + 1, used });
    must(isNext === place % 2 > 0 && length > 0 && this.lastEnd <= pack.packSize && (this.room -= gap + length) >= 0, 'a chunk lies outside');
    return { gap, length, hash, offset, ...pack };
  }
}
/** Section 10, both forms. */
class ContentDigest {
  owned = crypto.createHash('sha256').update('qubes-incremental-backup content 2\0');
  ownerless = this.owned.copy();
  add(...parts) { for (const form of [this.owned, this.ownerless]) form.update(Buffer.concat(parts)); }
  /** All but chunks. `first`: the path of the first link, where this is another. */
  entry(entry, first = '') {
    const { path, type, mode, uid, gid, mtime, fileFlags, attributes, size, chunks, target, device = [] } = entry;
    const sized = (text) => Buffer.concat([u32(text.length), Buffer.from(text, 'latin1')]);
    this.add(sized(path), Buffer.of(type), u32(type === TYPE.symlink ? 0o777 : mode).subarray(2));
    this.owned.update(Buffer.concat([u32(uid), u32(gid)]));
    const pairs = attributes.flatMap(({ name, value }) => [sized(name), sized(value)]);
    this.add(u64(mtime[0]), u32(mtime[1]), Buffer.of(fileFlags), u32(attributes.length), ...pairs, sized(first));
    if (first === '' && type === TYPE.file) this.add(u64(size), u32(chunks));
    if (first === '' && type === TYPE.symlink) this.add(sized(target));
    if (first === '') this.add(...device.map(u32));
  }
}

// ---- The tar: pax (POSIX.1-2008), and the records of GNU tar and libarchive for what pax has none ----
class Tar {
  constructor(write) { Object.assign(this, { write, written: 0 }); }
  put(bytes) { this.written += bytes.length; this.write(bytes); }
  pad() { this.put(Buffer.alloc(-this.written & 511)); }
  /** `size`: of what follows. `link`: path or target. `path`: where it is not the entry's own. */
  header(entry, type, { size = 0, link = '', path = entry.path, records = [] } = {}) {
    const name = type === '5' ? `${path || '.'}/` : path, { uid, gid, mtime } = entry;
    const composed = (text) => Buffer.from(Buffer.from(text, 'latin1').toString().normalize('NFC')).toString('latin1') === text;
    const hdrcharset = composed(name) && composed(link) ? '' : 'BINARY';
    const pax = Object.entries({ hdrcharset, path: name, linkpath: link, mtime: decimal(mtime), uid, gid, size });
    const extended = Buffer.concat([...pax.filter(([, value]) => value !== ''), ...records].map(paxRecord));
    const head = ustar({ ...entry, path: 'PaxHeader', device: undefined }, 'x', extended.length, '');
    this.put(Buffer.concat([head, extended, Buffer.alloc(-extended.length & 511), ustar({ ...entry, path: name }, type, size, link)]));
  }
}
/** Seconds with their fraction; a sign is that of both. */
function decimal([seconds, nanoseconds]) {
  const [whole, part] = seconds < 0 && nanoseconds > 0 ? [seconds + 1, 1e9 - nanoseconds] : [seconds, nanoseconds];
  return `${seconds < 0 ? '-' : ''}${Math.abs(whole)}.${String(part).padStart(9, '0')}`;
}
function paxRecord([key, value]) {
  const rest = ` ${key}=${value}\n`, digits = String(rest.length).length, length = rest.length + digits;
  return Buffer.from(`${String(length).length > digits ? length + 1 : length}${rest}`, 'latin1');
}
/** A block of fields; what does not fit is in a record of pax before it. */
function ustar({ path, mode, uid, gid, mtime, device = [0, 0] }, type, size, link) {
  const text = (value, width) => value.slice(0, width).padEnd(width, '\0');
  const octal = (value, width) => `${(value >= 0 && value < 8 ** (width - 1) ? value : 0).toString(8).padStart(width - 1, '0')}\0`;
  const start = text(path, 100) + octal(mode, 8) + octal(uid, 8) + octal(gid, 8) + octal(size, 12) + octal(mtime[0], 12);
  const end = `${type}${text(link, 100)}ustar\x0000${text('', 64)}${octal(device[0], 8)}${octal(device[1], 8)}${text('', 167)}`;
  const sum = Buffer.from(`${start}        ${end}`, 'latin1').reduce((total, byte) => total + byte);
  return Buffer.from(`${start}${octal(sum, 7)} ${end}`, 'latin1');
}
/** Attributes, access lists and chattr flags as records of pax. */
function attributeRecords({ attributes, fileFlags }) {
  const acls = { 'system.posix_acl_access': 'SCHILY.acl.access', 'system.posix_acl_default': 'SCHILY.acl.default' };
  const records = attributes.map(({ name, value }) => {
    const acl = acls[name] && aclText(Buffer.from(value, 'latin1'));
    return acl ? [acls[name], acl] : [`SCHILY.xattr.${name.replaceAll('%', '%25').replaceAll('=', '%3D')}`, value];
  });
  const names = { sync: 8, schg: 16, sappnd: 32, nodump: 64, noatime: 128 };
  const flags = Object.keys(names).filter((name) => (fileFlags & names[name]) !== 0).join(',');
  return flags === '' ? records : [...records, ['SCHILY.fflags', flags]];
}
/** linux/posix_acl_xattr.h as the text of acl(5); undefined for what is none. */
function aclText(value) {
  const names = { 1: 'user:', 2: 'user:', 4: 'group:', 8: 'group:', 16: 'mask:', 32: 'other:' };
  if (value.length < 4 || value.length % 8 !== 4 || value.readUInt32LE() !== 2) return undefined;
  const entries = Array.from({ length: (value.length - 4) / 8 }, (_, i) => {
    const tag = value.readUInt16LE(8 * i + 4), bits = value.readUInt16LE(8 * i + 6), who = value.readUInt32LE(8 * i + 8);
    const rights = ['r', 'w', 'x'].map((letter, place) => ((bits >> (2 - place)) % 2 === 1 ? letter : '-')).join('');
    return names[tag] && `${names[tag]}${tag === 2 || tag === 8 ? who : ''}:${rights}`;
  });
  return entries.includes(undefined) ? undefined : entries.join(',');
}
/** Goes through the chunks of a file. Calls `look` with each and the zeros before it that are no hole, and once without a hash for
 * the end; `found` with [offset, length] of what lies between holes. A hole has its ends at blocks of 512 bytes, as tar wants it. */
function walk({ chunks, size }, cursor, look, found) {
  for (let left = chunks, start = 0, end = 0; left >= 0; left--) {
    const chunk = left > 0 ? cursor.chunk() : { gap: size - end, length: 0 }, from = end + chunk.gap;
    const isHole = chunk.gap > 0 && end % 512 === 0 && (from % 512 === 0 || from === size);
    look(chunk, isHole ? 0 : chunk.gap);
    if (isHole && end > start) found([start, end - start]);
    if (isHole) start = from;
    end = from + chunk.length;
    if (left === 0 && size > 0) found([start, end - start]);
  }
}
/** Walks up to three times, so that a file of any size takes no memory. Returns how many chunks are lost. */
function writeFile(entry, cursor, tar, packs, digest, note) {
  const { path, size } = entry, records = attributeRecords(entry), pair = (extent) => Buffer.from(`${extent.join('\n')}\n`);
  let count = 0, data = 0, map = 0, lost = 0;
  const sum = ({ gap, length, hash }) => hash && digest.add(u64(gap), u32(length), hash);
  walk(entry, cursor.fork(), sum, (extent) => [count, data, map] = [count + 1, data + extent[1], map + pair(extent).length]);
  if (data === size) tar.header(entry, '0', { size, records });
  else {
    const all = Math.ceil((`${count}\n`.length + map) / 512) * 512 + data, sparse = { major: 1, minor: 0, name: path, realsize: size };
    for (const [key, value] of Object.entries(sparse)) records.push([`GNU.sparse.${key}`, value]);
    tar.header(entry, '0', { size: all, path: path.replace(/[^/]*$/, 'GNUSparseFile.0/$&'), records });
    tar.put(Buffer.from(`${count}\n`));
    walk(entry, cursor.fork(), () => undefined, (extent) => tar.put(pair(extent)));
    tar.pad();
  }
  const write = (chunk, zeros) => {
    for (let left = zeros; left > 0; left -= CHUNK) tar.put(Buffer.alloc(Math.min(left, CHUNK)));
    const content = chunk.hash && attempt(() => packs.read(chunk), (error) => error), isLost = content instanceof Damage;
    if (isLost) note(`${path}: ${chunk.length} bytes LOST, zeros instead: ${content.message}`);
    if (content !== undefined) tar.put(isLost ? Buffer.alloc(chunk.length) : content);
    lost += isLost ? 1 : 0;
  };
  walk(entry, cursor, write, () => undefined);
  return tar.pad() ?? lost;
}
/** What a person should know of an entry; '' for nothing. */
function remark({ type, target, unreadable, doubtful, fileFlags }) {
  if (type === TYPE.skipped) return `left out by the backup: ${target}`;
  if (type === TYPE.socket) return 'a socket: not in the tar, programs make their own';
  if (unreadable) return `could not be read by the backup: ${type === TYPE.file ? 'not in the tar' : 'what is in it is missing'}`;
  if (doubtful) return 'changed during the backup: it may mix two states';
  return fileFlags === 0 ? '' : 'has flags of chattr: bsdtar sets them, GNU tar does not';
}
/** Writes the tree with this top blob as a tar. `fetch(number, kind)` gives a blob's payload or throws Damage, `note` is told what
 * a person should know. Content that is lost becomes zeros; anything wrong with the tree itself throws Damage. */
export function writeTar(number, fetch, write, note) {
  const top = readTop(readTreeBlob(fetch(number, TREE))), firsts = new Map(), folders = [], sums = { entries: 0, bytes: 0, lost: 0, ownerless: 0 };
  const cursor = new Cursor(top, fetch), tar = new Tar(write), packs = new Packs(fetch), digest = new ContentDigest();
  for (let entry; (entry = cursor.entry()) !== undefined; ) {
    const { path, type } = entry, parent = path.slice(0, Math.max(0, path.lastIndexOf('/'))), about = remark(entry);
    while (path !== '' && folders.at(-1) !== parent) must(folders.pop() !== undefined, 'an entry is in no folder');
    must(path !== '' || type === TYPE.folder, 'the root is no folder');
    if (type === TYPE.folder) folders.push(path);
    const isOut = type === TYPE.socket || type === TYPE.skipped || (type === TYPE.file && entry.unreadable);
    const first = entry.linked && !isOut ? recall(firsts, Infinity, entry.inode, () => entry) : entry;
    must(first.type === type, 'links of different types');
    if (about !== '') note(`${path || '.'}: ${about}`);
    sums.entries += 1; sums.bytes += entry.size; sums.ownerless += entry.ownerless && !isOut ? 1 : 0;
    if (!isOut) digest.entry(entry, first === entry ? '' : first.path);
    if (first !== entry) tar.header(entry, '1', { link: first.path });
    if (isOut || first !== entry) while (cursor.chunksLeft > 0) cursor.chunk();
    else if (type === TYPE.file) sums.lost += writeFile(entry, cursor, tar, packs, digest, note);
    else tar.header(entry, '..526.34'[type], { link: entry.target, records: attributeRecords(entry) });
  }
  must(sums.entries === top.entries && sums.bytes === top.bytes, 'the totals of a tree are wrong');
  tar.put(Buffer.alloc(1024));
  return { ...sums, owned: digest.owned.digest('hex'), unowned: digest.ownerless.digest('hex') };
}

// ---- Two processes: the child asks for blobs and reports, all in frames of type, length (u32), payload ----
const ASK = 1, NOTE = 2, DAMAGED = 3, FAILED = 4, DONE = 5;
const writeAll = (descriptor, bytes) => { for (let at = 0; at < bytes.length; ) at += fs.writeSync(descriptor, bytes, at); };
function runChild(top) {
  const send = (type, payload) => writeAll(1, Buffer.concat([Buffer.of(type), u32(payload.length), payload]));
  const receive = (length, bytes = Buffer.alloc(length)) => {
    for (let at = 0, got = 1; at < length && got > 0; at += got) got = fs.readSync(0, bytes, at, length - at);
    return bytes;
  };
  const fetch = (number, kind) => {
    send(ASK, Buffer.concat([u64(number), Buffer.of(kind)]));
    const [worked, ...size] = receive(5), payload = receive(Buffer.from(size).readUInt32BE());
    return must(worked === 1, payload.toString()) ?? payload;
  };
  const note = (line) => send(NOTE, Buffer.from(line.slice(-8000), 'latin1'));
  const failed = (error) => send(error instanceof Damage ? DAMAGED : FAILED, Buffer.from(error.message));
  const sums = attempt(() => writeTar(top, fetch, (bytes) => writeAll(3, bytes), note), failed, Error);
  if (sums !== undefined) send(DONE, Buffer.from(JSON.stringify(sums)));
}
/** Has a child write the tree of a volume to `file`. Returns what the child reports, which is to be believed as far as a tree is. */
async function unpack(vm, volume, file, { note, progress }) {
  const rights = ['--permission', `--allow-fs-read=${SCRIPT}`], stdio = ['pipe', 'pipe', 'pipe', file];
  const child = spawn(process.execPath, [...rights, SCRIPT, '--child', String(volume.top)], { stdio, env: {} });
  const closed = new Promise((resolve) => child.once('close', resolve).once('error', resolve));
  let said = '', frames = Buffer.alloc(0), sums;
  child.stderr.on('data', (piece) => (said = `${said}${piece.toString('latin1')}`.slice(-2000)));
  child.stdin.on('error', () => undefined); // It is gone then, which the end of its output tells.
  const take = {
    [ASK](payload) {
      progress();
      const blob = attempt(() => vm.blob(Number(payload.readBigUInt64BE()), payload[8]), (error) => error);
      const [bytes, worked] = blob instanceof Damage ? [Buffer.from(blob.message), 0] : [blob, 1];
      child.stdin.write(Buffer.concat([Buffer.of(worked), u32(bytes.length), bytes]));
    },
    [NOTE]: (payload) => note(shown(payload.toString('latin1'))),
    [DAMAGED]: (payload) => must(false, shown(payload.toString('latin1'))),
    [FAILED]: (payload) => { throw new Error(shown(payload.toString('latin1'))); },
    [DONE]: (payload) => (sums = JSON.parse(payload)),
  };
  try {
    for await (const piece of child.stdout)
      for (frames = Buffer.concat([frames, piece]); frames.length >= 5; ) {
        const size = frames.readUInt32BE(1);
        must(size <= 64 * KiB && take[frames[0]] !== undefined, 'the reading process talks nonsense');
        if (frames.length < 5 + size) break;
        take[frames[0]](frames.subarray(5, 5 + size)); frames = frames.subarray(5 + size);
      }
    await closed;
  } finally { child.kill('SIGKILL'); }
  return must(sums !== undefined, `the reading process ended early: ${shown(said)}`) ?? sums;
}

// ---- The command line ----
const say = (line) => void process.stdout.write(`${line}\n`), warn = (line) => void process.stderr.write(`${line}\n`);
/** Writes one volume's tar; true if it is proven to be what was backed up. */
async function recoverVolume(vm, volume, base, out) {
  const names = ['.tar.partial', '.notes.txt', '.tar', '.damaged.tar', '.incomplete.tar'].map((end) => join(out, base + end));
  const [partial, remarks, ...finals] = names;
  const taken = finals.find((name) => fs.existsSync(name)), { counts, digest } = volume, inMiB = (size) => Math.ceil(size / MiB);
  if (taken !== undefined) throw new Refusal(`${taken} is there already: move it away, or give another --out`);
  for (const name of [partial, remarks]) fs.rmSync(name, { force: true }); // Of a run that was stopped.
  const file = fs.openSync(partial, 'wx', 0o600), show = (text) => process.stderr.isTTY && process.stderr.write(`${text}\x1b[K\r`);
  let told = 0;
  const note = (line) => fs.appendFileSync(remarks, `${line}\n`, { mode: 0o600 }) ?? told++;
  const progress = () => show(`${base}: ${inMiB(fs.fstatSync(file).size)} of at most about ${inMiB(counts.bytes)} MiB`);
  try {
    const { lost, ownerless, entries, owned, unowned } = await unpack(vm, volume, file, { note, progress });
    const matches = digest === null || digest.toString('hex') === (volume.ownersKnown ? owned : unowned);
    const isProven = matches && lost === 0 && digest !== null, name = finals[isProven ? 0 : matches && lost === 0 ? 2 : 1];
    fs.fsyncSync(file); fs.renameSync(partial, name); show('');
    say(`  ${name}: ${entries} entries${isProven ? ', proven: the content digest is that of the backup' : ''}`);
    if (ownerless > 0) say(`  ${ownerless} of them had no owner that the backup knew: the tar says 0`);
    if (told > 0) say(`  ${told} remarks about single files are in ${remarks}`);
    if (lost > 0) warn(`${name}: ${lost} pieces of files are LOST, zeros are in their place. ${remarks} names the files`);
    if (!matches) warn(`${name} IS NOT WHAT WAS BACKED UP: its content digest is another. Do not trust it; try an older snapshot`);
    if (digest === null) warn(`${name} is INCOMPLETE: that backup was interrupted`);
    return isProven;
  } finally { fs.closeSync(file); fs.rmSync(partial, { force: true }); }
}
/** Says what went wrong, and what to do; falsy. */
function failed(what, error) {
  warn(`${what}: FAILED: ${error.message}`);
  return error instanceof Damage && warn('  Look for another copy of the store, or try an older snapshot (--list, --snapshot)');
}
async function recoverVm(vm, name, base, { out, snapshot: wanted }) {
  let chosen, newest;
  for (const entry of vm.snapshots()) {
    newest ??= entry;
    if ((chosen = (wanted === undefined ? !entry.partial : entry.number === Number(wanted)) && entry)) break;
  }
  chosen ||= wanted === undefined && newest;
  if (!chosen) throw new Refusal(`it has no ${newest === undefined ? '' : 'such '}snapshot; --list shows what there is`);
  say(`${name}: snapshot ${chosen.number} of ${date(chosen.takenAt)}`);
  const { volumes, config } = vm.snapshot(chosen), results = [];
  for (const volume of volumes) {
    const own = volume.name === 'root' ? `${base}-root` : base;
    results.push(await recoverVolume(vm, volume, own, out).catch((error) => failed(`${name}, volume ${volume.name}`, error)));
  }
  fs.writeFileSync(join(out, `${base}.config`), vm.open(config, 7, config.snapshot), { mode: 0o600 });
  return results.every(Boolean);
}
function listVm(vm, name) {
  say(`${name}  (id ${vm.id.toString('hex')})`);
  for (const { number, takenAt, partial } of vm.snapshots())
    say(`${String(number).padStart(8)}  ${date(takenAt)}${partial ? '  incomplete: the backup was interrupted' : ''}`);
  return true;
}
function readOptions() {
  const names = ['store', 'out', 'vm', 'snapshot', 'root', ...Object.values(SECRETS).map(({ option }) => option)];
  const options = Object.fromEntries(names.map((name) => [name, { type: 'string' }]));
  const parse = () => parseArgs({ options: { ...options, list: { type: 'boolean' }, help: { type: 'boolean' } } }).values;
  const values = attempt(parse, ({ message }) => ({ message }), TypeError), { store, out, vm, snapshot, list, help } = values;
  const fits = snapshot === undefined || (vm !== undefined && /^\d{1,9}$/.test(snapshot));
  if (store !== undefined && (out !== undefined) === !list && fits && !help) return values;
  throw new Refusal(`${values.message ?? ''}\n${USAGE}`.trim());
}
async function main() {
  const options = readOptions(), secret = readSecret(options), store = new Store(options.store), root = store.root(options.root);
  say(`The root of this store: ${describe(root)}\nIs that your last backup? An older copy looks just as good.`);
  const repository = new Repository(store, root, openKeys(root, secret)), { vms } = repository.catalog;
  const digits = ({ id }) => id.toString('hex'), wanted = options.vm, unrecovered = [];
  const chosen = vms.filter((vm) => [undefined, vm.name].includes(wanted) || (wanted.length >= 4 && digits(vm).startsWith(wanted)));
  if (chosen.length === 0) throw new Refusal(`there is no such VM. There are: ${vms.map(({ name }) => shown(name)).join(', ')}`);
  if (!options.list) fs.mkdirSync(options.out, { recursive: true, mode: 0o700 });
  for (const entry of chosen) {
    const clashes = vms.some((other) => other !== entry && [other.name, `${other.name}-root`].includes(entry.name));
    const base = encodeURIComponent(entry.name).replace(/^\./, '%2E') + (clashes ? `.${digits(entry).slice(0, 8)}` : '');
    const name = shown(entry.name), open = async () => new Vm(repository, entry);
    const work = (vm) => (options.list ? listVm(vm, name) : recoverVm(vm, name, base, options));
    if (!(await open().then(work).catch((error) => failed(name, error)))) unrecovered.push(name);
  }
  if (unrecovered.length > 0) warn(`${unrecovered.length} of ${chosen.length} VMs have problems: ${unrecovered.join(', ')}`);
  process.exitCode = unrecovered.length > 0 ? 1 : 0;
}

// ---- The English words of BIP-39, in their order ----
const WORDS = `
abandon ability able about above absent absorb abstract absurd abuse access accident account accuse achieve acid
acoustic acquire across act action actor actress actual adapt add addict address adjust admit adult advance advice
aerobic affair afford afraid again age agent agree ahead aim air airport aisle alarm album alcohol alert alien all alley
allow almost alone alpha already also alter always amateur amazing among amount amused analyst anchor ancient anger
angle angry animal ankle announce annual another answer antenna antique anxiety any apart apology appear apple approve
april arch arctic area arena argue arm armed armor army around arrange arrest arrive arrow art artefact artist artwork
ask aspect assault asset assist assume asthma athlete atom attack attend attitude attract auction audit august aunt
author auto autumn average avocado avoid awake aware away awesome awful awkward axis baby bachelor bacon badge bag
balance balcony ball bamboo banana banner bar barely bargain barrel base basic basket battle beach bean beauty because
become beef before begin behave behind believe below belt bench benefit best betray better between beyond bicycle bid
bike bind biology bird birth bitter black blade blame blanket blast bleak bless blind blood blossom blouse blue blur
blush board boat body boil bomb bone bonus book boost border boring borrow boss bottom bounce box boy bracket brain
brand brass brave bread breeze brick bridge brief bright bring brisk broccoli broken bronze broom brother brown brush
bubble buddy budget buffalo build bulb bulk bullet bundle bunker burden burger burst bus business busy butter buyer buzz
cabbage cabin cable cactus cage cake call calm camera camp can canal cancel candy cannon canoe canvas canyon capable
capital captain car carbon card cargo carpet carry cart case cash casino castle casual cat catalog catch category cattle
caught cause caution cave ceiling celery cement census century cereal certain chair chalk champion change chaos chapter
charge chase chat cheap check cheese chef cherry chest chicken chief child chimney choice choose chronic chuckle chunk
churn cigar cinnamon circle citizen city civil claim clap clarify claw clay clean clerk clever click client cliff climb
clinic clip clock clog close cloth cloud clown club clump cluster clutch coach coast coconut code coffee coil coin
collect color column combine come comfort comic common company concert conduct confirm congress connect consider control
convince cook cool copper copy coral core corn correct cost cotton couch country couple course cousin cover coyote crack
cradle craft cram crane crash crater crawl crazy cream credit creek crew cricket crime crisp critic crop cross crouch
crowd crucial cruel cruise crumble crunch crush cry crystal cube culture cup cupboard curious current curtain curve
cushion custom cute cycle dad damage damp dance danger daring dash daughter dawn day deal debate debris decade december
decide decline decorate decrease deer defense define defy degree delay deliver demand demise denial dentist deny depart
depend deposit depth deputy derive describe desert design desk despair destroy detail detect develop device devote
diagram dial diamond diary dice diesel diet differ digital dignity dilemma dinner dinosaur direct dirt disagree discover
disease dish dismiss disorder display distance divert divide divorce dizzy doctor document dog doll dolphin domain
donate donkey donor door dose double dove draft dragon drama drastic draw dream dress drift drill drink drip drive drop
drum dry duck dumb dune during dust dutch duty dwarf dynamic eager eagle early earn earth easily east easy echo ecology
economy edge edit educate effort egg eight either elbow elder electric elegant element elephant elevator elite else
embark embody embrace emerge emotion employ empower empty enable enact end endless endorse enemy energy enforce engage
engine enhance enjoy enlist enough enrich enroll ensure enter entire entry envelope episode equal equip era erase erode
erosion error erupt escape essay essence estate eternal ethics evidence evil evoke evolve exact example excess exchange
excite exclude excuse execute exercise exhaust exhibit exile exist exit exotic expand expect expire explain expose
express extend extra eye eyebrow fabric face faculty fade faint faith fall false fame family famous fan fancy fantasy
farm fashion fat fatal father fatigue fault favorite feature february federal fee feed feel female fence festival fetch
fever few fiber fiction field figure file film filter final find fine finger finish fire firm first fiscal fish fit
fitness fix flag flame flash flat flavor flee flight flip float flock floor flower fluid flush fly foam focus fog foil
fold follow food foot force forest forget fork fortune forum forward fossil foster found fox fragile frame frequent
fresh friend fringe frog front frost frown frozen fruit fuel fun funny furnace fury future gadget gain galaxy gallery
game gap garage garbage garden garlic garment gas gasp gate gather gauge gaze general genius genre gentle genuine
gesture ghost giant gift giggle ginger giraffe girl give glad glance glare glass glide glimpse globe gloom glory glove
glow glue goat goddess gold good goose gorilla gospel gossip govern gown grab grace grain grant grape grass gravity
great green grid grief grit grocery group grow grunt guard guess guide guilt guitar gun gym habit hair half hammer
hamster hand happy harbor hard harsh harvest hat have hawk hazard head health heart heavy hedgehog height hello helmet
help hen hero hidden high hill hint hip hire history hobby hockey hold hole holiday hollow home honey hood hope horn
horror horse hospital host hotel hour hover hub huge human humble humor hundred hungry hunt hurdle hurry hurt husband
hybrid ice icon idea identify idle ignore ill illegal illness image imitate immense immune impact impose improve impulse
inch include income increase index indicate indoor industry infant inflict inform inhale inherit initial inject injury
inmate inner innocent input inquiry insane insect inside inspire install intact interest into invest invite involve iron
island isolate issue item ivory jacket jaguar jar jazz jealous jeans jelly jewel job join joke journey joy judge juice
jump jungle junior junk just kangaroo keen keep ketchup key kick kid kidney kind kingdom kiss kit kitchen kite kitten
kiwi knee knife knock know lab label labor ladder lady lake lamp language laptop large later latin laugh laundry lava
law lawn lawsuit layer lazy leader leaf learn leave lecture left leg legal legend leisure lemon lend length lens leopard
lesson letter level liar liberty library license life lift light like limb limit link lion liquid list little live
lizard load loan lobster local lock logic lonely long loop lottery loud lounge love loyal lucky luggage lumber lunar
lunch luxury lyrics machine mad magic magnet maid mail main major make mammal man manage mandate mango mansion manual
maple marble march margin marine market marriage mask mass master match material math matrix matter maximum maze meadow
mean measure meat mechanic medal media melody melt member memory mention menu mercy merge merit merry mesh message metal
method middle midnight milk million mimic mind minimum minor minute miracle mirror misery miss mistake mix mixed mixture
mobile model modify mom moment monitor monkey monster month moon moral more morning mosquito mother motion motor
mountain mouse move movie much muffin mule multiply muscle museum mushroom music must mutual myself mystery myth naive
name napkin narrow nasty nation nature near neck need negative neglect neither nephew nerve nest net network neutral
never news next nice night noble noise nominee noodle normal north nose notable note nothing notice novel now nuclear
number nurse nut oak obey object oblige obscure observe obtain obvious occur ocean october odor off offer office often
oil okay old olive olympic omit once one onion online only open opera opinion oppose option orange orbit orchard order
ordinary organ orient original orphan ostrich other outdoor outer output outside oval oven over own owner oxygen oyster
ozone pact paddle page pair palace palm panda panel panic panther paper parade parent park parrot party pass patch path
patient patrol pattern pause pave payment peace peanut pear peasant pelican pen penalty pencil people pepper perfect
permit person pet phone photo phrase physical piano picnic picture piece pig pigeon pill pilot pink pioneer pipe pistol
pitch pizza place planet plastic plate play please pledge pluck plug plunge poem poet point polar pole police pond pony
pool popular portion position possible post potato pottery poverty powder power practice praise predict prefer prepare
present pretty prevent price pride primary print priority prison private prize problem process produce profit program
project promote proof property prosper protect proud provide public pudding pull pulp pulse pumpkin punch pupil puppy
purchase purity purpose purse push put puzzle pyramid quality quantum quarter question quick quit quiz quote rabbit
raccoon race rack radar radio rail rain raise rally ramp ranch random range rapid rare rate rather raven raw razor ready
real reason rebel rebuild recall receive recipe record recycle reduce reflect reform refuse region regret regular reject
relax release relief rely remain remember remind remove render renew rent reopen repair repeat replace report require
rescue resemble resist resource response result retire retreat return reunion reveal review reward rhythm rib ribbon
rice rich ride ridge rifle right rigid ring riot ripple risk ritual rival river road roast robot robust rocket romance
roof rookie room rose rotate rough round route royal rubber rude rug rule run runway rural sad saddle sadness safe sail
salad salmon salon salt salute same sample sand satisfy satoshi sauce sausage save say scale scan scare scatter scene
scheme school science scissors scorpion scout scrap screen script scrub sea search season seat second secret section
security seed seek segment select sell seminar senior sense sentence series service session settle setup seven shadow
shaft shallow share shed shell sheriff shield shift shine ship shiver shock shoe shoot shop short shoulder shove shrimp
shrug shuffle shy sibling sick side siege sight sign silent silk silly silver similar simple since sing siren sister
situate six size skate sketch ski skill skin skirt skull slab slam sleep slender slice slide slight slim slogan slot
slow slush small smart smile smoke smooth snack snake snap sniff snow soap soccer social sock soda soft solar soldier
solid solution solve someone song soon sorry sort soul sound soup source south space spare spatial spawn speak special
speed spell spend sphere spice spider spike spin spirit split spoil sponsor spoon sport spot spray spread spring spy
square squeeze squirrel stable stadium staff stage stairs stamp stand start state stay steak steel stem step stereo
stick still sting stock stomach stone stool story stove strategy street strike strong struggle student stuff stumble
style subject submit subway success such sudden suffer sugar suggest suit summer sun sunny sunset super supply supreme
sure surface surge surprise surround survey suspect sustain swallow swamp swap swarm swear sweet swift swim swing switch
sword symbol symptom syrup system table tackle tag tail talent talk tank tape target task taste tattoo taxi teach team
tell ten tenant tennis tent term test text thank that theme then theory there they thing this thought three thrive throw
thumb thunder ticket tide tiger tilt timber time tiny tip tired tissue title toast tobacco today toddler toe together
toilet token tomato tomorrow tone tongue tonight tool tooth top topic topple torch tornado tortoise toss total tourist
toward tower town toy track trade traffic tragic train transfer trap trash travel tray treat tree trend trial tribe
trick trigger trim trip trophy trouble truck true truly trumpet trust truth try tube tuition tumble tuna tunnel turkey
turn turtle twelve twenty twice twin twist two type typical ugly umbrella unable unaware uncle uncover under undo unfair
unfold unhappy uniform unique unit universe unknown unlock until unusual unveil update upgrade uphold upon upper upset
urban urge usage use used useful useless usual utility vacant vacuum vague valid valley valve van vanish vapor various
vast vault vehicle velvet vendor venture venue verb verify version very vessel veteran viable vibrant vicious victory
video view village vintage violin virtual virus visa visit visual vital vivid vocal voice void volcano volume vote
voyage wage wagon wait walk wall walnut want warfare warm warrior wash wasp waste water wave way wealth weapon wear
weasel weather web wedding weekend weird welcome west wet whale what wheat wheel when where whip whisper wide width wife
wild will win window wine wing wink winner winter wire wisdom wise wish witness wolf woman wonder wood wool word work
world worry worth wrap wreck wrestle wrist write wrong yard year yellow you young youth zebra zero zone zoo
`.trim().split(/\s+/);
const SCRIPT = fs.realpathSync(import.meta.filename);
const isRun = process.argv[1] !== undefined && fs.realpathSync(process.argv[1]) === SCRIPT; // Tests import it.
if (isRun && process.argv[2] === '--child') runChild(Number(process.argv[3]));
else if (isRun)
  await main().catch((error) => {
    warn(error instanceof Damage || error instanceof Refusal ? `recover.mjs: ${error.message}` : error.stack);
    process.exitCode = error instanceof Refusal ? 2 : 1;
  });
