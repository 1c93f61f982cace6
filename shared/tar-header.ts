/**
 * The 512 bytes before each member of a tar stream (POSIX.1-2017, ustar Interchange Format). Numbers that a field
 * cannot hold are 0 there, names it cannot hold are cut: pax records (dvm/tar-pax.ts) then carry the true ones.
 */

import type { ByteString } from './bytes.ts';

export const BLOCK = 512;

/** The `typeflag` of a member. */
export const FLAG = {
  file: '0',
  hardLink: '1',
  symlink: '2',
  characterDevice: '3',
  blockDevice: '4',
  directory: '5',
  fifo: '6',
  /** Records for the next member. */
  pax: 'x',
} as const;
export type Flag = (typeof FLAG)[keyof typeof FLAG];

/** What the octal fields hold. Every device number of Linux fits. */
export const MAX_ID = 0o7777777;
export const MAX_SIZE = 0o77777777777;
export const MAX_TIME = 0o77777777777;
const MAX_NAME = 100;

export interface Header {
  readonly name: ByteString;
  readonly flag: Flag;
  /** The low 12 bits of st_mode. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes that follow, before the fill to whole blocks. */
  readonly size: number;
  /** Whole seconds since 1970. */
  readonly mtime: number;
  readonly target?: ByteString;
  readonly device?: readonly [number, number];
}

export function encodeHeader(header: Header): Uint8Array {
  const block = Buffer.alloc(BLOCK);
  const text = (value: string, at: number) => block.write(value, at, 'latin1');
  const octal = (value: number, at: number, digits: number, max: number) =>
    text((value >= 0 && value <= max ? value : 0).toString(8).padStart(digits, '0'), at);
  text(headerName(header.name), 0);
  octal(header.mode, 100, 7, MAX_ID);
  octal(header.uid, 108, 7, MAX_ID);
  octal(header.gid, 116, 7, MAX_ID);
  octal(header.size, 124, 11, MAX_SIZE);
  octal(header.mtime, 136, 11, MAX_TIME);
  text(header.flag, 156);
  text(headerName(header.target ?? ('' as ByteString)), 157);
  text('ustar\x0000', 257);
  octal(header.device?.[0] ?? 0, 329, 7, MAX_ID);
  octal(header.device?.[1] ?? 0, 337, 7, MAX_ID);
  text('        ', 148); // The sum counts its own field as spaces.
  text(
    `${block
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
  );
  return block;
}

/** `name` as far as a header can carry it: as it is if it fits and is ASCII, else something that looks like it. */
export function headerName(name: ByteString): ByteString {
  if (name.length <= MAX_NAME && /^[\x01-\x7f]*$/.test(name)) return name;
  return name.replace(/[^\x20-\x7e]/g, '_').slice(0, MAX_NAME) as ByteString;
}

/** Zeros that fill `size` bytes up to whole blocks. */
export function fillOf(size: number): Uint8Array {
  return new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);
}
