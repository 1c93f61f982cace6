/**
 * New files with durable content. Large ones are written past the kernel's cache (O_DIRECT): nobody reads an object soon, its copy
 * there drives out what others read, and to fill fresh pages took a ninth of the processor time of a whole backup.
 */

import { constants } from 'node:fs';
import { open, unlink } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { systemCode } from '../shared/errors.ts';

/** Files of so many bytes are large. Exported for tests. */
export const LARGE = 1024 * 1024;
/** Bytes written past the cache at a time. Each file that is being written has memory of so much: not more than the smallest large one. */
const PIECE = 1024 * 1024;
/** Positions, lengths and addresses past the cache are multiples of a device's block: at most a page, or else it refuses. */
const BLOCK = 4096;

/** Memory for pieces that is used again: never more than are written at a time. */
const pieces: Uint8Array[] = [];

/** Creates `path`, read-only, and makes its content durable. A failure leaves no file, unless there was one before. */
export async function writeNewFile(path: string, bytes: Uint8Array): Promise<void> {
  if (bytes.length >= LARGE && (await createDirectly(path, bytes))) return;
  await create(path, 0, (handle) => writeAll(handle, bytes, 0));
}

/** False, and nothing is left, if the file system or its device does not take writes past the cache. */
async function createDirectly(path: string, bytes: Uint8Array): Promise<boolean> {
  try {
    await create(path, constants.O_DIRECT, (handle) => writePast(handle, bytes));
    return true;
  } catch (error) {
    if (systemCode(error) !== 'EINVAL') throw error;
    // Linux makes the file first, and then finds that it cannot be opened so. If it stays, the next attempt says why.
    await unlink(path).catch(() => undefined);
    return false;
  }
}

async function create(
  path: string,
  flags: number,
  write: (handle: FileHandle) => Promise<void>,
): Promise<void> {
  const exclusively = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
  const handle = await open(path, exclusively | flags, 0o400); // The mode binds later opens, not this one.
  try {
    await write(handle);
    await handle.sync();
    await handle.close();
  } catch (error) {
    await handle.close();
    await unlink(path);
    throw error;
  }
}

async function writePast(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  const piece = pieces.pop() ?? alignedMemory(PIECE);
  for (let at = 0; at < bytes.length; at += PIECE) {
    const part = bytes.subarray(at, at + PIECE);
    piece.set(part);
    await writeAll(handle, piece.subarray(0, Math.ceil(part.length / BLOCK) * BLOCK), at);
  }
  await handle.truncate(bytes.length); // What filled up the last block.
  pieces.push(piece); // Not after a failure: a request that was given up may still be at it.
}

/** Memory that starts at a page: V8 reserves whole pages for what may be resized. */
function alignedMemory(size: number): Uint8Array {
  return new Uint8Array(new ArrayBuffer(size, { maxByteLength: size }));
}

/** Writes `bytes` to the place `at`. */
async function writeAll(handle: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  let written = 0;
  while (written < bytes.length)
    written += (await handle.write(bytes, written, bytes.length - written, at + written)).bytesWritten;
}
